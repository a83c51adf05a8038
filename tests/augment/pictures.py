"""Batches to augment, and the two ways an operation has to work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.stack import tf
from pipeline import augment
from pipeline.augment import Augmentation


def batch(count: int = 4, height: int = 8, width: int = 8, channels: int = 3, epoch: int = 0) -> dict[str, np.ndarray]:
    """Examples with random pictures."""
    generator = np.random.default_rng(count * 1000 + height * 10 + channels)
    return {
        "id": np.array([f"class/{number}.png".encode() for number in range(count)], object),
        "epoch": np.full(count, epoch, np.int64),
        "image": generator.integers(0, 256, (count, height, width, channels), np.uint8),
        "label": np.arange(count),
    }


def eagerly(operations: Sequence[Augmentation], examples: dict[str, np.ndarray], seed: int = 7) -> np.ndarray:
    """The pictures after `apply`."""
    tensors = {name: tf.constant(values) for name, values in examples.items()}
    return augment.apply(operations, tensors, seed)["image"].numpy()


def in_tf_data(operations: Sequence[Augmentation], examples: dict[str, np.ndarray], seed: int = 7) -> np.ndarray:
    """The same inside tf.data, where the batch size is not known."""
    tensors = {name: tf.constant(values) for name, values in examples.items()}
    batches = tf.data.Dataset.from_tensor_slices(tensors).batch(len(examples["id"]))
    result = next(iter(batches.map(lambda examples: augment.apply(operations, examples, seed))))
    return result["image"].numpy()
