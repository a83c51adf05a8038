"""Augmentations that add what sensors and codecs add: noise, dead pixels, JPEG artefacts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.stack import tf
from pipeline.augment import bank
from pipeline.augment.base import PictureOperation, PictureShape, Transform, between
from pipeline.augment.engines import Engine
from pipeline.augment.ranges import whole, within
from pipeline.data.example import IMAGE, Example

if TYPE_CHECKING:
    import tensorflow as tf


class GaussianNoise(PictureOperation):
    """Adds a normally distributed number to each value, as a sensor in little light does."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    """Adds a normally distributed number to each value."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    deviation: Annotated[tuple[float, float], within(0.0, 1.0)] = (0.01, 0.08)
    """Least and largest standard deviation as a share of 255, drawn uniformly."""
    num_draws: ClassVar[int] = 4

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Noise:
        sign = tf.where(draws[:, 3] < 0.5, -1.0, 1.0)
        deviation = 255.0 * between(draws[:, 1], *self.deviation)
        return Noise(bank.starts(draws[:, 2]), sign * deviation * self.applies(draws))


class SaltAndPepper(PictureOperation):
    """Makes single pixels white or black, as dead ones of a sensor."""

    kind: Literal["salt_and_pepper"] = "salt_and_pepper"
    """Makes single pixels white or black."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    share: Annotated[tuple[float, float], within(0.0, 1.0)] = (0.001, 0.02)
    """Least and largest share of the pixels, drawn uniformly; half of them white, half black."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Speckle:
        share = between(draws[:, 1], *self.share) * self.applies(draws)
        limits = tf.where(share > 0.0, tf.math.ndtri(1.0 - tf.maximum(share, 1e-6) / 2), math.inf)
        return Speckle(bank.starts(draws[:, 2]), limits)


class JpegArtefacts(PictureOperation):
    """Stores the picture as JPEG and reads it again.

    The engines use different JPEG libraries, so they agree to a few grey levels only.
    """

    kind: Literal["jpeg_artefacts"] = "jpeg_artefacts"
    """Stores the picture as JPEG and reads it again."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    quality: Annotated[tuple[int, int], within(1, 100)] = (30, 90)
    """Least and largest quality of the coder, drawn uniformly."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Jpeg:
        quality = whole(draws[:, 1], self.quality)
        return Jpeg(tf.cast(quality * self.applies(draws), tf.int32))


class Noise(Transform):
    """Normal deviates from the bank, read from `starts` int32 [B] on, times `amounts` float32 [B] in grey levels."""

    def __init__(self, starts: tf.Tensor, amounts: tf.Tensor):
        self.starts = starts
        self.amounts = amounts

    def __call__(self, examples: Example, engine: Engine) -> Example:
        return {**examples, IMAGE: engine.noise(examples[IMAGE], self.starts, self.amounts)}

    def describe(self) -> str:
        return "noise added"


class Speckle(Transform):
    """White and black pixels where the bank's normal deviates, read from `starts` int32 [B] on, are beyond `limits`
    float32 [B]."""

    def __init__(self, starts: tf.Tensor, limits: tf.Tensor):
        self.starts = starts
        self.limits = limits

    def __call__(self, examples: Example, engine: Engine) -> Example:
        return {**examples, IMAGE: engine.speckle(examples[IMAGE], self.starts, self.limits)}

    def describe(self) -> str:
        return "single pixels made white or black"


class Jpeg(Transform):
    """JPEG coding with `qualities` int32 [B]; 0 = none."""

    def __init__(self, qualities: tf.Tensor):
        self.qualities = qualities

    def __call__(self, examples: Example, engine: Engine) -> Example:
        return {**examples, IMAGE: engine.jpeg(examples[IMAGE], self.qualities)}

    def describe(self) -> str:
        return "JPEG encoded and decoded"
