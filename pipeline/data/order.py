"""In which order the training examples come: endless, pass after pass, and the same from any step on.

An order is a dataset of global batches. All passes are of the same length l, so position p of the stream is number
p mod l of pass p // l and a resume only has to work out where it is; nothing that came before is decoded again.

n = examples of the split, l = examples of a pass, B = global batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf
from pipeline.augment import random
from pipeline.data.example import EPOCH

if TYPE_CHECKING:
    import tensorflow as tf

INDEX = "index"
RECORD = "record"
ORDER_STREAM = 0xC0FFEE
"""Tells the draws of the order from those of the augmentation."""
SAMPLE_STREAM = 0x5A3B1E
"""Tells the draws of how often examples come from those of their order."""
READERS = 16
"""Shard files that are read in turns."""
CHUNK = 64
"""Records of a file that are repeated or left out at a time."""


class Pass(ABC):
    """Which examples one pass over the training split holds.

    Each appearance of an example has an `epoch` of its own, from which its augmentation is drawn.
    """

    @property
    @abstractmethod
    def length(self) -> int:
        """How many examples every pass holds, l."""

    @abstractmethod
    def examples(self, epoch: tf.Tensor, seed: int) -> dict[str, tf.Tensor]:
        """`index` int64 [l] in 0..n-1 and `epoch` int64 [l] of the pass of that number, in random order."""

    @abstractmethod
    def read(self, file: tf.Tensor, first: tf.Tensor, epoch: tf.Tensor, seed: int) -> tf.data.Dataset:
        """(record string [], epoch int64 []) of a file whose first record is example number `first`."""


class EachOnce(Pass):
    """Every example once.

    Args:
        num_examples: n.
    """

    def __init__(self, num_examples: int):
        self._num_examples = num_examples

    @property
    def length(self) -> int:
        """n."""
        return self._num_examples

    def examples(self, epoch: tf.Tensor, seed: int) -> dict[str, tf.Tensor]:
        """All, in random order."""
        index = permutation(self._num_examples, epoch, seed)
        return {INDEX: index, EPOCH: tf.zeros_like(index) + epoch}

    def read(self, file: tf.Tensor, first: tf.Tensor, epoch: tf.Tensor, seed: int) -> tf.data.Dataset:
        """The file as it is."""
        return tf.data.TFRecordDataset(file).map(lambda record: (record, epoch))


class Resampled(Pass):
    """Every example as often as its factor says: its floor or its ceiling times in each pass.

    A pass is a systematic sample: the factors are laid end to end, and points at distance 1 are set on that line from
    an offset on; an example comes as often as points fall on it. From pass to pass the offset moves by the golden
    section (a Weyl sequence), so that the passes together hold an example as evenly as can be.

    Args:
        factors: float64 [n], with a whole sum.
    """

    def __init__(self, factors: np.ndarray):
        self._ends = np.cumsum(factors)
        self._length = round(float(self._ends[-1]))
        self._ends[-1] = self._length
        self._most = int(np.ceil(factors.max()))

    @property
    def length(self) -> int:
        """The sum of the factors."""
        return self._length

    def examples(self, epoch: tf.Tensor, seed: int) -> dict[str, tf.Tensor]:
        """Those that are drawn, in random order."""
        index, repeat = repeated(self.points(epoch, seed))
        order = permutation(self._length, epoch, seed)
        return {INDEX: tf.gather(index, order), EPOCH: epoch * self._most + tf.gather(repeat, order)}

    def read(self, file: tf.Tensor, first: tf.Tensor, epoch: tf.Tensor, seed: int) -> tf.data.Dataset:
        """The file's records as often as they are drawn, their repeats behind each other."""
        points = tf.concat([[np.int64(0)], self.points(epoch, seed)], axis=0)

        def draw(numbers: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            below = points[first + numbers[0]]
            index, repeat = repeated(tf.gather(points, first + numbers + 1) - below)
            return tf.gather(records, index), epoch * self._most + repeat

        return tf.data.TFRecordDataset(file).enumerate().batch(CHUNK).map(draw).unbatch()

    def points(self, epoch: tf.Tensor, seed: int) -> tf.Tensor:
        """How many points lie on each example and those before it, int64 [n]; the last is l."""
        start = random.mix(tf.constant((seed ^ SAMPLE_STREAM) % 2**64, tf.uint64))
        turns = start + tf.cast(epoch, tf.uint64) * random.GOLDEN_GAMMA
        offset = tf.cast(tf.bitwise.right_shift(turns, np.uint64(11)), tf.float64) * 2.0**-53
        return tf.cast(tf.math.ceil(self._ends - offset), tf.int64)


def repeated(ends: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Every item as often as it is counted.

    Args:
        ends: running sum of how often each item comes, int64 [n].

    Returns:
        Which item, ascending, and how often it came before: int64 [l] each.
    """
    places = tf.range(ends[-1])
    index = tf.searchsorted(ends, places, side="right", out_type=tf.int64)
    begins = tf.concat([[np.int64(0)], ends], axis=0)
    return index, places - tf.gather(begins, index)


def index_batches(one_pass: Pass, batch_size: int, seed: int, first_step: int) -> tf.data.Dataset:
    """Batches of `index` int64 [B] in 0..n-1 and `epoch` int64 [B], every pass in a new random order."""
    first_epoch, start = divmod(first_step * batch_size, one_pass.length)

    def examples(epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        skipped = tf.where(epoch == first_epoch, start, 0)
        return {name: values[skipped:] for name, values in one_pass.examples(epoch, seed).items()}

    return endless_epochs(first_epoch).map(examples).rebatch(batch_size)


def permutation(num_examples: int, epoch: tf.Tensor, seed: int) -> tf.Tensor:
    """The numbers 0..n-1 in the random order of one pass, int64 [n]: they are sorted by a hash."""
    numbers = tf.cast(tf.range(num_examples, dtype=tf.int64), tf.uint64)
    hashes = random.mix(pass_root(epoch, seed) + numbers * random.GOLDEN_GAMMA)
    return tf.cast(tf.argsort(tf.bitcast(hashes, tf.int64), stable=True), tf.int64)


def pass_root(epoch: tf.Tensor, seed: int) -> tf.Tensor:
    """What the order of one pass is drawn from, uint64 []."""
    return random.mix(tf.cast(epoch, tf.uint64) * random.GOLDEN_GAMMA + np.uint64((seed ^ ORDER_STREAM) % 2**64))


def record_batches(
    files: Sequence[str],
    lengths: Sequence[int],
    one_pass: Pass,
    batch_size: int,
    seed: int,
    first_step: int,
    shuffle_buffer: int,
) -> tf.data.Dataset:
    """Batches of `record` string [B] (serialized examples) and `epoch` int64 [B], read from the shard files.

    Every pass reads the files in a new order, several in turns, and shuffles within a buffer of encoded records.
    Memory holds the buffer only. A resume reads past the records of the pass that it starts in, without decoding them.

    Args:
        files, lengths: the shard files, and the number of records in each.
        one_pass: over the records of these files.
    """
    first_epoch, start = divmod(first_step * batch_size, one_pass.length)
    firsts = np.cumsum([0, *lengths[:-1]], dtype=np.int64)

    def records(epoch: tf.Tensor) -> tf.data.Dataset:
        in_turn = permutation(len(files), epoch, seed)
        places = tf.data.Dataset.from_tensor_slices((tf.gather(list(files), in_turn), tf.gather(firsts, in_turn)))
        read = places.interleave(
            lambda file, first: one_pass.read(file, first, epoch, seed),
            cycle_length=min(READERS, len(files)),
            num_parallel_calls=min(READERS, len(files)),
            deterministic=True,
        )
        return shuffled(read, shuffle_buffer, pass_root(epoch, seed))

    stream = endless_epochs(first_epoch).flat_map(records).skip(start)
    return stream.map(lambda record, epoch: {RECORD: record, EPOCH: epoch}).batch(batch_size, drop_remainder=True)


def shuffled(records: tf.data.Dataset, buffer: int, root: tf.Tensor) -> tf.data.Dataset:
    """(string [], int64 []), each pair drawn from a buffer of those that come next.

    `Dataset.shuffle` would mix in the global seed of TensorFlow, so that a resume in another state would see another
    order, and it refuses a seed that is a tensor where determinism is switched on.
    """
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=buffer,
        seed=tf.bitcast(root, tf.int64),
        seed2=ORDER_STREAM,
        output_types=[tf.string, tf.int64],
        output_shapes=[[], []],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, (tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)))


def endless_epochs(first: int) -> tf.data.Dataset:
    """The numbers first, first + 1, ... as int64 []."""
    return tf.data.Dataset.range(first, np.iinfo(np.int64).max)


def share(batches: tf.data.Dataset, batch_size: int, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
    """This host's part of every global batch, cut into one batch for each of its replicas, in the order of replicas."""
    if context is None:
        return batches
    hosts, host = context.num_input_pipelines, context.input_pipeline_id
    low, high = host * batch_size // hosts, (host + 1) * batch_size // hosts
    own = batches.map(lambda batch: {name: values[low:high] for name, values in batch.items()})
    return own.rebatch(context.get_per_replica_batch_size(batch_size), drop_remainder=True)


def for_replicas(choices: tf.data.Dataset, context: tf.distribute.InputContext | None) -> tf.data.Dataset:
    """What is chosen for each global batch once for each replica of this host, which have a batch of their own."""
    replicas = context.num_replicas_in_sync // context.num_input_pipelines if context else 1
    return choices.flat_map(lambda choice: tf.data.Dataset.from_tensors(choice).repeat(replicas))
