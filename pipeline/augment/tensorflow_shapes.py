"""Shapes painted on a batch of pictures inside the graph (see shapes.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf
from pipeline.augment import bank
from pipeline.augment.shapes import Shapes, mixed, noisy

if TYPE_CHECKING:
    import tensorflow as tf


def covered(pictures: tf.Tensor, shapes: Shapes, number: int) -> tf.Tensor:
    """Pictures uint8 [B,H,W,C] with one shape of each painted over them."""
    u, v = _places(shapes.frames[:, number], *pictures.shape[1:3])
    hidden = shapes.hidden[:, number, tf.newaxis, tf.newaxis, tf.newaxis]
    inside = _chosen([outline(u, v, hidden) for outline in shapes.outlines], shapes.outline[:, number])
    noise = _noise(pictures, shapes, number)
    share = _chosen([pattern(u, noise) for pattern in shapes.patterns], shapes.pattern[:, number])
    first, second = tf.unstack(shapes.colours[:, number, :, tf.newaxis, tf.newaxis], axis=1)
    inside &= shapes.present[:, number, tf.newaxis, tf.newaxis, tf.newaxis]
    return tf.where(inside, tf.cast(mixed(first, second, share), tf.uint8), pictures)


def _places(frames: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """u and v of every pixel, float32 [B,H,W,1] each."""
    y = np.arange(height, dtype=np.float32)[:, np.newaxis, np.newaxis]
    x = np.arange(width, dtype=np.float32)[:, np.newaxis]
    parts = tf.unstack(frames[:, :, :, tf.newaxis, tf.newaxis, tf.newaxis], axis=2)
    a, b, c = (tf.unstack(part, axis=1) for part in parts)
    return a[0] * x + b[0] * y + c[0], a[1] * x + b[1] * y + c[1]


def _noise(pictures: tf.Tensor, shapes: Shapes, number: int) -> tf.Tensor:
    """Random numbers 0..255 for every value, float32 [B,H,W,C]; a zero where no pattern looks at them."""
    if noisy not in shapes.patterns:
        return tf.zeros([1, 1, 1, 1])
    pieces = bank.pieces(bank.uniform(), shapes.starts[:, number], int(np.prod(pictures.shape[1:])))
    return tf.reshape(tf.cast(pieces, tf.float32), tf.shape(pictures))


def _chosen(values: Sequence[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
    """Each example's own of several tensors [B,...]: index int32 [B]."""
    chosen, *others = values
    for number, value in enumerate(others, start=1):
        chosen = tf.where((index == number)[:, tf.newaxis, tf.newaxis, tf.newaxis], value, chosen)
    return chosen
