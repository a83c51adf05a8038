"""Augmentations that hide a part of the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from models.stack import tf
from pipeline.augment.base import PictureOperation, PictureShape, Transform
from pipeline.data.example import IMAGE, Example

if TYPE_CHECKING:
    import tensorflow as tf


class Cutout(PictureOperation):
    """Hides a square whose centre may be any pixel, so that a part of the square may lie outside.

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017, section
        3.2.
    """

    kind: Literal["cutout"] = "cutout"
    """Hides a square somewhere in the picture."""
    size: float = Field(default=0.5, ge=0.0, le=1.0)
    """Side of the square as a share of the picture's shorter side."""
    value: int = Field(default=128, ge=0, le=255)
    """What the square is filled with, 0 (black) to 255 (white)."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Erase:
        side = round(self.size * min(shape.height, shape.width))
        size = side * tf.cast(self.applies(draws), tf.int32)
        centre = tf.cast(tf.floor(draws[:, 1:3] * (float(shape.height), float(shape.width))), tf.int32)
        return Erase(centre - side // 2, size, self.value)


class Erase(Transform):
    """Fills a square of each picture.

    Args:
        start: row and column of its first pixel, int32 [B,2], possibly outside the picture.
        size: side in pixels, int32 [B].
        value: 0..255.
    """

    def __init__(self, start: tf.Tensor, size: tf.Tensor, value: int):
        self.start = start
        self.size = size
        self.value = value

    def __call__(self, examples: Example) -> Example:
        pictures = examples[IMAGE]
        rows, columns = (self._covers(axis, pictures.shape[axis + 1]) for axis in (0, 1))
        hidden = tf.cast(rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :], tf.uint8)[..., tf.newaxis]
        return {**examples, IMAGE: pictures * (1 - hidden) + self.value * hidden}

    def _covers(self, axis: int, length: int) -> tf.Tensor:
        """Which rows (or columns) the square covers: bool [B, length]."""
        place = tf.range(length) - self.start[:, axis, tf.newaxis]
        return (place >= 0) & (place < self.size[:, tf.newaxis])
