"""Augmentations that change colours pixel by pixel, linearly: one 3x4 matrix an example however many there are.

For a picture x (RGB, 0..255) every change is x -> M x + b. Values are clipped to 0..255 once, after the last change,
where libraries that run step by step clip in between. Contrast turns about the picture's own mean brightness, which
is carried along exactly, because the mean of M x + b is M mean(x) + b.

B = batch, H, W, C = picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from models.stack import tf
from pipeline.augment.base import PictureOperation, PictureShape, Transform, between, to_uint8
from pipeline.data.example import IMAGE, Example

if TYPE_CHECKING:
    import tensorflow as tf

Affine = tuple["tf.Tensor", "tf.Tensor"]
"""M float32 [B,C,C] and b float32 [B,C] of x -> M x + b."""
Change = Callable[["tf.Tensor", "tf.Tensor"], Affine]
"""Gives M and b from an amount [B] (0 = no change) and the pictures' mean colour [B,C]."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in brightness (ITU-R BT.601), as in Pillow's grey pictures."""
TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)
"""Brightness, and two axes of colour around which hue is an angle (NTSC, 1953)."""
TO_RGB = np.linalg.inv(TO_YIQ).astype(np.float32)


class ColourJitter(PictureOperation):
    """Changes brightness, contrast, saturation and hue by random amounts, in this order.

    Grey pictures have no saturation and no hue: these two then change nothing.
    """

    kind: Literal["colour_jitter"] = "colour_jitter"
    """Changes brightness, contrast, saturation and hue by random amounts, in this order."""
    brightness: float = Field(default=0.2, ge=0.0, le=1.0)
    """Pixels are multiplied by a number drawn from 1 - brightness to 1 + brightness."""
    contrast: float = Field(default=0.2, ge=0.0, le=1.0)
    """Distances from the picture's mean brightness are multiplied by a number drawn from 1 - contrast to 1 +
    contrast."""
    saturation: float = Field(default=0.2, ge=0.0, le=1.0)
    """Distances from grey are multiplied by a number drawn from 1 - saturation to 1 + saturation."""
    hue: float = Field(default=0.0, ge=0.0, le=0.5)
    """Colours are turned around the colour circle by a share of a whole turn drawn from -hue to +hue."""
    num_draws: ClassVar[int] = 5

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Recolour:
        changes: dict[str, Change] = {"brightness": scale_brightness, "contrast": scale_contrast}
        if shape.channels == 3:
            changes |= {"saturation": scale_saturation, "hue": turn_hue}
        amounts = between(draws[:, 1:], -1.0, 1.0) * self.applies(draws)[:, tf.newaxis]
        limits = [(number, change, getattr(self, name)) for number, (name, change) in enumerate(changes.items())]
        return Recolour([(change, amounts[:, number] * limit) for number, change, limit in limits if limit])


class Recolour(Transform):
    """Linear changes of colour, each with its amount for every example, made in one go."""

    def __init__(self, changes: list[tuple[Change, tf.Tensor]]):
        self.changes = changes

    def then(self, later: Transform) -> Recolour | None:
        return Recolour(self.changes + later.changes) if isinstance(later, Recolour) else None

    def __call__(self, examples: Example) -> Example:
        if not self.changes:
            return examples
        pictures = examples[IMAGE]
        matrix, offset = self.combined(mean_colour(pictures))
        return {**examples, IMAGE: to_uint8(recolour(tf.cast(pictures, tf.float32), matrix, offset))}

    def combined(self, mean: tf.Tensor) -> Affine:
        """All changes as one M and b, for pictures of this mean colour [B,C]."""
        first, *rest = self.changes
        matrix, offset = first[0](first[1], mean)
        for change, amount in rest:
            turn, move = change(amount, tf.linalg.matvec(matrix, mean) + offset)
            matrix, offset = turn @ matrix, tf.linalg.matvec(turn, offset) + move
        return matrix, offset


def recolour(pictures: tf.Tensor, matrix: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """M x + b for every pixel: float32 [B,H,W,C] -> float32 [B,H,W,C]."""
    height, width, channels = pictures.shape[1:]
    if channels == 1:
        return pictures * matrix[:, tf.newaxis] + offset[:, tf.newaxis, tf.newaxis]
    pixels = tf.reshape(pictures, [-1, height * width, channels])
    changed = tf.matmul(pixels, matrix, transpose_b=True) + offset[:, tf.newaxis]
    return tf.reshape(changed, [-1, height, width, channels])


def mean_colour(pictures: tf.Tensor) -> tf.Tensor:
    """uint8 [B,H,W,C] -> float32 [B,C]; summed in integers, so the number of threads cannot change the last bit."""
    height, width = pictures.shape[1:3]
    total = tf.reduce_sum(tf.cast(pictures, tf.int32), axis=[1, 2])
    return tf.cast(total, tf.float32) / float(height * width)


def scale_brightness(amount: tf.Tensor, mean: tf.Tensor) -> Affine:
    """x -> (1 + amount) x."""
    channels = mean.shape[-1]
    return (1.0 + amount)[:, tf.newaxis, tf.newaxis] * np.eye(channels, dtype=np.float32), tf.zeros_like(mean)


def scale_contrast(amount: tf.Tensor, mean: tf.Tensor) -> Affine:
    """x -> (1 + amount) x - amount * (mean brightness of the picture)."""
    matrix, _ = scale_brightness(amount, mean)
    brightness = mean if mean.shape[-1] == 1 else tf.tensordot(mean, LUMA[:, np.newaxis], 1)
    return matrix, -amount[:, tf.newaxis] * brightness * tf.ones_like(mean)


def scale_saturation(amount: tf.Tensor, mean: tf.Tensor) -> Affine:
    """x -> (1 + amount) x - amount * (brightness of the pixel)."""
    matrix, offset = scale_brightness(amount, mean)
    return matrix - amount[:, tf.newaxis, tf.newaxis] * np.tile(LUMA, (3, 1)), offset


def turn_hue(amount: tf.Tensor, mean: tf.Tensor) -> Affine:
    """Turns the colour plane of YIQ by `amount` whole turns; brightness stays."""
    cos, sin = tf.cos(2 * math.pi * amount), tf.sin(2 * math.pi * amount)
    zero, one = tf.zeros_like(amount), tf.ones_like(amount)
    rows = [[one, zero, zero], [zero, cos, -sin], [zero, sin, cos]]
    turn = tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
    matrix = tf.einsum("ij,bjk,kl->bil", TO_RGB, turn, TO_YIQ)
    # The two matrices are each other's inverse only to within rounding: no turn has to mean no change.
    return tf.where((amount == 0.0)[:, tf.newaxis, tf.newaxis], np.eye(3, dtype=np.float32), matrix), tf.zeros_like(
        mean
    )
