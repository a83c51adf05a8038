"""Augmentations that mix each pixel with its neighbours: sharpness, blur, motion.

Kernels have a size that the settings fix, so that examples can be worked on together; beyond its edge the picture is
mirrored about its outermost pixels.

B = batch, k = side of a kernel, odd.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from models.stack import tf
from pipeline.augment.base import PictureOperation, PictureShape, Transform, between
from pipeline.augment.engines import Engine
from pipeline.augment.ranges import within
from pipeline.data.example import IMAGE, Example

if TYPE_CHECKING:
    import tensorflow as tf

SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
"""Pillow's ImageFilter.SMOOTH, which its sharpness moves towards or away from."""


class Sharpness(PictureOperation):
    """Blurs a little or sharpens, as Pillow's ImageEnhance.Sharpness (which leaves out the outermost pixels)."""

    kind: Literal["sharpness"] = "sharpness"
    """Blurs a little or sharpens."""
    amount: float = Field(default=0.5, ge=0.0, le=4.0)
    """Distances from the smoothed picture are multiplied by a number drawn from 1 - amount to 1 + amount, but at least
    0."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Filter:
        amount = between(draws[:, 1], -min(self.amount, 1.0), self.amount)
        return Filter(sharpening(amount * self.applies(draws)))


class GaussianBlur(PictureOperation):
    """Blurs as a picture out of focus."""

    kind: Literal["gaussian_blur"] = "gaussian_blur"
    """Blurs as a picture out of focus."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    sigma: Annotated[tuple[float, float], within(0.0, 20.0)] = (0.1, 2.0)
    """Least and largest standard deviation in pixels, drawn uniformly. The kernel reaches three of the largest."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Blur:
        reach = min(math.ceil(3 * self.sigma[1]), least_side(shape) - 1)
        return Blur(gaussians(between(draws[:, 1], *self.sigma) * self.applies(draws), reach))


class MotionBlur(PictureOperation):
    """Blurs along a straight line of random direction, as a camera or an object that moves."""

    kind: Literal["motion_blur"] = "motion_blur"
    """Blurs along a straight line of random direction."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    length: Annotated[tuple[float, float], within(1.0, 63.0)] = (3.0, 9.0)
    """Least and largest length of the line in pixels, drawn uniformly; 1 is no change."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Filter:
        reach = min(math.ceil((self.length[1] - 1) / 2), least_side(shape) - 1)
        length = 1.0 + (between(draws[:, 1], *self.length) - 1.0) * self.applies(draws)
        return Filter(lines(length, math.pi * draws[:, 2], reach))


class Filter(Transform):
    """Correlation with a kernel for each example, float32 [B,k,k]."""

    def __init__(self, kernels: tf.Tensor):
        self.kernels = kernels

    def __call__(self, examples: Example, engine: Engine) -> Example:
        return {**examples, IMAGE: engine.filter(examples[IMAGE], self.kernels)}

    def describe(self) -> str:
        side = self.kernels.shape[1]
        return f"a filter of {side}x{side} pixels"


class Blur(Transform):
    """Correlation along rows and columns with a symmetric kernel for each example, float32 [B,k]."""

    def __init__(self, kernels: tf.Tensor):
        self.kernels = kernels

    def __call__(self, examples: Example, engine: Engine) -> Example:
        return {**examples, IMAGE: engine.blur(examples[IMAGE], self.kernels)}

    def describe(self) -> str:
        return f"a blur of {self.kernels.shape[1]} pixels along rows and columns"


def least_side(shape: PictureShape) -> int:
    """The shorter side; a kernel cannot reach further than the mirrored picture."""
    return min(shape.height, shape.width)


def sharpening(amount: tf.Tensor) -> tf.Tensor:
    """Kernels float32 [B,3,3] of smoothed + (1 + amount) (x - smoothed); exactly the picture where amount is 0."""
    same = np.zeros((3, 3), np.float32)
    same[1, 1] = 1.0
    return same + amount[:, tf.newaxis, tf.newaxis] * (same - SMOOTH)


def gaussians(sigma: tf.Tensor, reach: int) -> tf.Tensor:
    """Normal curves of width sigma [B] that sum to 1, float32 [B, 2 * reach + 1]; a single 1 where sigma is 0."""
    places = np.arange(-reach, reach + 1, dtype=np.float32)
    curves = tf.exp(-0.5 * tf.square(places / tf.maximum(sigma, 1e-3)[:, tf.newaxis]))
    return curves / tf.reduce_sum(curves, axis=-1, keepdims=True)


def lines(length: tf.Tensor, angle: tf.Tensor, reach: int) -> tf.Tensor:
    """Lines of this length in pixels and angle in radians [B], with soft edges, as kernels that sum to 1.

    A pixel weighs 1 minus its distance from the line between the middles of the line's outermost pixels.

    Returns:
        float32 [B, 2 * reach + 1, 2 * reach + 1]; a single 1 where length is 1.
    """
    places = np.arange(-reach, reach + 1, dtype=np.float32)
    cos, sin, half = (tf.reshape(part, [-1, 1, 1]) for part in (tf.cos(angle), tf.sin(angle), (length - 1.0) / 2))
    along = places * cos + places[:, np.newaxis] * sin
    across = places[:, np.newaxis] * cos - places * sin
    beyond = along - tf.clip_by_value(along, -half, half)
    weights = tf.maximum(0.0, 1.0 - tf.sqrt(tf.square(beyond) + tf.square(across)))
    # Distances of exactly 1 may come out a little less: at length 1 nothing may be left of the neighbours.
    weights = tf.where(weights < 1e-6, 0.0, weights)
    return weights / tf.reduce_sum(weights, axis=[1, 2], keepdims=True)
