"""What a detector should have found, as its losses are told.

B = batch, N = objects, padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.stack import tf

Tensor = Any

NUMBERS = 8
"""Of each object in the targets: its box as shares, its class (-1: there is none), whether it is asked for, and height
and width of its picture."""


@dataclass(frozen=True)
class Truth:
    """The objects of a batch.

    Args:
        boxes: float32 [B, N, 4], in pixels.
        classes: int32 [B, N]; 0 where there is none.
        asked: bool [B, N]: there, and to be found.
        ignored: bool [B, N]: there, but neither finding nor missing it counts.
    """

    boxes: Tensor
    classes: Tensor
    asked: Tensor
    ignored: Tensor


def written(boxes: Tensor, classes: Tensor, asked: Tensor, size: Tensor) -> Tensor:
    """Targets float32 [B, N, 8] of boxes as shares [B, N, 4], classes int64 [B, N], asked bool [B, N], and the size of
    the batch's pictures, int32 [2]."""
    more = tf.stack([tf.cast(classes, tf.float32), tf.cast(asked, tf.float32)], axis=-1)
    sizes = tf.broadcast_to(tf.cast(size, tf.float32), tf.shape(more))
    return tf.concat([boxes, more, sizes], axis=-1)


def size_of(targets: Tensor) -> Tensor:
    """Height and width of the batch's pictures in pixels, int32 [2]."""
    return tf.cast(targets[0, 0, 6:], tf.int32)


def read(targets: Tensor, scale: Tensor) -> Truth:
    """What `written` wrote; `scale` brings shares to pixels."""
    there, wanted = targets[..., 4] >= 0, targets[..., 5] > 0
    classes = tf.cast(tf.maximum(targets[..., 4], 0.0), tf.int32)
    return Truth(targets[..., :4] * scale, classes, there & wanted, there & ~wanted)
