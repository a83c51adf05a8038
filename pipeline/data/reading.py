"""The three ways to training batches before augmentation: from decoded pictures in memory, encoded records in memory,
or files.

Each gives batches of Examples with `epoch` and pictures of the model's size, the random crop included, endless and in
a fixed order.

B = batch, H, W, C = the model's pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment import RandomResizedCrop, random
from pipeline.augment.warp import enlarge
from pipeline.data import cache, order
from pipeline.data.cache import Kept, Need
from pipeline.data.example import EPOCH, ID, IMAGE, TRAIN, Example
from pipeline.data.order import INDEX, RECORD
from pipeline.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.data.store import Store


@dataclass(frozen=True)
class Reading:
    """What to read, in which order, from which step on.

    Args:
        store, need: the data, and what the model takes of it.
        batch_size: global batch.
        seed: of order and augmentation.
        first_step: steps already done.
        context: which host and replicas this is for; None for one batch a step.
        shuffle_buffer: records, where the files are read anew.
        threads: pictures or batches worked on at the same time.
    """

    store: Store
    need: Need
    batch_size: int
    seed: int
    first_step: int
    context: tf.distribute.InputContext | None
    shuffle_buffer: int
    threads: int

    @property
    def num_examples(self) -> int:
        """Examples of the training split."""
        return self.need.info.num_examples[TRAIN]

    def indices(self) -> tf.data.Dataset:
        """Batches of `index` and `epoch`, shared among hosts and replicas."""
        batches = order.index_batches(self.num_examples, self.batch_size, self.seed, self.first_step)
        return order.share(batches, self.batch_size, self.context)

    @property
    def element_size(self) -> int:
        """Examples of one element of the stream."""
        return self.context.get_per_replica_batch_size(self.batch_size) if self.context else self.batch_size


def from_decoded(reading: Reading) -> tf.data.Dataset:
    """Whole batches gathered from decoded pictures in memory: the fastest."""
    crop = reading.need.crop
    columns = cache.decoded(reading.store, TRAIN, reading.need.format, whole=crop is not None)

    def take(batch: Example) -> Example:
        examples = {name: tf.gather(values, batch[INDEX]) for name, values in columns.items()}
        examples[EPOCH] = batch[EPOCH]
        if crop is not None:
            keys = random.keys(examples[ID], examples[EPOCH], reading.seed)
            examples[IMAGE] = crop_batch(examples[IMAGE], crop, keys, reading.need.format)
        return examples

    return reading.indices().map(take, num_parallel_calls=reading.threads, deterministic=True)


def from_encoded(reading: Reading) -> tf.data.Dataset:
    """Encoded records in memory, decoded in parallel."""
    kept = cache.encoded(reading.store, TRAIN)

    def take(batch: Example) -> Example:
        return {RECORD: tf.gather(kept, batch[INDEX]), EPOCH: batch[EPOCH]}

    return decode_batches(reading.indices().map(take), reading)


def from_files(reading: Reading) -> tf.data.Dataset:
    """Records read from the shard files, decoded in parallel; several hosts read different files.

    Raises:
        DataError: there are fewer shard files than hosts.
    """
    files, count = files_of_host(reading.store, reading.context)
    hosts = reading.context.num_input_pipelines if reading.context else 1
    batch_size = reading.batch_size // hosts
    batches = order.record_batches(files, count, batch_size, reading.seed, reading.first_step, reading.shuffle_buffer)
    return decode_batches(batches.rebatch(reading.element_size), reading)


def files_of_host(store: Store, context: tf.distribute.InputContext | None) -> tuple[list[str], int]:
    """The shard files that one host reads, and how many records they hold."""
    files, lengths = store.files(TRAIN), store.shard_lengths(TRAIN)
    if context is None:
        return files, sum(lengths)
    if len(files) < context.num_input_pipelines:
        raise DataError(
            f"{context.num_input_pipelines} hosts cannot share {len(files)} shard files of the training split. "
            "Prepare the data again with smaller shards, or keep it in memory (`input.cache=encoded`)."
        )
    own = slice(context.input_pipeline_id, None, context.num_input_pipelines)
    return files[own], sum(lengths[own])


SOURCES: dict[Kept, Callable[[Reading], tf.data.Dataset]] = {
    "decoded": from_decoded,
    "encoded": from_encoded,
    "none": from_files,
}


def decode_batches(batches: tf.data.Dataset, reading: Reading) -> tf.data.Dataset:
    """Batches of `record` and `epoch` -> batches of Examples; pictures are decoded one by one, in parallel."""
    need = reading.need

    def decode(element: Example) -> Example:
        example = {**reading.store.parse(element[RECORD]), EPOCH: element[EPOCH]}
        picture = preprocess.decode_picture(example[IMAGE], need.format.channels)
        if need.crop is None:
            return {**example, IMAGE: preprocess.fit_picture(picture, need.format)}
        keys = random.keys(example[ID], example[EPOCH], reading.seed)
        window = need.crop.window(keys, tf.shape(picture)[0], tf.shape(picture)[1])
        return {**example, IMAGE: preprocess.crop_and_fit(picture, window, need.format)}

    examples = batches.unbatch().map(decode, num_parallel_calls=reading.threads, deterministic=True)
    return examples.batch(reading.element_size, drop_remainder=True)


def crop_batch(pictures: tf.Tensor, crop: RandomResizedCrop, keys: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """A random window of each picture of one size: uint8 [B,h,w,C] -> uint8 [B,H,W,C]."""
    height, width = pictures.shape[1:3]
    windows = crop.window(keys, height, width)
    if height <= format.height and width <= format.width:
        return enlarge(pictures, windows, (format.height, format.width))
    return tf.map_fn(
        lambda pair: preprocess.crop_and_fit(pair[0], pair[1], format),
        (pictures, windows),
        fn_output_signature=tf.TensorSpec(format.shape, tf.uint8),
    )
