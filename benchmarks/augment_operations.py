"""The time of every augmentation: python -m benchmarks.augment_operations [OPERATION ...] [--csv FILE] [--json FILE]

Batches of 64 pictures of 224 x 224 in memory go through one operation with probability 1 in a tf.data pipeline of two
threads: with OpenCV (the default), with TensorFlow, and through keras-cv's layer for the same operation where there is
one. Told are pictures per second with OpenCV as a ratio to each of the others, and milliseconds per picture.
"""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from models.stack import tf
from pipeline import augment
from pipeline.augment import OPERATIONS
from pipeline.augment.base import PictureOperation
from pipeline.augment.engines import Engine
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.files import write_file

BATCH, SIZE, THREADS = 64, 224, 2
OBJECTS = 4
"""In a picture, where an operation needs objects."""
SEED = 1
ENGINES: dict[str, Engine] = {"opencv": OpenCV(), "tensorflow": TensorFlow()}
KERAS_CV = "keras_cv"
RANGE = (0, 255)
LAYERS: dict[str, Callable[[Any], Any]] = {
    "horizontal_flip": lambda layers: layers.RandomFlip("horizontal"),
    "vertical_flip": lambda layers: layers.RandomFlip("vertical"),
    "rotation": lambda layers: layers.RandomRotation(15 / 360, fill_mode="constant"),
    "translation": lambda layers: layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
    "shear": lambda layers: layers.RandomShear(0.15, 0.15, fill_mode="constant"),
    "zoom": lambda layers: layers.RandomZoom((-0.2, 0.25), fill_mode="constant"),
    "colour_jitter": lambda layers: layers.RandomColorJitter(RANGE, 0.2, 0.2, (0.4, 0.6), 0.0),
    "brightness": lambda layers: layers.RandomBrightness(0.2, RANGE),
    "contrast": lambda layers: layers.RandomContrast(RANGE, 0.2),
    "saturation": lambda layers: layers.RandomSaturation((0.4, 0.6)),
    "hue": lambda layers: layers.RandomHue(0.05, RANGE),
    "channel_shift": lambda layers: layers.RandomChannelShift(RANGE, 0.1),
    "grayscale": lambda layers: layers.Grayscale(3),
    "solarize": lambda layers: layers.Solarization(RANGE, threshold_factor=(128, 255)),
    "posterize": lambda layers: layers.Posterization(RANGE, bits=5),
    "equalize": lambda layers: layers.Equalization(RANGE),
    "autocontrast": lambda layers: layers.AutoContrast(RANGE),
    "sharpness": lambda layers: layers.RandomSharpness(0.5, RANGE),
    "gaussian_blur": lambda layers: layers.RandomGaussianBlur(13, (0.1, 2.0)),
    "jpeg_artefacts": lambda layers: layers.RandomJpegQuality((30, 90)),
    "cutout": lambda layers: layers.RandomCutout(0.5, 0.5),
    "grid_mask": lambda layers: layers.GridMask((0.4, 0.4), 0.0),
    "mix_up": lambda layers: layers.MixUp(),
    "cut_mix": lambda layers: layers.CutMix(),
    "mosaic": lambda layers: layers.Mosaic(),
    "rand_augment": lambda layers: layers.RandAugment(RANGE, 2),
    "augmix": lambda layers: layers.AugMix(RANGE),
}
"""keras-cv's layer for the same operation, with the same ranges where it has them."""


def main() -> None:
    """Measures, prints, and writes the files that were asked for."""
    parser = measure.arguments(__doc__, rounds=3)
    parser.add_argument("names", nargs="*", metavar="OPERATION", help="all by default")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write milliseconds per picture there")
    parser.add_argument("--batches", type=int, default=8, help="batches of one measurement (%(default)s)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(timed()):
        parser.error(f"there is no operation {', '.join(sorted(unknown))}; choose from {', '.join(timed())}")
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    machine = measure.host()
    found = {
        name: measure.interleave(sides(name, options.batches), options.rounds) for name in options.names or timed()
    }
    measure.publish([line for name, times in found.items() for line in lines(name, times)], machine, options.json)
    if options.csv:
        write_file(options.csv, table(found))


def timed() -> list[str]:
    """The operations that work on batches; a random resized crop is a part of reading."""
    return [name for name, operation in OPERATIONS.items() if issubclass(operation, PictureOperation)]


def sides(name: str, batches: int) -> dict[str, Callable[[], float]]:
    """Each side's function gives milliseconds per picture."""
    examples = batch(name)
    operation = OPERATIONS[name](probability=1.0)

    def with_engine(engine: Engine) -> Callable[[dict[str, Any]], Any]:
        return lambda examples: augment.apply([operation], examples, SEED, engine)

    changes = {side: with_engine(engine) for side, engine in ENGINES.items()}
    if name in LAYERS:
        changes[KERAS_CV] = keras_cv_layer(name)
    return {side: clock(examples, change, batches) for side, change in changes.items()}


def keras_cv_layer(name: str) -> Callable[[dict[str, Any]], Any]:
    """keras-cv's layer as a function of a batch."""
    from keras_cv import layers

    layer = LAYERS[name](layers)

    def change(examples: dict[str, Any]) -> Any:
        labels = tf.one_hot(examples["label"], 10)
        return layer({"images": tf.cast(examples["image"], tf.float32), "labels": labels}, training=True)

    return change


def clock(examples: dict[str, Any], change: Callable[[dict[str, Any]], Any], batches: int) -> Callable[[], float]:
    """A function that gives milliseconds per picture over so many batches.

    A batch for each thread runs before them and after them, so that as much is under way when the clock stops as when
    it starts.
    """
    options = tf.data.Options()
    options.threading.private_threadpool_size = THREADS
    dataset = tf.data.Dataset.from_tensors(examples).repeat(THREADS + batches + THREADS)
    dataset = dataset.map(change, num_parallel_calls=THREADS).with_options(options)

    def run() -> float:
        ready = [time.perf_counter() for _ in dataset]
        return (ready[THREADS + batches - 1] - ready[THREADS - 1]) * 1000 / (batches * BATCH)

    return run


def batch(name: str) -> dict[str, Any]:
    """Smooth pictures with noise, and a label; objects with masks for the operation that copies them."""
    generator = np.random.default_rng(SEED)
    coarse = tf.constant(generator.integers(0, 256, (BATCH, 16, 16, 3)), tf.float32)
    pictures = tf.image.resize(coarse, (SIZE, SIZE)) + generator.normal(0, 5, (BATCH, SIZE, SIZE, 3))
    examples = {
        "id": tf.strings.as_string(tf.range(BATCH)),
        "epoch": tf.zeros(BATCH, tf.int64),
        "image": tf.cast(tf.clip_by_value(pictures, 0.0, 255.0), tf.uint8),
        "label": tf.range(BATCH, dtype=tf.int64) % 10,
    }
    return examples | objects() if getattr(OPERATIONS[name], "needs", None) else examples


def objects() -> dict[str, Any]:
    """Squares with their masks."""
    masks = np.zeros((BATCH, OBJECTS, SIZE, SIZE), np.uint8)
    start = SIZE // 8 * np.arange(1, OBJECTS + 1)
    for number, first in enumerate(start):
        masks[:, number, first : first + SIZE // 5, first : first + SIZE // 5] = 1
    boxes = np.stack([start, start, start + SIZE // 5, start + SIZE // 5], axis=-1) / SIZE
    return {
        "boxes": tf.constant(np.tile(boxes, (BATCH, 1, 1)), tf.float32),
        "classes": tf.zeros((BATCH, OBJECTS), tf.int64),
        "masks": tf.constant(masks),
    }


def lines(name: str, times: Mapping[str, Sequence[float]]) -> list[measure.Measure]:
    """How much faster OpenCV is than each other side."""
    rates = {side: [1000 / each for each in found] for side, found in times.items()}
    ours = rates.pop("opencv")
    return [measure.compare(f"{name}: opencv / {side}", ours, other, "pictures/s") for side, other in rates.items()]


def table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """The CSV: milliseconds per picture of each operation on each side, median, least and most over the rounds."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["operation", "side", "ms_per_picture", "least", "most"])
    for name, times in found.items():
        for side, values in times.items():
            numbers = (statistics.median(values), min(values), max(values))
            writer.writerow([name, side, *(f"{number:.4f}" for number in numbers)])
    return stream.getvalue()


if __name__ == "__main__":
    main()
