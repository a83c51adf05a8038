"""Augmentations that give each value of each channel another one: one table of 256 an example however many there are.

What libraries do step by step is done exactly here too: tables follow each other without loss, and a change that looks
at the picture's histogram gets it as the changes before it leave it.

B = batch, H, W, C = picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from models.stack import tf
from pipeline.augment.base import PictureOperation, PictureShape, Transform, between
from pipeline.augment.engines import Engine
from pipeline.augment.ranges import whole, within
from pipeline.data.example import IMAGE, Example

if TYPE_CHECKING:
    import tensorflow as tf

TableChange = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]
"""Gives tables int32 [B,C,256], or [B,1,256] for all channels, from an amount float32 [B,1,1] (0 = no change) and the
pictures' histograms int32 [B,C,256]."""

VALUES = np.arange(256, dtype=np.int32)


class Gamma(PictureOperation):
    """Raises values (as shares of 255) to a power: above 1 the picture becomes darker, below 1 brighter."""

    kind: Literal["gamma"] = "gamma"
    """Raises values to a power, which changes the middle tones most."""
    exponent: Annotated[tuple[float, float], within(0.01, 100.0)] = (0.7, 1.4)
    """Least and largest exponent, drawn uniformly on a logarithmic scale."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Lookup:
        amount = between(draws[:, 1], math.log(self.exponent[0]), math.log(self.exponent[1]))
        return Lookup([(gamma, amount * self.applies(draws))])


class Solarize(PictureOperation):
    """Inverts all values from a threshold on, as in a photograph that saw light while it was developed."""

    kind: Literal["solarize"] = "solarize"
    """Inverts all values from a threshold on."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    threshold: Annotated[tuple[int, int], within(0, 256)] = (128, 255)
    """Least and largest threshold; values of at least the threshold are inverted. 0 inverts all, 256 none."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Lookup:
        threshold = whole(draws[:, 1], self.threshold)
        return Lookup([(solarize, (256.0 - threshold) * self.applies(draws))])


class Invert(PictureOperation):
    """Makes a negative: each value becomes 255 minus itself."""

    kind: Literal["invert"] = "invert"
    """Makes a negative: each value becomes 255 minus itself."""
    probability: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    num_draws: ClassVar[int] = 1

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Lookup:
        return Lookup([(solarize, 256.0 * self.applies(draws))])


class Posterize(PictureOperation):
    """Keeps only the highest bits of each value."""

    kind: Literal["posterize"] = "posterize"
    """Keeps only the highest bits of each value."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    bits: Annotated[tuple[int, int], within(1, 8)] = (4, 7)
    """Fewest and most bits that are kept, 1 to 8; 8 is no change."""
    num_draws: ClassVar[int] = 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Lookup:
        bits = whole(draws[:, 1], self.bits)
        return Lookup([(posterize, (8.0 - bits) * self.applies(draws))])


class Equalize(PictureOperation):
    """Spreads the values of each channel so that all are about equally frequent, as Pillow's ImageOps.equalize."""

    kind: Literal["equalize"] = "equalize"
    """Spreads the values of each channel so that all are about equally frequent."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    num_draws: ClassVar[int] = 1

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Lookup:
        return Lookup([(equalize, self.applies(draws))])


class AutoContrast(PictureOperation):
    """Stretches each channel linearly so that its darkest value becomes 0 and its brightest 255."""

    kind: Literal["autocontrast"] = "autocontrast"
    """Stretches each channel linearly so that its darkest value becomes 0 and its brightest 255."""
    probability: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    num_draws: ClassVar[int] = 1

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Lookup:
        return Lookup([(autocontrast, self.applies(draws))])


class Lookup(Transform):
    """Changes of single values, each with its amount float32 [B], made in one go."""

    def __init__(self, changes: list[tuple[TableChange, tf.Tensor]]):
        self.changes = changes

    def then(self, later: Transform) -> Lookup | None:
        return Lookup(self.changes + later.changes) if isinstance(later, Lookup) else None

    def __call__(self, examples: Example, engine: Engine) -> Example:
        pictures = examples[IMAGE]
        tables = self.tables(self._histogram(pictures, engine))
        return {**examples, IMAGE: engine.lookup(pictures, tf.transpose(tables, [0, 2, 1]))}

    def describe(self) -> str:
        return "one lookup table"

    def tables(self, histogram: tf.Tensor) -> tf.Tensor:
        """All changes as one table for each channel, uint8 [B,C,256]."""
        whole = tf.zeros_like(histogram)
        (change, amount), *rest = self.changes
        tables = change(amount[:, tf.newaxis, tf.newaxis], histogram) + whole
        for change, amount in rest:
            current = moved(histogram, tables) if change in FROM_HISTOGRAM else whole
            later = change(amount[:, tf.newaxis, tf.newaxis], current) + whole
            tables = tf.gather(later, tables, batch_dims=2)
        return tf.cast(tables, tf.uint8)

    def _histogram(self, pictures: tf.Tensor, engine: Engine) -> tf.Tensor:
        """Counts where a change needs them, else zeros."""
        wanted = [amount > 0.0 for change, amount in self.changes if change in FROM_HISTOGRAM]
        if wanted:
            return engine.histogram(pictures, tf.reduce_any(tf.stack(wanted), axis=0))
        return tf.zeros([tf.shape(pictures)[0], pictures.shape[-1], 256], tf.int32)


def moved(histogram: tf.Tensor, tables: tf.Tensor) -> tf.Tensor:
    """The histograms int32 [B,C,256] of pictures whose values were replaced by these tables int32 [B,C,256]."""
    rows = tf.size(tables) // 256
    index = tf.reshape(tf.range(rows)[:, tf.newaxis] * 256 + tf.reshape(tables, [-1, 256]), [-1])
    counts = tf.math.unsorted_segment_sum(tf.reshape(histogram, [-1]), index, rows * 256)
    return tf.reshape(counts, tf.shape(histogram))


def gamma(amount: tf.Tensor, histogram: tf.Tensor) -> tf.Tensor:
    """Values as shares of 255 to the power exp(amount)."""
    powers = tf.pow(VALUES.astype(np.float32) / np.float32(255), tf.exp(amount))
    return tf.cast(tf.round(powers * 255.0), tf.int32)


def solarize(amount: tf.Tensor, histogram: tf.Tensor) -> tf.Tensor:
    """Values from 256 - amount on inverted."""
    return tf.where(256 - tf.cast(amount, tf.int32) <= VALUES, 255 - VALUES, VALUES)


def posterize(amount: tf.Tensor, histogram: tf.Tensor) -> tf.Tensor:
    """Values without so many of their lowest bits."""
    step = tf.bitwise.left_shift(1, tf.cast(amount, tf.int32))
    return VALUES // step * step


def equalize(amount: tf.Tensor, histogram: tf.Tensor) -> tf.Tensor:
    """Each value's rank among all pixels, scaled to 0..255, where amount is 1; in Pillow's whole numbers."""
    below = tf.cumsum(histogram, axis=-1, exclusive=True)
    total = tf.reduce_sum(histogram, axis=-1, keepdims=True)
    of_last = tf.gather(histogram, limits(histogram)[1], batch_dims=2)
    step = (total - of_last) // 255
    ranks = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    return tf.where((amount > 0.0) & (step > 0), ranks, VALUES)


def autocontrast(amount: tf.Tensor, histogram: tf.Tensor) -> tf.Tensor:
    """The values that occur stretched to 0..255 and rounded, where amount is 1; one value alone stays."""
    low, high = limits(histogram)
    width = tf.maximum(high - low, 1)
    stretched = tf.clip_by_value(((VALUES - low) * 510 + width) // (2 * width), 0, 255)
    return tf.where((amount > 0.0) & (high > low), stretched, VALUES)


FROM_HISTOGRAM = (equalize, autocontrast)
"""The changes that look at the histogram."""


def limits(histogram: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The least and the largest value that occurs, int32 [B,C,1] each."""
    occurs = tf.cast(histogram > 0, tf.int32)
    low = tf.argmax(occurs, axis=-1, output_type=tf.int32)
    high = 255 - tf.argmax(tf.reverse(occurs, [-1]), axis=-1, output_type=tf.int32)
    return low[..., tf.newaxis], high[..., tf.newaxis]
