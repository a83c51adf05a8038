"""Augmentations that move pixels; those that follow each other become one resampling (see warp.py)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from models.stack import tf
from pipeline.augment import random
from pipeline.augment.base import Augmentation, PictureOperation, PictureShape, between
from pipeline.augment.warp import AnyFill, ConstantFill, Fill, Warp, linear, shift

if TYPE_CHECKING:
    import tensorflow as tf


class HorizontalFlip(PictureOperation):
    """Mirrors left and right."""

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    """Mirrors left and right."""
    probability: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the examples that are mirrored."""
    num_draws: ClassVar[int] = 1

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        sign = 1.0 - 2.0 * self.applies(draws)
        zero, one = tf.zeros_like(sign), tf.ones_like(sign)
        return Warp(linear(sign, zero, zero, one, shape), whole_pixels=True)


class VerticalFlip(PictureOperation):
    """Mirrors top and bottom."""

    kind: Literal["vertical_flip"] = "vertical_flip"
    """Mirrors top and bottom."""
    probability: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the examples that are mirrored."""
    num_draws: ClassVar[int] = 1

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        sign = 1.0 - 2.0 * self.applies(draws)
        zero, one = tf.zeros_like(sign), tf.ones_like(sign)
        return Warp(linear(one, zero, zero, sign, shape), whole_pixels=True)


class Rotation(PictureOperation):
    """Turns the picture about its centre, by bilinear interpolation."""

    kind: Literal["rotation"] = "rotation"
    """Turns the picture about its centre."""
    degrees: float = Field(default=15.0, ge=0.0, le=180.0)
    """The angle is drawn from -degrees to +degrees, uniformly."""
    fill: Fill = ConstantFill()
    """What is seen where the turned picture does not reach."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        limit = math.radians(self.degrees)
        angle = between(draws[:, 1], -limit, limit) * self.applies(draws)
        cos, sin = tf.cos(angle), tf.sin(angle)
        return Warp(linear(cos, -sin, sin, cos, shape), self.fill)


class Translation(PictureOperation):
    """Shifts the picture by whole pixels, so that nothing is blurred."""

    kind: Literal["translation"] = "translation"
    """Shifts the picture by whole pixels."""
    height: float = Field(default=0.1, ge=0.0, le=1.0)
    """Largest shift up or down, as a share of the picture's height."""
    width: float = Field(default=0.1, ge=0.0, le=1.0)
    """Largest shift left or right, as a share of the picture's width."""
    fill: Fill = ConstantFill()
    """What is seen where the shifted picture does not reach."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        limits = (round(self.height * shape.height), round(self.width * shape.width))
        return whole_shift(draws, self.applies(draws), limits, self.fill)


class RandomCrop(PictureOperation):
    """Pads the picture on all sides and cuts a piece of its own size: the classic augmentation of small pictures.

    Source: He et al., "Deep residual learning", 2015, section 4.2 (padding 4 for 32 x 32 pictures).
    """

    kind: Literal["random_crop"] = "random_crop"
    """Pads the picture on all sides and cuts a piece of its own size."""
    padding: int = Field(default=4, ge=0)
    """Pixels added on each side; the picture moves by up to that much, by whole pixels."""
    fill: Fill = ConstantFill()
    """What the padding holds."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        return whole_shift(draws, self.applies(draws), (self.padding, self.padding), self.fill)


def whole_shift(draws: tf.Tensor, applies: tf.Tensor, limits: tuple[int, int], fill: AnyFill) -> Warp:
    """A shift of -limit..limit pixels down and right, each whole number equally likely; draws 1 and 2 decide."""
    down, right = (tf.floor(between(draws[:, axis + 1], -limits[axis], limits[axis] + 1)) * applies for axis in (0, 1))
    return Warp(shift(right, down), fill, whole_pixels=True)


class RandomResizedCrop(Augmentation):
    """Cuts a window of random size, shape and place, and brings it to the model's size.

    It works on the full-resolution picture in place of the plain resize, and so has to be the first operation.
    Source: Szegedy et al., "Going deeper with convolutions", 2014, section 6.
    """

    kind: Literal["random_resized_crop"] = "random_resized_crop"
    """Cuts a window of random size, shape and place, and brings it to the model's size; the first operation only."""
    area: tuple[float, float] = (0.25, 1.0)
    """Least and largest share of the picture's area, drawn uniformly."""
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width divided by height in pixels, drawn uniformly on a logarithmic scale."""

    attempts: ClassVar[int] = 10

    @model_validator(mode="after")
    def _ranges(self) -> RandomResizedCrop:
        if not 0.0 < self.area[0] <= self.area[1] <= 1.0:
            raise ValueError(
                f"area has to be [least, largest] with 0 < least <= largest <= 1, but is {list(self.area)}"
            )
        if not 0.0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect has to be [least, largest] with 0 < least <= largest, but is {list(self.aspect)}")
        return self

    def window(self, keys: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """The window of each example, inside the picture.

        Args:
            keys: uint64 [...], as from `random.keys`.
            height, width: the picture's size in pixels, numbers [...] or one for all.

        Returns:
            float32 [..., 4]: y_min, x_min, y_max, x_max as shares of the picture.
        """
        draws = random.uniform(keys, 0, 3 + 2 * self.attempts)
        size = self._size(draws[..., 3:], tf.cast(height, tf.float32), tf.cast(width, tf.float32))
        size = tf.where(draws[..., :1] < self.probability, size, tf.ones_like(size))
        start = draws[..., 1:3] * (1.0 - size)
        return tf.concat([start, tf.minimum(start + size, 1.0)], axis=-1)

    def _size(self, draws: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Height and width as shares, float32 [..., 2]: the first of ten attempts that fits, else the last one cut to
        fit."""
        area = between(draws[..., : self.attempts], *self.area)
        aspect = tf.exp(between(draws[..., self.attempts :], math.log(self.aspect[0]), math.log(self.aspect[1])))
        relative = aspect * (height / width)[..., tf.newaxis]
        sizes = tf.stack([tf.sqrt(area / relative), tf.sqrt(area * relative)], axis=-1)
        fits = tf.cast(tf.reduce_max(sizes, axis=-1) <= 1.0, tf.float32)
        last = tf.one_hot(self.attempts - 1, self.attempts, on_value=0.5)
        chosen = tf.argmax(tf.maximum(fits, last), axis=-1)
        return tf.minimum(tf.gather(sizes, chosen, axis=-2, batch_dims=sizes.shape.rank - 2), 1.0)
