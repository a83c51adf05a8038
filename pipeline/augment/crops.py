"""Augmentations that cut a part of the picture, or put it into a larger room."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from models.stack import tf
from pipeline.augment import random
from pipeline.augment.base import Augmentation, PictureShape, between
from pipeline.augment.fill import ConstantFill, Fill
from pipeline.augment.geometry import GeometricOperation, check_range, whole_shift
from pipeline.augment.warp import MIN_VISIBLE, Warp, affine

if TYPE_CHECKING:
    import tensorflow as tf


class RandomCrop(GeometricOperation):
    """Pads the picture on all sides and cuts a piece of its own size: the classic augmentation of small pictures.

    Source: He et al., "Deep residual learning", 2015, section 4.2 (padding 4 for 32 x 32 pictures).
    """

    kind: Literal["random_crop"] = "random_crop"
    """Pads the picture on all sides and cuts a piece of its own size."""
    padding: int = Field(default=4, ge=0)
    """Pixels added on each side; the picture moves by up to that much, by whole pixels."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        return whole_shift(draws, self.applies(draws), (self.padding, self.padding), self.fill, self.min_visible)


class ScaleJitter(GeometricOperation):
    """Changes the size of the picture, and then cuts or pads it, at a random place, to the size it had: large-scale
    jitter, as detectors are trained with.

    Pixels are interpolated from four neighbours: below half the size fine patterns flicker.
    Source: Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance segmentation", 2021,
        section 3 and figure 3 (0.1 to 2.0; standard jitter is 0.8 to 1.25).
    """

    kind: Literal["scale_jitter"] = "scale_jitter"
    """Changes the size of the picture, and then cuts or pads it to the size it had."""
    fill: Fill = ConstantFill(value=128)
    """What the padding holds; masks then hold 255 (does not count)."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Least and largest size, drawn uniformly; 1 = as it is. Between 0.1 and 10."""
    num_draws: ClassVar[int] = 4

    @model_validator(mode="after")
    def _range(self) -> ScaleJitter:
        check_range("scale", self.scale, 0.1, 10.0)
        return self

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Warp:
        applies = self.applies(draws)
        scale = 1.0 + (between(draws[:, 1], *self.scale) - 1.0) * applies
        left, top = draws[:, 2] * (1.0 - scale) * shape.width, draws[:, 3] * (1.0 - scale) * shape.height
        zero, size = tf.zeros_like(scale), 1.0 / scale
        # Edges of pixels are scaled, not their middles: those are half a pixel further.
        x, y = ((0.5 - start) * size - 0.5 for start in (left, top))
        return Warp(affine([[size, zero, x], [zero, size, y]]), self.fill, self.min_visible)


class RandomResizedCrop(Augmentation):
    """Cuts a window of random size, shape and place, and brings it to the model's size.

    It works on the full-resolution picture in place of the plain resize, and so has to be the first operation. A
    picture that it spares (`probability`) is brought to the model's size as `task.picture.fit` says.
    Source: Szegedy et al., "Going deeper with convolutions", 2014, section 6.
    """

    kind: Literal["random_resized_crop"] = "random_resized_crop"
    """Cuts a window of random size, shape and place, and brings it to the model's size; the first operation only."""
    area: tuple[float, float] = (0.25, 1.0)
    """Least and largest share of the picture's area, drawn uniformly."""
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width divided by height in pixels, drawn uniformly on a logarithmic scale."""
    min_visible: float = Field(default=MIN_VISIBLE, ge=0.0, le=1.0)
    """An object is left out where less than this share of its box is in the window."""

    attempts: ClassVar[int] = 10

    @property
    def keeps_halves(self) -> bool:
        return False

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
        draws = self._draws(keys)
        size = self._size(draws[..., 3:], tf.cast(height, tf.float32), tf.cast(width, tf.float32))
        size = tf.where(draws[..., :1] < self.probability, size, tf.ones_like(size))
        start = draws[..., 1:3] * (1.0 - size)
        return tf.concat([start, tf.minimum(start + size, 1.0)], axis=-1)

    def applies(self, keys: tf.Tensor) -> tf.Tensor:
        """Whether each example is cropped, bool [...]; the window of one that is not is the whole picture."""
        return self._draws(keys)[..., 0] < self.probability

    def _draws(self, keys: tf.Tensor) -> tf.Tensor:
        return random.uniform(keys, 0, 3 + 2 * self.attempts)

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
