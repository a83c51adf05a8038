"""Augmentations that move pixels; those that follow each other become one resampling (see warp.py)."""

from __future__ import annotations

import math
from abc import ABC
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from models.stack import tf
from pipeline.augment.base import PictureOperation, PictureShape, between
from pipeline.augment.fill import AnyFill, ConstantFill, Fill
from pipeline.augment.warp import MIN_VISIBLE, Swap, Warp, linear, shift

if TYPE_CHECKING:
    import tensorflow as tf


class Flip(PictureOperation, ABC):
    """What the flips have in common."""

    probability: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the examples that are mirrored, drawn anew for each example and epoch."""
    swap_points: tuple[tuple[int, int], ...] = ()
    """Pairs of key points that change over in a mirrored picture, by their numbers from 0, such as the left and the
    right eye: [[1, 2], [3, 4]]."""
    num_draws: ClassVar[int] = 1

    @model_validator(mode="after")
    def _pairs(self) -> Flip:
        named = [number for pair in self.swap_points for number in pair]
        if len(set(named)) < len(named) or min(named, default=0) < 0:
            pairs = [list(pair) for pair in self.swap_points]
            raise ValueError(f"swap_points has to name different key points, from 0, but is {pairs}")
        return self

    def mirrored(self, draws: tf.Tensor, x: float, y: float, shape: PictureShape) -> Warp:
        """The picture with x and y multiplied by -1 or 1, in the examples that are mirrored."""
        applies = self.applies(draws)
        zero, one = tf.zeros_like(applies), tf.ones_like(applies)
        matrices = linear(one + (x - 1) * applies, zero, zero, one + (y - 1) * applies, shape)
        return Warp(matrices, min_visible=0.0, swaps=[Swap(self.swap_points, applies > 0)])


class HorizontalFlip(Flip):
    """Mirrors left and right."""

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    """Mirrors left and right."""

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        return self.mirrored(draws, -1.0, 1.0, shape)


class VerticalFlip(Flip):
    """Mirrors top and bottom."""

    kind: Literal["vertical_flip"] = "vertical_flip"
    """Mirrors top and bottom."""

    @property
    def keeps_halves(self) -> bool:
        return False

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        return self.mirrored(draws, 1.0, -1.0, shape)


class GeometricOperation(PictureOperation, ABC):
    """What operations have in common after which something outside the picture may be seen."""

    fill: Fill = ConstantFill()
    """What is seen where the moved picture does not reach; masks then hold 255 (does not count)."""
    min_visible: float = Field(default=MIN_VISIBLE, ge=0.0, le=1.0)
    """An object is left out where less than this share of its box stays in the picture."""

    @property
    def keeps_halves(self) -> bool:
        return False


class Rotation(GeometricOperation):
    """Turns the picture about its centre, by bilinear interpolation."""

    kind: Literal["rotation"] = "rotation"
    """Turns the picture about its centre."""
    degrees: float = Field(default=15.0, ge=0.0, le=180.0)
    """The angle is drawn from -degrees to +degrees, uniformly."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        limit = math.radians(self.degrees)
        angle = between(draws[:, 1], -limit, limit) * self.applies(draws)
        cos, sin = tf.cos(angle), tf.sin(angle)
        return Warp(linear(cos, -sin, sin, cos, shape), self.fill, self.min_visible)


class Translation(GeometricOperation):
    """Shifts the picture by whole pixels, so that nothing is blurred."""

    kind: Literal["translation"] = "translation"
    """Shifts the picture by whole pixels."""
    height: float = Field(default=0.1, ge=0.0, le=1.0)
    """Largest shift up or down, as a share of the picture's height."""
    width: float = Field(default=0.1, ge=0.0, le=1.0)
    """Largest shift left or right, as a share of the picture's width."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        limits = (round(self.height * shape.height), round(self.width * shape.width))
        return whole_shift(draws, self.applies(draws), limits, self.fill, self.min_visible)


def whole_shift(
    draws: tf.Tensor, applies: tf.Tensor, limits: tuple[int, int], fill: AnyFill, min_visible: float
) -> Warp:
    """A shift of -limit..limit pixels down and right, each whole number equally likely; draws 1 and 2 decide."""
    down, right = (tf.floor(between(draws[:, axis + 1], -limits[axis], limits[axis] + 1)) * applies for axis in (0, 1))
    return Warp(shift(right, down), fill, min_visible)


class Shear(GeometricOperation):
    """Slants the picture: rows are shifted against each other, and columns; its centre stays."""

    kind: Literal["shear"] = "shear"
    """Slants the picture about its centre."""
    horizontal: float = Field(default=0.15, ge=0.0, le=0.9)
    """What is one pixel below the centre is shifted right by a number drawn from -horizontal to +horizontal."""
    vertical: float = Field(default=0.15, ge=0.0, le=0.9)
    """What is one pixel right of the centre is shifted down by a number drawn from -vertical to +vertical."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        applies = self.applies(draws)
        right = between(draws[:, 1], -self.horizontal, self.horizontal) * applies
        down = between(draws[:, 2], -self.vertical, self.vertical) * applies
        # A warp looks back from the result to the picture: the inverse of (1, right; down, 1).
        scale = 1.0 / (1.0 - right * down)
        return Warp(linear(scale, -right * scale, -down * scale, scale, shape), self.fill, self.min_visible)


class Zoom(GeometricOperation):
    """Enlarges or shrinks what is in the picture about its centre; the picture keeps its size."""

    kind: Literal["zoom"] = "zoom"
    """Enlarges or shrinks what is in the picture about its centre."""
    factor: tuple[float, float] = (0.8, 1.25)
    """Least and largest enlargement, drawn uniformly on a logarithmic scale: below 1 things get smaller, and the fill
    is seen around. Between 0.1 and 10."""
    num_draws: ClassVar[int] = 2

    @model_validator(mode="after")
    def _range(self) -> Zoom:
        check_range("factor", self.factor, 0.1, 10.0)
        return self

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        size = tf.exp(-between(draws[:, 1], math.log(self.factor[0]), math.log(self.factor[1])) * self.applies(draws))
        zero = tf.zeros_like(size)
        return Warp(linear(size, zero, zero, size, shape), self.fill, self.min_visible)


class Perspective(GeometricOperation):
    """Shows the picture as if it were seen at an angle: each of its corners is moved on its own."""

    kind: Literal["perspective"] = "perspective"
    """Shows the picture as if it were seen at an angle."""
    distortion: float = Field(default=0.1, ge=0.0, le=0.2)
    """Each corner is moved by up to this share of the picture's height and width, in every direction, drawn
    uniformly."""
    num_draws: ClassVar[int] = 9

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        away = between(tf.reshape(draws[:, 1:], [-1, 4, 2]), -self.distortion, self.distortion)
        away *= self.applies(draws)[:, tf.newaxis, tf.newaxis]
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) + away
        back = tf.linalg.inv(square_to(corners))
        sides = np.array([max(shape.width - 1, 1), max(shape.height - 1, 1), 1], np.float32)
        matrices = np.diag(sides) @ back @ np.diag(1 / sides)
        still = tf.reduce_all(away == 0.0, axis=[1, 2], keepdims=True)
        # Where nothing moves the result has to be free of rounding.
        return Warp(tf.where(still, np.eye(3, dtype=np.float32), matrices), self.fill, self.min_visible)


def square_to(corners: tf.Tensor) -> tf.Tensor:
    """Projective matrices [B,3,3] that take the unit square to four corners (x, y) float32 [B,4,2]: the images of
    (0, 0), (1, 0), (1, 1), (0, 1).

    Source: Heckbert, "Fundamentals of texture mapping and image warping", 1989, section 2.2.3.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (tf.unstack(corner, axis=-1) for corner in tf.unstack(corners, axis=1))
    dx1, dx2, dx3 = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, dy3 = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (dx3 * dy2 - dx2 * dy3) / area, (dx1 * dy3 - dx3 * dy1) / area
    rows = [
        [x1 - x0 + g * x1, x3 - x0 + h * x3, x0],
        [y1 - y0 + g * y1, y3 - y0 + h * y3, y0],
        [g, h, tf.ones_like(g)],
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


def check_range(name: str, numbers: tuple[float, float], least: float, most: float) -> None:
    """Raises ValueError where a pair [from, to] is not in order or not within its limits."""
    if not least <= numbers[0] <= numbers[1] <= most:
        raise ValueError(
            f"{name} has to be [least, largest] with {least:g} <= least <= largest <= {most:g}, but is {list(numbers)}"
        )
