"""The peer of `benchmarks.augmentation` that cannot be in its process: Keras 3's preprocessing layers in tf.data.

Started as `python -m benchmarks.augmentation_keras THREADS` without TF_USE_LEGACY_KERAS. For each line `FOLDER SECONDS`
on stdin it prints the pictures per second of the pictures in that folder, in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks.pace import pictures_per_second

BATCH = 32


def changes() -> keras.Sequential:
    """What the other sides do, each operation by its own layer."""
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(15 / 360, fill_mode="constant"),
            layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
            layers.RandomShear(0.17, 0.17, fill_mode="constant"),
            layers.RandomZoom(0.1, fill_mode="constant"),
            layers.RandomBrightness(0.2, value_range=(0, 255)),
            layers.RandomContrast(0.2, value_range=(0, 255)),
            layers.RandomSaturation((0.4, 0.6), value_range=(0, 255)),
            layers.RandomErasing(factor=1.0, scale=(0.0625, 0.0625), value_range=(0, 255)),
        ]
    )


def batches_of(folder: Path, threads: int) -> tf.data.Dataset:
    """Endless batches of changed pictures, float32."""
    pictures = np.stack([tf.io.decode_jpeg(file.read_bytes()).numpy() for file in sorted(folder.glob("*.jpg"))])
    kept, change = tf.constant(pictures), changes()
    numbers = tf.data.Dataset.range(len(pictures)).repeat().batch(BATCH, drop_remainder=True)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    changed = numbers.map(lambda index: change(tf.cast(tf.gather(kept, index), tf.float32), training=True), threads)
    return changed.prefetch(2).with_options(options)


def rate(folder: Path, seconds: float, threads: int) -> float:
    """Pictures per second, after the first batches."""
    return pictures_per_second(iter(batches_of(folder, threads)), BATCH, seconds)


def main() -> None:
    for line in sys.stdin:
        folder, seconds = line.split()
        print(rate(Path(folder), float(seconds), int(sys.argv[1])), flush=True)


if __name__ == "__main__":
    main()
