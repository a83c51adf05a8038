"""In which order the training examples come: endless, every example once a pass, and the same from any step on.

An order is a dataset of global batches. Position p of the stream is number p mod n of pass p // n, so a resume only
has to work out where it is; nothing that came before is decoded again.

n = examples of the split, B = global batch.
"""

from __future__ import annotations

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
READERS = 16
"""Shard files that are read in turns."""


def index_batches(num_examples: int, batch_size: int, seed: int, first_step: int) -> tf.data.Dataset:
    """Batches of `index` int64 [B] in 0..n-1 and `epoch` int64 [B], every pass in a new random order."""
    first_epoch, start = divmod(first_step * batch_size, num_examples)

    def one_pass(epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        index = permutation(num_examples, epoch, seed)[tf.where(epoch == first_epoch, start, 0) :]
        return {INDEX: index, EPOCH: tf.zeros_like(index) + epoch}

    return endless_epochs(first_epoch).map(one_pass).rebatch(batch_size)


def permutation(num_examples: int, epoch: tf.Tensor, seed: int) -> tf.Tensor:
    """The numbers 0..n-1 in the random order of one pass, int64 [n]: they are sorted by a hash."""
    numbers = tf.cast(tf.range(num_examples, dtype=tf.int64), tf.uint64)
    hashes = random.mix(pass_root(epoch, seed) + numbers * random.GOLDEN_GAMMA)
    return tf.cast(tf.argsort(tf.bitcast(hashes, tf.int64), stable=True), tf.int64)


def pass_root(epoch: tf.Tensor, seed: int) -> tf.Tensor:
    """What the order of one pass is drawn from, uint64 []."""
    return random.mix(tf.cast(epoch, tf.uint64) * random.GOLDEN_GAMMA + np.uint64((seed ^ ORDER_STREAM) % 2**64))


def record_batches(
    files: Sequence[str], num_examples: int, batch_size: int, seed: int, first_step: int, shuffle_buffer: int
) -> tf.data.Dataset:
    """Batches of `record` string [B] (serialized examples) and `epoch` int64 [B], read from the shard files.

    Every pass reads the files in a new order, several in turns, and shuffles within a buffer of encoded records.
    Memory holds the buffer only. A resume reads past the records of the pass that it starts in, without decoding them.
    """
    first_epoch, start = divmod(first_step * batch_size, num_examples)

    def one_pass(epoch: tf.Tensor) -> tf.data.Dataset:
        in_turn = tf.data.Dataset.from_tensor_slices(tf.gather(list(files), permutation(len(files), epoch, seed)))
        records = in_turn.interleave(
            tf.data.TFRecordDataset,
            cycle_length=min(READERS, len(files)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return shuffled(records, shuffle_buffer, pass_root(epoch, seed)).map(
            lambda record: {RECORD: record, EPOCH: epoch}
        )

    return endless_epochs(first_epoch).flat_map(one_pass).skip(start).batch(batch_size, drop_remainder=True)


def shuffled(records: tf.data.Dataset, buffer: int, root: tf.Tensor) -> tf.data.Dataset:
    """Strings, each drawn from a buffer of those that come next.

    `Dataset.shuffle` would mix in the global seed of TensorFlow, so that a resume in another state would see another
    order, and it refuses a seed that is a tensor where determinism is switched on.
    """
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=buffer,
        seed=tf.bitcast(root, tf.int64),
        seed2=ORDER_STREAM,
        output_types=[tf.string],
        output_shapes=[[]],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))


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
