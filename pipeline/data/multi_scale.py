"""Training batches at several scales: every few steps all pictures come in another size.

After Redmon and Farhadi 2017, "YOLO9000: Better, Faster, Stronger", section 2, "Multi-Scale Training". The examples and
their order are those of a training at one size; only the size of a batch is drawn, from the seed and the step, so that
a resume needs to work through nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from models.preprocess import PictureFormat
from models.settings import Settings
from models.stack import tf
from pipeline.augment import random
from pipeline.data import cache, order, sampling
from pipeline.data.example import EPOCH, TRAIN, Example
from pipeline.data.order import INDEX, RECORD
from pipeline.data.reading import Reading, decode_batches

if TYPE_CHECKING:
    import tensorflow as tf

Size = tuple[int, int]
"""Height and width in pixels."""
Factor = Annotated[float, Field(gt=0.0, le=8.0)]
SCALE_STREAM = 0x5CA1E5
"""Tells the draws of the sizes from those of the order."""


class MultiScale(Settings):
    """Several sizes in turns, of the proportions of `task.picture`."""

    scale: tuple[Factor, Factor] = (0.75, 1.5)
    """Least and largest size as factors of `task.picture`; YOLOv2's 320 to 608 pixels around 416 are 0.77 to 1.46."""
    multiple_of: int = Field(default=32, ge=1)
    """Heights and widths are multiples of this; for detectors a multiple of the coarsest of `task.strides`."""
    every: int = Field(default=10, ge=1)
    """Steps until another size is drawn."""

    @field_validator("scale")
    @classmethod
    def _growing(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] >= scale[1]:
            raise ValueError(f"expected the smaller factor first, such as [0.75, 1.5], got {list(scale)}")
        return scale

    def sizes(self, picture: PictureFormat) -> tuple[Size, ...]:
        """All heights within the scale that are such multiples, each with the width nearest to the proportions."""
        low, high = (factor * picture.height / self.multiple_of for factor in self.scale)
        counts = range(max(1, math.ceil(low)), math.floor(high) + 1)
        across = picture.width / picture.height
        return tuple((count * self.multiple_of, max(1, round(count * across)) * self.multiple_of) for count in counts)

    def number_at(self, step: tf.Tensor, count: int, seed: int) -> tf.Tensor:
        """Which of so many sizes the batch of a step has: int64 [...] -> int64 [...]."""
        keys = random.keys(tf.strings.as_string(step // self.every), tf.zeros_like(step), seed ^ SCALE_STREAM)
        return tf.cast(random.uniform(keys, 0, 1)[..., 0] * count, tf.int64)


def at_scales(reading: Reading, settings: MultiScale) -> tf.data.Dataset:
    """Batches of Examples, each of one of the sizes: `image` uint8 [B,None,None,C]."""
    sizes = settings.sizes(reading.need.format)

    def chosen(step: tf.Tensor) -> tf.Tensor:
        return settings.number_at(step, len(sizes), reading.seed)

    def is_own(own: int, step: tf.Tensor, _: Example) -> tf.Tensor:
        return chosen(step) == own

    streams = [_stream(reading, size, partial(is_own, own)) for own, size in enumerate(sizes)]
    steps = order.endless_epochs(reading.first_step)
    return tf.data.Dataset.choose_from_datasets(streams, order.for_replicas(steps.map(chosen), reading.context))


def _stream(reading: Reading, size: Size, is_own: Callable[[tf.Tensor, Example], tf.Tensor]) -> tf.data.Dataset:
    """Of all batches from the first step on those of one size, this host's share of each. Nothing else is decoded."""
    kept = cache.encoded(reading.store, TRAIN)

    def take(batch: Example) -> Example:
        return {RECORD: tf.gather(kept, batch[INDEX]), EPOCH: batch[EPOCH]}

    one_pass = sampling.pass_of(reading.store, reading.sampling)
    batches = order.index_batches(one_pass, reading.batch_size, reading.seed, reading.first_step)
    numbered = batches.enumerate(reading.first_step).filter(is_own).map(lambda _, batch: batch)
    own = order.share(numbered, reading.batch_size, reading.context)
    format = reading.need.format.model_copy(update={"height": size[0], "width": size[1]})
    return decode_batches(own.map(take), replace(reading, need=replace(reading.need, format=format)))


def described(sizes: Sequence[Size]) -> str:
    """What training will see."""
    return f"pictures in turns at (height x width): {', '.join(f'{height} x {width}' for height, width in sizes)}"
