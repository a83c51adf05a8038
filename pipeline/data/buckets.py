"""Training batches of several sizes: every picture in the size whose proportions are nearest to its own.

Each size (bucket) is a stream of its own, in which every one of its examples comes once a pass. A schedule says from
which stream the next batch is taken: pass p of the schedule takes as many batches of each as its pass p fills, in
random order. All of this follows from the seed and the step, so a resume needs to work through nothing.

n = examples, B = global batch, k = buckets.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.data import cache, order, sampling
from pipeline.data.example import EPOCH, IMAGE, TRAIN, Example
from pipeline.data.order import INDEX, RECORD, Pass
from pipeline.data.reading import Reading, decode_batches

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.data.store import Store

Size = tuple[int, int]
"""Height and width in pixels."""
BUCKET_STREAM = 0xB0C4E7
"""Tells the draws of the schedule from those of the order."""


@dataclass(frozen=True)
class Bucket:
    """The examples that are brought to one size.

    Args:
        format: of the model's pictures, with the height and width of the bucket.
        members: numbers of the examples in the store's order, int64 [m].
        one_pass: over these.
    """

    format: PictureFormat
    members: np.ndarray
    one_pass: Pass


def from_buckets(reading: Reading, sizes: Sequence[Size]) -> tf.data.Dataset:
    """Batches of Examples, each of one of the sizes: `image` uint8 [B,None,None,C]."""
    buckets = buckets_of(reading, sizes)
    schedule = Schedule([bucket.one_pass.length for bucket in buckets], reading.batch_size, reading.seed)
    done = schedule.taken(reading.first_step)
    streams = [_stream(reading, bucket, first) for bucket, first in zip(buckets, done, strict=True)]
    choices = order.for_replicas(schedule.choices(reading.first_step), reading.context)
    return tf.data.Dataset.choose_from_datasets(streams, choices)


def buckets_of(reading: Reading, sizes: Sequence[Size]) -> list[Bucket]:
    """Those that hold any example."""
    store, format = reading.store, reading.need.format
    nearest = nearest_sizes(picture_sizes(store), sizes)
    return [
        Bucket(
            format.model_copy(update={"height": sizes[number][0], "width": sizes[number][1]}),
            members := np.flatnonzero(nearest == number),
            sampling.pass_over(store, reading.sampling, members),
        )
        for number in np.unique(nearest).tolist()
    ]


def nearest_sizes(pictures: np.ndarray, sizes: Sequence[Size]) -> np.ndarray:
    """For pictures int64 [n,2] the number of the size whose proportions are nearest, int64 [n]: half as wide is as far
    as twice as wide."""
    ours, theirs = (np.log(np.array(each, np.float64)) @ [1.0, -1.0] for each in (pictures, sizes))
    return np.abs(ours[:, np.newaxis] - theirs).argmin(axis=1)


def picture_sizes(store: Store) -> np.ndarray:
    """Height and width of every training picture, int64 [n,2]. The heads of the records in memory are read, nothing is
    decoded."""
    records = tf.data.Dataset.from_tensor_slices(cache.encoded(store, TRAIN))
    sizes = records.map(
        lambda record: preprocess.picture_size(store.parse(record)[IMAGE]), num_parallel_calls=tf.data.AUTOTUNE
    )
    found = sizes.batch(store.info.num_examples[TRAIN]).get_single_element()
    return np.asarray(found, np.int64)


def _stream(reading: Reading, bucket: Bucket, first_step: int) -> tf.data.Dataset:
    """The batches of one bucket from one on, this host's share of each."""
    kept = cache.encoded(reading.store, TRAIN)

    def take(batch: Example) -> Example:
        return {RECORD: tf.gather(kept, tf.gather(bucket.members, batch[INDEX])), EPOCH: batch[EPOCH]}

    batches = order.index_batches(bucket.one_pass, reading.batch_size, reading.seed, first_step)
    own = order.share(batches, reading.batch_size, reading.context)
    fitted = replace(reading, need=replace(reading.need, format=bucket.format))
    return decode_batches(own.map(take), fitted)


class Schedule:
    """From which bucket each batch is taken.

    Args:
        lengths: examples of a pass over each bucket, k of them.
        batch_size: global batch.
        seed: of the whole run.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int):
        self._lengths = np.array(lengths, np.int64)
        self._batch_size = batch_size
        self._seed = seed ^ BUCKET_STREAM

    def full(self, passes: int | tf.Tensor) -> np.ndarray | tf.Tensor:
        """How many batches of each bucket so many passes fill, int64 [k]."""
        return passes * self._lengths // self._batch_size

    def in_pass(self, number: tf.Tensor) -> tf.Tensor:
        """The buckets of the batches of one pass, int64 [any]."""
        counts = self.full(number + 1) - self.full(number)
        in_turn = tf.repeat(tf.range(len(self._lengths), dtype=tf.int64), counts)
        return tf.gather(in_turn, order.permutation(tf.size(in_turn, tf.int64), number, self._seed))

    def choices(self, first_step: int) -> tf.data.Dataset:
        """The bucket of each step from one on, int64 []."""
        first, skipped = self._place(first_step)
        passes = order.endless_epochs(first)
        return passes.flat_map(lambda number: tf.data.Dataset.from_tensor_slices(self.in_pass(number))).skip(skipped)

    def taken(self, steps: int) -> list[int]:
        """How many of the first steps are of each bucket, [k]."""
        first, within = self._place(steps)
        before = self.in_pass(tf.constant(first, tf.int64)).numpy()[:within]
        return (self.full(first) + np.bincount(before, minlength=len(self._lengths))).tolist()

    def _place(self, step: int) -> tuple[int, int]:
        """The pass that holds a step, and the step's number in it."""
        most = (step + len(self._lengths)) * self._batch_size // int(self._lengths.sum()) + 2
        number = bisect.bisect_right(range(most), step, key=lambda passes: int(self.full(passes).sum())) - 1
        return number, step - int(self.full(number).sum())


def described(store: Store, sizes: Sequence[Size]) -> str:
    """What training will see: how many pictures come in each size."""
    counts = np.bincount(nearest_sizes(picture_sizes(store), sizes), minlength=len(sizes))
    listed = ", ".join(f"{height} x {width}: {count}" for (height, width), count in zip(sizes, counts, strict=True))
    return f"pictures by size (height x width): {listed}"
