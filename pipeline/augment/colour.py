"""Augmentations that change colours pixel by pixel, linearly: one 3x4 matrix an example however many there are.

For a pixel x (RGB, 0..255) of a picture with mean colour m every change is x -> M x + S m + b: contrast turns about the
picture's own mean brightness. The mean itself becomes (M + S) m + b, so a change is one matrix over (x, m, 1), and
changes that follow each other are multiplied before any picture is looked at. Values are clipped to 0..255 once, after
the last change, where libraries that run step by step clip in between.

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

Change = Callable[["tf.Tensor", int], "tf.Tensor"]
"""Gives the matrix over (x, m, 1), float32 [B,2C+1,2C+1], from amounts [B] or [B,C] (0 = no change) and C."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in brightness (ITU-R BT.601), as in Pillow's grey pictures."""
TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)
"""Brightness, and two axes of colour around which hue is an angle (NTSC, 1953)."""
TO_RGB = np.linalg.inv(TO_YIQ)
IN_HUE = TO_RGB @ np.diag([0, 1, 1]) @ TO_YIQ
ACROSS_HUE = TO_RGB @ np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ TO_YIQ
"""A colour without its brightness, and the same turned by a quarter around the brightness."""


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
        return {**examples, IMAGE: engine.recolour(pictures, self.combined(pictures.shape[-1]))}

    def describe(self) -> str:
        return "one colour matrix"

    def combined(self, channels: int) -> tf.Tensor:
        """All changes as one, M, S and b side by side: float32 [B,C,2C+1]."""
        first, *rest = (change(amount, channels) for change, amount in self.changes)
        for later in rest:
            first = later @ first
        return first[:, :channels]


def scale_brightness(amount: tf.Tensor, channels: int) -> tf.Tensor:
    """x -> (1 + amount) x."""
    return no_change(channels) + along(amount, np.eye(channels))


def shift_channels(amount: tf.Tensor, channels: int) -> tf.Tensor:
    """x -> x + amount, with an amount for each channel, [B,C]."""
    shifts = tf.concat([amount, amount], axis=-1)[..., tf.newaxis]
    return no_change(channels) + tf.pad(shifts, [[0, 0], [0, 1], [2 * channels, 0]])


def scale_contrast(amount: tf.Tensor, channels: int) -> tf.Tensor:
    """x -> (1 + amount) x - amount * (mean brightness of the picture)."""
    return no_change(channels) + along(amount, np.eye(channels), -brightness(channels))


def scale_saturation(amount: tf.Tensor, channels: int) -> tf.Tensor:
    """x -> (1 + amount) x - amount * (brightness of the pixel)."""
    return no_change(channels) + along(amount, np.eye(channels) - brightness(channels))


def turn_hue(amount: tf.Tensor, channels: int) -> tf.Tensor:
    """Turns the colour plane of YIQ by `amount` whole turns; brightness stays."""
    angle = 2 * math.pi * amount
    return no_change(channels) + along(tf.cos(angle) - 1.0, IN_HUE) + along(tf.sin(angle), ACROSS_HUE)


def brightness(channels: int) -> np.ndarray:
    """The matrix that puts the brightness of a colour into all of its channels, [C,C]."""
    return np.tile(LUMA if channels == 3 else np.ones(1), (channels, 1))


def no_change(channels: int) -> np.ndarray:
    """The matrix over (x, m, 1) that leaves all as it is."""
    return np.eye(2 * channels + 1, dtype=np.float32)


def along(amount: tf.Tensor, pixel: np.ndarray, mean: np.ndarray | None = None) -> tf.Tensor:
    """What amounts [B] of a linear change, x -> x + amount * (P x + Q m), add to the matrix over (x, m, 1); P and Q are
    [C,C], and Q is 0 where none is given. The result is float32 [B,2C+1,2C+1]."""
    none = np.zeros_like(pixel)
    of_mean = none if mean is None else mean
    moved = np.pad(np.block([[pixel, of_mean], [none, pixel + of_mean]]), [(0, 1), (0, 1)])
    return amount[:, tf.newaxis, tf.newaxis] * moved.astype(np.float32)
