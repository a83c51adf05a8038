"""The three ways to augmented training batches: from decoded pictures in memory, encoded records in memory,
or files.

Each gives batches of Examples with `epoch` and pictures of the model's size, the random crop included, endless and in
a fixed order.

B = batch, H, W, C = the model's pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline import augment
from pipeline.augment import Augmentation, RandomResizedCrop, random
from pipeline.augment.engines import Engine
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.warp import enlarge
from pipeline.augment.windows import apply_window
from pipeline.data import cache, order, sampling
from pipeline.data.cache import Kept, Need
from pipeline.data.cropping import crop_and_augment, decides_alone
from pipeline.data.example import EPOCH, ID, IMAGE, MASK, MASKS, TRAIN, Example
from pipeline.data.fitting import fit_example, fit_marks, is_marked
from pipeline.data.order import INDEX, RECORD
from pipeline.data.sampling import Sampling
from pipeline.errors import DataError
from pipeline.wording import quantity

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
        sampling: how often the examples of each class come.
        scaled: whether JPEG files are decoded at a half, a quarter or an eighth of their size where that is enough.
        operations: of the augmentation, the random crop at the head included.
        engine: what pictures are augmented with.
    """

    store: Store
    need: Need
    batch_size: int
    seed: int
    first_step: int
    context: tf.distribute.InputContext | None
    shuffle_buffer: int
    threads: int
    sampling: Sampling
    scaled: bool
    operations: Sequence[Augmentation]
    engine: Engine

    def indices(self) -> tf.data.Dataset:
        """Batches of `index` and `epoch`, shared among hosts and replicas."""
        one_pass = sampling.pass_of(self.store, self.sampling)
        batches = order.index_batches(one_pass, self.batch_size, self.seed, self.first_step)
        return order.share(batches, self.batch_size, self.context)

    @property
    def element_size(self) -> int:
        """Examples of one element of the stream."""
        return self.context.get_per_replica_batch_size(self.batch_size) if self.context else self.batch_size

    @property
    def joined_crop(self) -> RandomResizedCrop | None:
        """The crop where decoding, crop and geometry can be one step: with OpenCV, which decodes accurately, for
        examples without masks, where the crop alone decides what is seen."""
        fields, crop, format = self.need.info.fields, self.need.crop, self.need.format
        if crop is None or not decides_alone(crop, format) or MASK in fields or MASKS in fields:
            return None
        return crop if format.dct == "accurate" and isinstance(self.engine, OpenCV) else None

    def cropped_and_augmented(self, crop: RandomResizedCrop, batch: Example) -> Example:
        """A batch of Examples with whole pictures, cropped and augmented in one go."""
        return crop_and_augment(batch, crop, self.operations, self.need.format, self.seed)

    def augmented(self, batch: Example) -> Example:
        """A batch of Examples at the model's size, augmented."""
        return augment.apply(self.operations, batch, self.seed, self.engine)


def from_decoded(reading: Reading) -> tf.data.Dataset:
    """Whole batches gathered from decoded pictures in memory: the fastest."""
    crop = reading.need.crop
    columns = cache.decoded(reading.store, TRAIN, reading.need.format, whole=crop is not None, scaled=reading.scaled)

    def take(batch: Example) -> Example:
        examples = {name: tf.gather(values, batch[INDEX]) for name, values in columns.items()}
        examples[EPOCH] = batch[EPOCH]
        if reading.joined_crop is not None:
            return reading.cropped_and_augmented(reading.joined_crop, examples)
        if crop is not None:
            keys = random.keys(examples[ID], examples[EPOCH], reading.seed)
            examples = crop_batch(examples, crop, keys, reading.need.format, reading.engine)
        return reading.augmented(examples)

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
    store = reading.store
    own = shards_of_host(store, reading.context)
    one_pass = sampling.pass_of(store, reading.sampling, own)
    hosts = reading.context.num_input_pipelines if reading.context else 1
    batches = order.record_batches(
        store.files(TRAIN)[own],
        store.shard_lengths(TRAIN)[own],
        one_pass,
        reading.batch_size // hosts,
        reading.seed,
        reading.first_step,
        reading.shuffle_buffer,
    )
    return decode_batches(batches.rebatch(reading.element_size), reading)


def shards_of_host(store: Store, context: tf.distribute.InputContext | None) -> slice:
    """Which of the training split's shard files one host reads."""
    count = len(store.files(TRAIN))
    if context is None:
        return slice(None)
    if count < context.num_input_pipelines:
        raise DataError(
            f"{context.num_input_pipelines} hosts cannot share {quantity(count, 'shard file')} of the training split. "
            "Prepare the data again with smaller shards, or keep it in memory (`input.cache=encoded`)."
        )
    return slice(context.input_pipeline_id, None, context.num_input_pipelines)


SOURCES: dict[Kept, Callable[[Reading], tf.data.Dataset]] = {
    "decoded": from_decoded,
    "encoded": from_encoded,
    "none": from_files,
}


def decode_batches(batches: tf.data.Dataset, reading: Reading) -> tf.data.Dataset:
    """Batches of `record` and `epoch` -> batches of Examples, cropped and augmented."""
    if (crop := reading.joined_crop) is not None:
        whole = batches.map(partial(parse_batch, reading))
        step = partial(reading.cropped_and_augmented, crop)
        return whole.map(step, num_parallel_calls=reading.threads, deterministic=True)
    examples = batches.unbatch().map(partial(decode, reading), num_parallel_calls=reading.threads, deterministic=True)
    return examples.batch(reading.element_size, drop_remainder=True).map(reading.augmented, reading.threads)


def parse_batch(reading: Reading, batch: Example) -> Example:
    """A batch of records -> Examples with their pictures still encoded."""
    return {**reading.store.parse(batch[RECORD]), EPOCH: batch[EPOCH]}


def decode(reading: Reading, element: Example) -> Example:
    """One record -> an Example at the model's size."""
    crop, format = reading.need.crop, reading.need.format
    example = {**reading.store.parse(element[RECORD]), EPOCH: element[EPOCH]}
    if crop is None:
        return fit_example(example, format, reading.scaled)
    if decides_alone(crop, format):
        return crop_example(reading, crop, example)
    return tf.cond(
        crop.applies(random.keys(example[ID], example[EPOCH], reading.seed)),
        lambda: crop_example(reading, crop, example),
        lambda: fit_example(example, format, reading.scaled),
    )


def crop_example(reading: Reading, crop: RandomResizedCrop, example: Example) -> Example:
    """A random window of one Example, `image` encoded -> uint8 [H,W,C]."""
    format = reading.need.format
    size = preprocess.picture_size(example[IMAGE])
    keys = random.keys(example[ID], example[EPOCH], reading.seed)
    window = crop.window(keys, size[0], size[1])
    picture, part = preprocess.decode_window(example[IMAGE], window, format, reading.scaled)
    if is_marked(example):
        example = fit_marks(example, size, window, format, crop.min_visible)
    return {**example, IMAGE: preprocess.crop_and_fit(picture, part, format)}


def crop_batch(
    examples: Example, crop: RandomResizedCrop, keys: tf.Tensor, format: PictureFormat, engine: Engine
) -> Example:
    """A random window of each example, for pictures of one size: `image` uint8 [B,h,w,C] -> uint8 [B,H,W,C]."""
    if not decides_alone(crop, format):
        return _crop_or_fit_batch(examples, crop, keys, format)
    pictures = examples[IMAGE]
    height, width = pictures.shape[1:3]
    windows = crop.window(keys, height, width)
    moved = apply_window(examples, windows, crop.min_visible)
    if height <= format.height and width <= format.width:
        return {**moved, IMAGE: enlarge(pictures, windows, (format.height, format.width), engine)}
    cropped = tf.map_fn(
        lambda pair: preprocess.crop_and_fit(pair[0], pair[1], format),
        (pictures, windows),
        fn_output_signature=tf.TensorSpec(format.shape, tf.uint8),
    )
    return {**moved, IMAGE: cropped}


def _crop_or_fit_batch(examples: Example, crop: RandomResizedCrop, keys: tf.Tensor, format: PictureFormat) -> Example:
    """The same, with the pictures that the crop spares as `format.fit` says."""
    pictures, applies = examples[IMAGE], crop.applies(keys)
    height, width = pictures.shape[1:3]
    cropped, fitted = crop.window(keys, height, width), preprocess.fit_window(format, height, width)
    windows = tf.where(applies[:, tf.newaxis], cropped, fitted)
    min_visible = tf.where(applies[:, tf.newaxis], crop.min_visible, 0.0)

    def one(parts: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        picture, window, applies = parts
        return tf.cond(
            applies,
            lambda: preprocess.crop_and_fit(picture, window, format),
            lambda: preprocess.fit_picture(picture, format),
        )

    made = tf.map_fn(one, (pictures, windows, applies), fn_output_signature=tf.TensorSpec(format.shape, tf.uint8))
    return {**apply_window(examples, windows, min_visible), IMAGE: made}
