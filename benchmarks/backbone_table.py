"""Every backbone x {int8, int8_qat}, on the digits at the least size it takes, after a short training.

    python -m benchmarks.backbone_table [KIND ...] [--lines FILE] [--seconds S] [--again]

Asks of each file: does it convert with builtin int8 operators only, does the QAT file give the same first answers as
the fake-quantized network it was made of (>= 99 %), does that network reload to the bit. One process a backbone; what
is measured stands as a line of JSON in FILE, so that an interrupted run goes on where it was. In the end writes
docs/backbones_quantized.md and pipeline/compress/verified.json, which `convoy describe models` shows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import ROOT
from models.backbones import BACKBONES
from models.stack import keras, tf
from pipeline.compress import CompressionJob, convert
from pipeline.compress.inspect import inspect_content
from pipeline.compress.post_training import Int8
from pipeline.compress.quantization_aware import Int8Qat, load
from pipeline.errors import ConvoyError
from pipeline.files import write_file
from pipeline.predictors import KerasPredictor, TFLitePredictor
from pipeline.tasks import Classification

if TYPE_CHECKING:
    from pipeline.compress.inspect import TfliteFile

LINES = ROOT / "runs" / "backbone_table.jsonl"
TABLE = ROOT / "docs" / "backbones_quantized.md"
VERIFIED = ROOT / "pipeline" / "compress" / "verified.json"

CLASSES = tuple("0123456789")
TESTED = 360
BATCH = 32
LEARNED = 0.97
"""The test accuracy at which a training ends: agreement says little of a network that guesses."""
AGREEMENT = 0.99
SETTINGS: dict[str, dict[str, Any]] = {"small_resnet": {"depth": 14}}
"""Settings other than the defaults."""
RATE, RATES = 1e-3, {"vgg16": 1e-4, "vgg19": 1e-4}
"""Learning rates; without normalisation, networks this deep learn nothing at the usual one."""
TECHNIQUES = ("int8", "int8_qat")
YES = "yes"


@dataclass(frozen=True)
class Result:
    """What was measured of one technique on one backbone.

    Args:
        size: side of the pictures in pixels.
        float_accuracy, accuracy: of the trained network and of the file, on the test pictures.
        agreement: share of first answers that the file has in common with the network it was made of: for `int8` the
            float one, for `int8_qat` the fake-quantized one.
        float_operators: left inside the file.
        reloads: whether the fake-quantized network gives the same numbers after saving and loading; None for `int8`.
        error: why there is no file; empty where there is one.
    """

    kind: str
    technique: str
    size: int
    float_accuracy: float
    accuracy: float = 0.0
    agreement: float = 0.0
    bytes: int = 0
    float_operators: int = 0
    reloads: bool | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def verdict(self) -> str:
        """`yes`, or the reason why not."""
        if self.error:
            return self.error
        if self.float_operators:
            return f"{self.float_operators} float operators inside"
        if self.technique == "int8_qat" and self.agreement < AGREEMENT:
            return f"agrees with its fake-quantized network on {self.agreement:.1%} of first answers only"
        return YES if self.reloads in (None, True) else "the fake-quantized network does not reload"


# ---------------------------------------------------------------------------------------------------- one backbone


def measured(kind: str, seconds: float) -> list[Result]:
    """Trains a backbone until it has learned, or for so many seconds, and makes both files."""
    keras.utils.set_random_seed(1)
    size = BACKBONES[kind].model_validate({"kind": kind, **SETTINGS.get(kind, {})}).smallest()
    task = Classification.model_validate(
        {
            "class_names": CLASSES,
            "backbone": {"kind": kind, **SETTINGS.get(kind, {})},
            "picture": {"height": size, "width": size, "channels": 1},
        }
    )
    pictures, labels = digits(size)
    model = task.build()
    train(model, RATES.get(kind, RATE), pictures, labels, seconds)
    job = CompressionJob(task, model, pictures[TESTED : TESTED + 100], fine_tune(pictures, labels), lambda _: 0.0)
    expected = KerasPredictor(task.serving_model(model))({"image": pictures[:TESTED]})["scores"].argmax(1)
    known = {"kind": kind, "size": size, "float_accuracy": float(np.mean(expected == labels[:TESTED]))}
    print(f"{kind}: float accuracy {known['float_accuracy']:.4f}", file=sys.stderr, flush=True)
    tested = pictures[:TESTED], labels[:TESTED]
    return [post_training(known, job, expected, *tested), quantization_aware(known, job, *tested)]


def digits(size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [n, size, size, 1] and the classes [n], in a fixed order of chance."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(1).permutation(len(data.images))
    pictures = tf.image.resize(data.images[order][..., np.newaxis] * (255 / 16), (size, size)).numpy()
    return pictures.round().astype(np.uint8), data.target[order]


def train(model: keras.Model, rate: float, pictures: np.ndarray, labels: np.ndarray, seconds: float) -> None:
    """Epoch by epoch until the test pictures are known, or the time is over."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # Keras' 0.99 is made for thousands of steps
    compile_(model, keras.optimizers.Adam(rate, clipnorm=1.0))
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        model.fit(pictures[TESTED:], labels[TESTED:], batch_size=BATCH, epochs=1, verbose=0)
        if model.evaluate(pictures[:TESTED], labels[:TESTED], verbose=0)[1] >= LEARNED:
            return


def compile_(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, {"logits": loss}, metrics={"logits": "accuracy"})


def fine_tune(pictures: np.ndarray, labels: np.ndarray) -> Any:
    """As `pipeline.fit.fine_tune` does it: Adam, and a cosine to zero."""

    def run(
        model: keras.Model,
        epochs: int,
        learning_rate: float,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        steps = epochs * -(-len(pictures[TESTED:]) // BATCH)
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        compile_(model, keras.optimizers.Adam(rate, clipnorm=1.0))
        floats = pictures[TESTED:].astype(np.float32)
        model.fit(floats, labels[TESTED:], batch_size=BATCH, epochs=epochs, callbacks=list(callbacks), verbose=0)

    return run


def post_training(
    known: Mapping[str, Any], job: CompressionJob, expected: np.ndarray, pictures: np.ndarray, labels: np.ndarray
) -> Result:
    """The file of `int8`."""
    began = time.perf_counter()
    try:
        content = Int8().convert(job)
    except ConvoyError as error:
        return Result(technique="int8", error=str(error), **known)
    answers = answers_of(content, pictures)
    return Result(technique="int8", **known, **found(content, answers, expected, labels, began))


def quantization_aware(
    known: Mapping[str, Any], job: CompressionJob, pictures: np.ndarray, labels: np.ndarray
) -> Result:
    """The file of `int8_qat` after one epoch."""
    began = time.perf_counter()
    try:
        student = Int8Qat(epochs=1).fine_tuned(job)
        content = convert.with_decoding(student, job.task, lambda model: convert.int8_file(model, job.calibration))
    except ConvoyError as error:
        return Result(technique="int8_qat", error=str(error), **known)
    content = convert.with_input_output(content, "uint8")
    floats = pictures.astype(np.float32)
    expected = student.predict(floats, verbose=0)["logits"]
    numbers = found(content, answers_of(content, pictures), expected.argmax(1), labels, began)
    return Result(technique="int8_qat", reloads=reloads(student, floats, expected), **known, **numbers)


def answers_of(content: bytes, pictures: np.ndarray) -> np.ndarray:
    """The file's first answers."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.tflite")
        file.write_bytes(content)
        return TFLitePredictor(file)({"image": pictures})["scores"].argmax(1)


def found(
    content: bytes, answers: np.ndarray, expected: np.ndarray, labels: np.ndarray, began: float
) -> dict[str, Any]:
    """What is measured of any file."""
    file: TfliteFile = inspect_content(content)
    return {
        "accuracy": float(np.mean(answers == labels)),
        "agreement": float(np.mean(answers == expected)),
        "bytes": file.bytes,
        "float_operators": file.float_operators,
        "seconds": round(time.perf_counter() - began, 1),
    }


def reloads(student: keras.Model, pictures: np.ndarray, expected: np.ndarray) -> bool:
    """Whether the network's file holds all of it."""
    with tempfile.TemporaryDirectory() as folder:
        student.save(Path(folder, "student.keras"))
        loaded = load(Path(folder, "student.keras"))
    return bool(np.array_equal(loaded.predict(pictures, verbose=0)["logits"], expected))


# ---------------------------------------------------------------------------------------------------- all of them


def read(lines: Path) -> dict[str, list[Result]]:
    """Kind -> what was measured of it; the last line counts."""
    if not lines.exists():
        return {}
    entries = [[Result(**entry) for entry in json.loads(line)] for line in lines.read_text().splitlines()]
    return {results[0].kind: results for results in entries}


def write(found: Mapping[str, Sequence[Result]]) -> None:
    """The table for people, and the file for `convoy describe models`."""
    kinds = [kind for kind in BACKBONES if kind in found]
    missing = [f"`{kind}`" for kind in BACKBONES if kind not in found]
    ending = f"\nNot measured yet: {', '.join(missing)}.\n" if missing else ""
    write_file(TABLE, markdown([result for kind in kinds for result in found[kind]]) + ending)
    verdicts = {kind: {result.technique: result.verdict for result in found[kind]} for kind in kinds}
    write_file(VERIFIED, json.dumps(verdicts, indent=2) + "\n")


def markdown(results: Sequence[Result]) -> str:
    """The page."""
    head = [
        "# Every backbone in int8",
        "",
        "Written by `python -m benchmarks.backbone_table`. Each backbone at the least picture size it takes, in grey,",
        f"trained from random weights on scikit-learn's digits until {LEARNED:.0%} of {TESTED} test pictures are right",
        "or the time is over, then converted: by `int8` alone, and by `int8_qat` after one epoch. `agreement`:",
        "the share of first answers that the file shares with what it was made of, the float network for `int8` and",
        "the fake-quantized one for `int8_qat`. `float`: float operators inside. `reloads`: the fake-quantized",
        "network gives the same numbers to the bit after saving and loading.",
        "",
        "| backbone | pixels | technique | float accuracy | accuracy | agreement | kB | float | reloads | verified |",
        "|---|--:|---|--:|--:|--:|--:|--:|---|---|",
    ]
    return "\n".join([*head, *map(_line, results)]) + "\n"


def _line(result: Result) -> str:
    reloads = {None: "", True: "yes", False: "no"}[result.reloads]
    numbers = [f"{result.accuracy:.3f}", f"{result.agreement:.3f}", f"{result.bytes / 1000:,.0f}"]
    cells = [result.technique, f"{result.float_accuracy:.3f}", *([""] * 3 if result.error else numbers)]
    ends = [str(result.float_operators), reloads, result.verdict]
    return f"| {' | '.join([f'`{result.kind}`', str(result.size), *cells, *ends])} |"


def run(kind: str, lines: Path, seconds: float) -> None:
    """Measures one backbone in a process of its own, which adds its line."""
    command = [sys.executable, "-m", "benchmarks.backbone_table", kind, "--one", "--lines", str(lines)]
    done = subprocess.run([*command, "--seconds", str(seconds)], cwd=ROOT, check=False)
    if done.returncode:
        print(f"{kind}: crashed with {done.returncode}; it stays without a line", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", choices=[[], *BACKBONES], help="all by default")
    parser.add_argument("--lines", type=Path, default=LINES, metavar="FILE", help="results so far (%(default)s)")
    parser.add_argument("--seconds", type=float, default=300.0, help="of training at most, a backbone (%(default)s)")
    parser.add_argument("--again", action="store_true", help="measure anew what has a line already")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        results = measured(given.kinds[0], given.seconds)
        with given.lines.open("a") as file:
            file.write(json.dumps([asdict(result) for result in results]) + "\n")
        return
    given.lines.parent.mkdir(parents=True, exist_ok=True)
    done = {} if given.again else read(given.lines)
    for kind in given.kinds or BACKBONES:
        if kind not in done:
            run(kind, given.lines, given.seconds)
    write(read(given.lines))


if __name__ == "__main__":
    main()
