"""What occluders and light in the augmentation gain: python -m benchmarks.robust_detection [--steps N] [--json FILE]

`configs/scenes_detection_hard.yaml` trained with occluders, shadows and changes of light in its augmentation and
without them, all else alike, on scenes in which little is hidden, and judged on its test scenes, in which up to three
quarters of a digit are hidden: by the share of a digit that is visible, and by how bright it is where it lies. `ratio`
is AP 50 with them to AP 50 without, over seeds, which draw weights, batches and augmentation; the scenes stay the same.

Prepared, trained and judged as `convoy` does it, in a temporary folder.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure
from models.stack import keras
from pipeline import console, stages
from pipeline.augment.illumination import LightGradient, Shadow
from pipeline.augment.occlusion import Occluders
from pipeline.augment.tables import Gamma
from pipeline.config import Config, load
from pipeline.data.example import TEST
from pipeline.files import write_file
from pipeline.run import Run

CONFIG = measure.ROOT / "configs" / "scenes_detection_hard.yaml"
ROBUST = (
    Occluders(probability=0.5, count=(1, 4), size=(0.06, 0.2)),
    LightGradient(probability=0.3, strength=(0.1, 0.5)),
    Shadow(probability=0.3, strength=(0.2, 0.6)),
    Gamma(exponent=(0.7, 1.4)),
)
"""What one side trains with."""
WITH, WITHOUT = "with", "without"
ALL = "all objects"
CONDITIONS = {"by_visible": "visible", "by_brightness": "brightness"}
"""Parts of an evaluation -> what their rows are called."""
Results = list[dict[str, Any]]
"""Evaluations, one a seed."""


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument("--steps", type=int, default=2000, help="of each training (%(default)s)")
    parser.add_argument("--hidden", type=float, default=0.2, help="most hidden share in training scenes (%(default)s)")
    parser.add_argument("--pictures", type=int, default=400, help="test scenes (%(default)s)")
    arguments = parser.parse_args()
    machine = measure.host()
    # Of the hard scenes only the test's are looked at.
    few = [
        f"data.source.{split}={count}"
        for split, count in (("train", 16), ("validation", 0), (TEST, arguments.pictures))
    ]
    judged = load(CONFIG, few)
    console.terminal.configure(console.Level.QUIET)
    found: dict[str, Results] = {WITHOUT: [], WITH: []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, arguments.rounds + 1):
            for side, results in found.items():
                trained = configuration(side, seed, arguments.steps, arguments.hidden)
                results.append(evaluation(trained, judged, Path(folder), f"{side}_{seed}"))
    rows = rows_of(found)
    measure.publish(ratios(rows), machine, arguments.json)
    table = markdown(found, rows)
    print(table)
    if arguments.markdown:
        write_file(arguments.markdown, table)


def configuration(side: str, seed: int, steps: int, hidden: float) -> Config:
    """Trains so many steps, rounded up to whole passes; a short training has fewer scenes rather than none."""
    config = load(CONFIG, [f"seed={seed}"])
    batch, scenes = config.train.batch_size, config.data.source.train  # type: ignore[union-attr]
    scenes = min(scenes, steps * batch)
    changes = {"train": scenes, "validation": batch, "test": 0, "most_hidden": hidden}
    source = config.data.source.model_copy(update=changes)
    operations = (*config.augment, *(ROBUST if side == WITH else ()))
    epochs = math.ceil(steps * batch / scenes)
    train = config.train.model_copy(update={"epochs": epochs, "validate_every": epochs, "tensorboard": False})
    data = config.data.model_copy(update={"source": source})
    return config.model_copy(update={"data": data, "augment": operations, "train": train})


def evaluation(trained: Config, judged: Config, folder: Path, name: str) -> dict[str, Any]:
    """The stages `prepare` and `train`, then the test scenes of another configuration; scenes are drawn once for all
    Runs of a folder."""
    keras.backend.clear_session()
    run, other = Run(folder / name), Run(folder / "judged")
    stages.prepare(trained, run)
    stages.train(trained, run)
    stages.prepare(judged, other)
    task, model = stages.load_task(run), stages.load_model(run)
    return stages.score(judged, stages.open_store(other), model, task, TEST).result()


def rows_of(found: Mapping[str, Results]) -> dict[str, dict[str, list[float]]]:
    """Row -> side -> AP 50 with each seed: of all objects, and of each bin that holds any."""
    rows = {ALL: {side: [result["map_50"] for result in results] for side, results in found.items()}}
    for part, said in CONDITIONS.items():
        for name in found[WITH][0][part]:
            rows[f"{said} {name}"] = {
                side: [result[part][name]["ap_50"] for result in results] for side, results in found.items()
            }
    return rows


def ratios(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> list[measure.Measure]:
    """Of each row AP 50 with the operations to AP 50 without; rows in which one side found nothing are left out."""
    return [
        measure.compare(f"AP 50, {name}: {WITH} / {WITHOUT}", sides[WITH], sides[WITHOUT], "AP 50")
        for name, sides in rows.items()
        if min(sides[WITHOUT]) > 0
    ]


def markdown(found: Mapping[str, Results], rows: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Objects, and the mean AP 50 of both sides over the seeds."""
    counts = {ALL: found[WITH][0]["num_objects"]}
    for part, said in CONDITIONS.items():
        counts |= {f"{said} {name}": row["objects"] for name, row in found[WITH][0][part].items()}
    lines = [f"| AP 50 | objects | {WITHOUT} | {WITH} |", "|---|---|---|---|"]
    for name, sides in rows.items():
        means = " | ".join(f"{statistics.mean(sides[side]):.3f}" for side in (WITHOUT, WITH))
        lines.append(f"| {name} | {counts[name]} | {means} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
