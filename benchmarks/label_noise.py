"""What wrong training labels cost, and what helps: python -m benchmarks.label_noise [--json FILE] [--markdown FILE]

scikit-learn's digits with 0, 20 and 40 % of the training labels wrong (each replaced by another class, all others alike
likely: symmetric noise), and the test labels right. Each method trains the same network from the same weights,
pictures and batches, for so long that cross-entropy learns wrong labels by heart; the last weights are judged, since
nobody has a clean validation split where labels are wrong. `ratio` is a method's test accuracy to that of plain
cross-entropy at the same noise, over seeds, which draw the split, the wrong labels, the weights and the batches.

Prepared, trained and judged as `convoy` does it, from a table in a temporary folder.
"""

from __future__ import annotations

import csv
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import measure
from models.stack import keras
from pipeline import console, stages
from pipeline.config import Config
from pipeline.data.example import TEST
from pipeline.data.sources.digits import Digits
from pipeline.files import write_file
from pipeline.run import Run

NOISE = (0.0, 0.2, 0.4)
"""Shares of the training labels that are wrong."""
TESTED = 0.4
"""Share of all pictures that is the test split."""
PLAIN = "cross-entropy"
METHODS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "label smoothing 0.2": {"label_smoothing": 0.2},
    "generalized cross-entropy": {"loss": {"kind": "generalized_cross_entropy"}},
    "symmetric cross-entropy": {"loss": {"kind": "symmetric_cross_entropy"}},
    "soft bootstrapping": {"loss": {"kind": "soft_bootstrapping"}},
    "hard bootstrapping": {"loss": {"kind": "hard_bootstrapping"}},
    "dropout 0.5": {"head": {"dropout": 0.5}},
    "spatial dropout 0.2": {"regularisation": {"spatial_dropout": 0.2}},
    "stochastic depth 0.5": {"regularisation": {"stochastic_depth": 0.5}},
    "L2 1e-2": {"regularisation": {"l2": 1e-2}, "head": {"l2": 1e-2}},
    "generalized cross-entropy, spatial dropout 0.2": {
        "loss": {"kind": "generalized_cross_entropy"},
        "regularisation": {"spatial_dropout": 0.2},
    },
}
"""Name -> what is set of the task, `regularisation` of its backbone; all else is alike."""
Accuracies = dict[tuple[str, float], list[float]]
"""Method and noise -> test accuracy with each seed."""


def main() -> None:
    parser = measure.arguments(__doc__, rounds=3)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table of accuracies there")
    parser.add_argument("--epochs", type=int, default=60, help="passes over the training split (%(default)s)")
    parser.add_argument("--noise", type=float, nargs="+", default=NOISE, metavar="SHARE", help="shares of wrong labels")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    arguments = parser.parse_args()
    machine = measure.host()
    methods = list(dict.fromkeys([PLAIN, *arguments.methods]))
    console.terminal.configure(console.Level.QUIET)
    found: Accuracies = {(method, noise): [] for method in methods for noise in arguments.noise}
    for seed in range(1, arguments.rounds + 1):
        for noise in arguments.noise:
            for method, accuracy in accuracies(methods, noise, seed, arguments.epochs):
                found[method, noise].append(accuracy)
    measure.publish(ratios(found), machine, arguments.json)
    table = markdown(found)
    print(table)
    if arguments.markdown:
        write_file(arguments.markdown, table)


def accuracies(methods: Sequence[str], noise: float, seed: int, epochs: int) -> Iterator[tuple[str, float]]:
    """Each method with its test accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(Path(folder, "pictures"), noise, seed)
        for number, method in enumerate(methods):
            config = configuration(table, METHODS[method], seed, epochs)
            yield method, test_accuracy(config, Run(Path(folder, f"run_{number}")))


def test_accuracy(config: Config, run: Run) -> float:
    """Of the stages `prepare` and `train`; pictures are prepared once for all Runs of a folder."""
    keras.backend.clear_session()
    stages.prepare(config, run)
    stages.train(config, run)
    task, model = stages.load_task(run), stages.load_model(run)
    evaluator = stages.score(config, stages.open_store(run), model, task, TEST)
    return float(evaluator.result()["accuracy"])


def configuration(table: Path, method: Mapping[str, Any], seed: int, epochs: int) -> Config:
    """The same for all methods but for what they set."""
    task = {name: value for name, value in method.items() if name != "regularisation"}
    backbone = {"kind": "small_resnet", "depth": 14, "widths": [16, 32]}
    return Config.model_validate(
        {
            "seed": seed,
            "data": {
                "source": {"kind": "table", "path": str(table), "label_column": "label", "split_column": "split"},
                "splits": {"validation": 0.0, "test": 0.0},
            },
            "task": {
                "kind": "classification",
                "picture": {"height": 8, "width": 8, "channels": 1},
                "backbone": {**backbone, "regularisation": method.get("regularisation", {})},
                **task,
            },
            "train": {
                "epochs": epochs,
                "batch_size": 64,
                "tensorboard": False,
                "optimizer": {"kind": "sgd", "learning_rate": 0.1, "clip_norm": 1.0},
            },
        }
    )


def write_table(folder: Path, noise: float, seed: int) -> Path:
    """The digits as files, and the table that lists them with wrong training labels."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    examples = list(Digits().examples())
    names = Digits().class_names() or ()
    is_test = generator.permutation(len(examples)) < TESTED * len(examples)
    labels = with_noise(np.array([names.index(str(example.label)) for example in examples]), ~is_test, noise, generator)
    rows = []
    for number, example in enumerate(examples):
        file = folder / f"{number:05}.png"
        Image.fromarray(np.asarray(example.image)).save(file)
        rows.append((file.name, names[labels[number]], "test" if is_test[number] else "train"))
    table = folder / "pictures.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("image", "label", "split"), *rows])
    return table


def with_noise(labels: np.ndarray, chosen: np.ndarray, noise: float, generator: np.random.Generator) -> np.ndarray:
    """Class numbers [n] of which a share of those in `chosen`, bool [n], is replaced by another class."""
    places = generator.permutation(np.flatnonzero(chosen))
    wrong = places[: round(noise * len(places))]
    count, noisy = int(labels.max()) + 1, labels.copy()
    noisy[wrong] = (labels[wrong] + generator.integers(1, count, len(wrong))) % count
    return noisy


def ratios(found: Accuracies) -> list[measure.Measure]:
    """Each method's accuracy to that of plain cross-entropy at the same noise."""
    return [
        measure.compare(f"{method}, {noise:.0%} wrong", accuracies, found[PLAIN, noise], "accuracy")
        for (method, noise), accuracies in found.items()
    ]


def markdown(found: Accuracies) -> str:
    """Mean test accuracy in percent over the seeds, and the half of the distance between the least and the most."""
    shares = sorted({noise for _, noise in found})
    header = ["", *(f"{noise:.0%} wrong" for noise in shares)]
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    for method in dict.fromkeys(method for method, _ in found):
        cells = [cell(found[method, noise]) for noise in shares]
        lines.append(" | ".join([method, *cells]))
    return "".join(f"| {line} |\n" for line in lines)


def cell(accuracies: Sequence[float]) -> str:
    """Mean and spread, in percent."""
    percent = [100 * accuracy for accuracy in accuracies]
    return f"{statistics.mean(percent):.1f} ± {(max(percent) - min(percent)) / 2:.1f}"


if __name__ == "__main__":
    main()
