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
from pipeline.augment.base import PictureOperation, PictureShape, Transform, between
from pipeline.augment.engines import Engine
from pipeline.data.example import IMAGE, Example

if TYPE_CHECKING:
    import tensorflow as tf

Affine = tuple["tf.Tensor", "tf.Tensor"]
"""M float32 [B,C,C] and b float32 [B,C] of x -> M x + b."""
Change = Callable[["tf.Tensor", "tf.Tensor"], Affine]
"""Gives M and b from an amount [B] or [B,C] (0 = no change) and the pictures' mean colour [B,C]."""

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


class Brightness(PictureOperation):
    """Makes pictures darker or brighter by multiplying all values."""

    kind: Literal["brightness"] = "brightness"
    """Makes pictures darker or brighter by multiplying all values."""
    amount: float = Field(default=0.2, ge=0.0, le=1.0)
    """Values are multiplied by a number drawn from 1 - amount to 1 + amount."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Recolour:
        return Recolour([(scale_brightness, signed(self, draws, self.amount))])


class Contrast(PictureOperation):
    """Moves values away from the picture's mean brightness, or towards it."""

    kind: Literal["contrast"] = "contrast"
    """Moves values away from the picture's mean brightness, or towards it."""
    amount: float = Field(default=0.2, ge=0.0, le=1.0)
    """Distances from the mean are multiplied by a number drawn from 1 - amount to 1 + amount."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Recolour:
        return Recolour([(scale_contrast, signed(self, draws, self.amount))])


class Saturation(PictureOperation):
    """Makes colours paler or stronger; does nothing to grey pictures."""

    kind: Literal["saturation"] = "saturation"
    """Makes colours paler or stronger; does nothing to grey pictures."""
    amount: float = Field(default=0.2, ge=0.0, le=1.0)
    """Distances from grey are multiplied by a number drawn from 1 - amount to 1 + amount."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Recolour:
        return coloured(shape, (scale_saturation, signed(self, draws, self.amount)))


class Hue(PictureOperation):
    """Turns colours around the colour circle; does nothing to grey pictures."""

    kind: Literal["hue"] = "hue"
    """Turns colours around the colour circle; does nothing to grey pictures."""
    amount: float = Field(default=0.05, ge=0.0, le=0.5)
    """Share of a whole turn, drawn from -amount to +amount."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Recolour:
        return coloured(shape, (turn_hue, signed(self, draws, self.amount)))


class ChannelShift(PictureOperation):
    """Adds a number to each channel, as light of another colour or a shifted white balance does."""

    kind: Literal["channel_shift"] = "channel_shift"
    """Adds a number to each channel."""
    amount: float = Field(default=0.1, ge=0.0, le=1.0)
    """What is added, as a share of 255, drawn from -amount to +amount for each channel."""
    num_draws: ClassVar[int] = 4

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Recolour:
        limit = 255.0 * self.amount
        added = between(draws[:, 1 : 1 + shape.channels], -limit, limit)
        return Recolour([(shift_channels, added * self.applies(draws)[:, tf.newaxis])])


class Grayscale(PictureOperation):
    """Takes the colour out of a picture, which keeps its three channels; does nothing to grey pictures."""

    kind: Literal["grayscale"] = "grayscale"
    """Takes the colour out of a picture, which keeps its three channels."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    num_draws: ClassVar[int] = 1

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Recolour:
        return coloured(shape, (scale_saturation, -self.applies(draws)))


def signed(operation: PictureOperation, draws: tf.Tensor, limit: float) -> tf.Tensor:
    """Amounts drawn from -limit to limit by draw 1, float32 [B]; 0 where the operation does not apply."""
    return between(draws[:, 1], -limit, limit) * operation.applies(draws)


def coloured(shape: PictureShape, change: tuple[Change, tf.Tensor]) -> Recolour:
    """A change of colour pictures that leaves grey ones alone."""
    return Recolour([change] if shape.channels == 3 else [])


class Recolour(Transform):
    """Linear changes of colour, each with its amount for every example, made in one go."""

    def __init__(self, changes: list[tuple[Change, tf.Tensor]]):
        self.changes = changes

    def then(self, later: Transform) -> Recolour | None:
        return Recolour(self.changes + later.changes) if isinstance(later, Recolour) else None

    def __call__(self, examples: Example, engine: Engine) -> Example:
        if not self.changes:
            return examples
        pictures = examples[IMAGE]
        matrix, offset = self.combined(engine.mean(pictures))
        return {**examples, IMAGE: engine.recolour(pictures, matrix, offset)}

    def describe(self) -> str:
        return "one colour matrix"

    def combined(self, mean: tf.Tensor) -> Affine:
        """All changes as one M and b, for pictures of this mean colour [B,C]."""
        first, *rest = self.changes
        matrix, offset = first[0](first[1], mean)
        for change, amount in rest:
            turn, move = change(amount, tf.linalg.matvec(matrix, mean) + offset)
            matrix, offset = turn @ matrix, tf.linalg.matvec(turn, offset) + move
        return matrix, offset


def scale_brightness(amount: tf.Tensor, mean: tf.Tensor) -> Affine:
    """x -> (1 + amount) x."""
    channels = mean.shape[-1]
    return (1.0 + amount)[:, tf.newaxis, tf.newaxis] * np.eye(channels, dtype=np.float32), tf.zeros_like(mean)


def shift_channels(amount: tf.Tensor, mean: tf.Tensor) -> Affine:
    """x -> x + amount, with an amount for each channel, [B,C]."""
    return tf.eye(mean.shape[-1], batch_shape=[tf.shape(mean)[0]]), amount


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
