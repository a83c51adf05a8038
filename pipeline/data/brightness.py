"""How light pictures are where their objects lie.

B = batch, N = objects of a picture, H, W, C = pictures.
"""

from __future__ import annotations

from typing import Any

from models.stack import tf

Tensor = Any


def in_boxes(pictures: Tensor, boxes: Tensor) -> Tensor:
    """The mean luminance (Rec. 601, of the values as they are stored) of the part of each box that lies in the picture.

    Args:
        pictures: uint8 [B,H,W,C], 0..255, C = 3 (RGB) or 1 (grey).
        boxes: float32 [B,N,4], x_min, y_min, x_max, y_max as shares of the picture. A pixel counts by how much of it
            the box covers.

    Returns:
        float32 [B,N], 0..1; NaN for boxes that cover nothing.
    """
    light = tf.cast(pictures, tf.float32) / 255.0
    light = (tf.image.rgb_to_grayscale(light) if pictures.shape[-1] == 3 else light)[..., 0]
    rows = _covered(boxes[..., 1], boxes[..., 3], tf.shape(light)[1])
    columns = _covered(boxes[..., 0], boxes[..., 2], tf.shape(light)[2])
    total = tf.einsum("bnh,bnh->bn", rows, tf.einsum("bhw,bnw->bnh", light, columns))
    return total / (tf.reduce_sum(rows, axis=-1) * tf.reduce_sum(columns, axis=-1))


def _covered(low: Tensor, high: Tensor, length: Tensor) -> Tensor:
    """How much of each of the pixels of an axis lies between two shares of it [B,N] -> float32 [B,N,length], 0..1."""
    size = tf.cast(length, tf.float32)
    pixels = tf.range(size)
    low, high = (tf.clip_by_value(bound, 0.0, 1.0)[..., tf.newaxis] * size for bound in (low, high))
    return tf.clip_by_value(tf.minimum(high, pixels + 1.0) - tf.maximum(low, pixels), 0.0, 1.0)
