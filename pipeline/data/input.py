"""From the store to what a model is fed: training streams, evaluation batches.

Training batches come from one of three places, by what fits in memory: decoded pictures, encoded records, or the
shard files. All are endless, deterministic whatever the number of threads, and start at any step without decoding
what came before.

n = examples of a split, B = batch, H, W, C = the model's pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from models.preprocess import PictureFormat
from models.settings import Settings
from models.stack import tf
from pipeline import augment
from pipeline.augment import Augmentation
from pipeline.augment.engines import Engine
from pipeline.augment.mixing import check_fields, check_groups
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.suiting import suited
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.data import buckets, cache, order, service, several_sizes
from pipeline.data.cache import Need
from pipeline.data.example import (
    CLASSES,
    IMAGE,
    NO_OBJECT,
    REAL,
    TEST,
    TRAIN,
    VALIDATION,
    DataInfo,
    Example,
)
from pipeline.data.fitting import fit_example
from pipeline.data.known import ReadingOfKnown, held
from pipeline.data.multi_scale import MultiScale, at_scales
from pipeline.data.reading import SOURCES, Reading, decode_batches
from pipeline.data.sampling import AnySampling, Natural
from pipeline.data.service import Dispatcher
from pipeline.errors import ConfigError, DataError

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.data.store import Store
    from pipeline.tasks.base import Task


Side = Annotated[int, Field(ge=8, le=8192)]


class InputSettings(Settings):
    """How examples reach the training."""

    cache: Literal["auto", "decoded", "encoded", "none"] = "auto"
    """What of the training data is kept in memory: `decoded` pictures (fastest), `encoded` files, or `none` (read
    anew in each epoch, shuffled within a buffer); `auto` takes the first of these that fits `cache_limit_gib`."""
    cache_limit_gib: float = Field(default=4.0, ge=0.0)
    """Memory that `auto` may use, in GiB."""
    sampling: AnySampling = Natural()
    """How often the examples of each class come in training, for classes of unequal size."""
    shuffle_buffer: int = Field(default=8192, ge=1)
    """Encoded records among which the next one is drawn where nothing is kept in memory; shard files are shuffled as
    well."""
    scaled_decoding: bool = False
    """Whether training decodes JPEG files at a half, a quarter or an eighth of their size where the model's picture is
    smaller still: quicker for large photographs, a little sharper. Evaluation and exports never do; a random resized
    crop always does where OpenCV computes it."""
    threads: int | None = Field(default=None, ge=1)
    """Pictures or batches worked on at the same time; by default one per processor. It does not change the result."""
    prefetch: int = Field(default=4, ge=1)
    """Finished batches that wait for the training."""
    buckets: tuple[tuple[Side, Side], ...] = ()
    """Sizes [height, width] of training batches, at least two: every picture comes in the one whose proportions are
    nearest to its own, so that little is stretched, cut or padded. Evaluation and exports keep the size of
    `task.picture`."""
    multi_scale: MultiScale | None = None
    """Training batches at several sizes in turns, whatever the pictures' proportions, so that one network finds things
    at more scales; null: all at one size. Evaluation and exports keep the size of `task.picture`."""
    memory_limit_gib: float | None = Field(default=None, gt=0.0)
    """Memory that caches, shuffle buffer and waiting batches may take together, in GiB: a training that needs more is
    refused before it begins. Left out, there is no limit."""
    service: Dispatcher | None = None
    """Dispatcher of a tf.data service (`convoy data-service`) whose workers read, decode and augment, such as
    grpc://localhost:5050. Left out, the training's own process does that."""

    @field_validator("buckets")
    @classmethod
    def _several_sizes(cls, sizes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if len(sizes) == 1 or len(set(sizes)) < len(sizes):
            raise ValueError(
                f"expected two different sizes [height, width] or more, but got {[list(size) for size in sizes]}; for "
                "one size leave them out and set task.picture.height and width"
            )
        return sizes

    @model_validator(mode="after")
    def _sizes_for_one_reason(self) -> InputSettings:
        if self.buckets and self.multi_scale:
            raise ValueError("buckets and multi_scale each decide the size of a batch; leave one of the two out")
        return self

    @property
    def several_sizes(self) -> str | None:
        """The name of the setting that asks for batches of several sizes; None where all are of one."""
        return "buckets" if self.buckets else "multi_scale" if self.multi_scale else None

    def sizes(self, picture: PictureFormat) -> tuple[tuple[int, int], ...]:
        """Height and width of these."""
        if self.multi_scale:
            return self.multi_scale.sizes(picture)
        return self.buckets or ((picture.height, picture.width),)

    @property
    def at_one_size(self) -> InputSettings:
        """The same with batches at the size of `task.picture` alone."""
        return self.model_copy(update={"buckets": (), "multi_scale": None})

    @property
    def parallel_calls(self) -> int:
        """`threads`, or the number of processors."""
        return self.threads or os.cpu_count() or 1


def training_batches(
    store: Store,
    task: Task,
    operations: Sequence[Augmentation],
    settings: InputSettings,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """The endless stream of augmented (inputs, targets) of the training split.

    Passes follow each other without a gap, and batches are always full: one may hold the end of a pass and the
    beginning of the next. The element number k of a stream with first_step=s is element s + k of the stream from 0,
    bit for bit. With `settings.service` neither the order nor a resume is exact (see `pipeline.data.service`).

    Args:
        store: the prepared data.
        task: gives the pictures' format and `encode`.
        operations: augmentations, in their order.
        settings: cache and threads; another choice of cache `none` or not gives another order.
        batch_size: examples of one step over all replicas.
        seed: decides order and augmentation.
        first_step: steps already done.
        input_context: from `strategy.distribute_datasets_from_function`: an element is then the share of one replica
            of this host, and replicas together see the batches that one would see.

    Raises:
        ConfigError: the batch does not split evenly over the replicas or into groups that are mixed, the data lacks
            what an operation needs, an operation does not suit the task, the task has one size, the cache cannot be as
            asked for, or the service does not answer.
        DataError: there is no training example.
    """
    require_examples(store, TRAIN)
    check_shares(batch_size, input_context)
    several_sizes.check(task, settings)
    task.require_suited(operations)
    check_groups(operations, batch_size // (input_context.num_replicas_in_sync if input_context else 1))
    check_fields(operations, store.info.fields)
    read = reading_of(store, task, operations, settings, batch_size, seed, first_step, input_context)
    if settings.service and not settings.several_sizes:
        service.require_usable(settings.service, settings.cache, input_context)
        batches = decode_batches(service.shared_records(read), read).map(task.encode, settings.parallel_calls)
        return with_options(service.distributed(batches, settings.service).prefetch(settings.prefetch))
    batches = source_of(settings, read.need)(read).map(task.encode, settings.parallel_calls, deterministic=True)
    return with_options(batches.prefetch(settings.prefetch))


def source_of(settings: InputSettings, need: Need) -> Callable[[Reading], tf.data.Dataset]:
    """What makes batches of Examples, by what is kept in memory; ConfigError where that cannot be as asked for."""
    if settings.several_sizes:
        several_sizes.kept(settings, need)
    if settings.buckets:
        return partial(buckets.from_buckets, sizes=settings.buckets)
    if settings.multi_scale:
        return partial(at_scales, settings=settings.multi_scale)
    return SOURCES[cache.choose(settings.cache, settings.cache_limit_gib, need)]


def engine_of(settings: InputSettings) -> Engine:
    """What augments: OpenCV, called from the graph, or TensorFlow's own operations, which workers elsewhere can run."""
    return TensorFlow() if settings.service else OpenCV()


def reading_of(
    store: Store,
    task: Task,
    operations: Sequence[Augmentation],
    settings: InputSettings,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> Reading:
    """What `training_batches` reads; arguments as there."""
    operations = suited(operations, held(store.info, task.picture))
    kind = ReadingOfKnown if task.picture.marks_missing else Reading
    return kind(
        store,
        Need(store.info, TRAIN, task.picture, augment.head_crop(operations)),
        batch_size,
        seed,
        first_step,
        input_context,
        settings.shuffle_buffer,
        settings.parallel_calls,
        settings.sampling,
        settings.scaled_decoding,
        tuple(operations),
        engine_of(settings),
    )


def require_examples(store: Store, split: str) -> None:
    """Raises DataError where a split is empty."""
    if not store.info.num_examples.get(split):
        held = ", ".join(f"{name} {count}" for name, count in store.info.num_examples.items())
        raise DataError(f"The split {split!r} holds no example (the data holds {held}). Look at `data.splits`.")


def check_shares(batch_size: int, context: tf.distribute.InputContext | None) -> None:
    """Raises ConfigError where replicas would get unequal shares."""
    replicas = context.num_replicas_in_sync if context else 1
    if batch_size % replicas:
        raise ConfigError(
            f"A batch of {batch_size} cannot be split evenly over {replicas} replicas. "
            f"Set `train.batch_size` to a multiple of {replicas}, such as {batch_size + -batch_size % replicas}.",
            ("train", "batch_size"),
        )


def with_options(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Order before speed; hosts have their own share already; no rewriting of the dataset's graph, no tuning.

    The rewriting would copy all that is kept in memory: seconds and gigabytes at each start, for nothing that shows.
    There is nothing to tune, since all numbers of threads are given; and the thread that tunes sleeps up to a minute at
    a time, for which TensorFlow 2.21 waits when training ends.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return batches.with_options(options)


def evaluation_split(info: DataInfo) -> str:
    """The split that a model is judged on: `test` where it holds anything, else `validation`."""
    return TEST if info.num_examples.get(TEST) else VALIDATION


def evaluation_batches(store: Store, task: Task, split: str, batch_size: int) -> tf.data.Dataset:
    """Every example of a split once, in the store's order, as the model sees it.

    Returns:
        Batches of Examples, `image` decoded, uint8 [B,H,W,C], `real` bool [B]: false for the padding (zeros, empty
        strings) that fills the last batch, and what the task's `conditions` are.

    Raises:
        DataError: the split is empty.
    """
    require_examples(store, split)

    def decode(record: tf.Tensor) -> Example:
        example = store.parse(record)
        return {**fit_example(example, task.picture), REAL: True}

    examples = cache.records(store, split).map(decode, num_parallel_calls=os.cpu_count(), deterministic=True)

    def completed(batch: Example) -> Example:
        whole = padded(batch, batch_size)
        return {**whole, **task.conditions(whole)}

    batches = examples.batch(batch_size).map(completed)
    return with_options(batches.prefetch(2))


def padded(batch: Example, size: int) -> Example:
    """Examples [b, ...] with zeros (false, empty strings, no objects) behind them -> [size, ...]."""

    def fill_up(values: tf.Tensor, nothing: int) -> tf.Tensor:
        missing = tf.concat([[size - tf.shape(values)[0]], tf.shape(values)[1:]], axis=0)
        behind = tf.fill(missing, tf.constant(nothing, values.dtype)) if nothing else tf.zeros(missing, values.dtype)
        return tf.ensure_shape(tf.concat([values, behind], axis=0), [size, *values.shape[1:]])

    return {name: fill_up(values, NO_OBJECT if name == CLASSES else 0) for name, values in batch.items()}


def validation_batches(
    store: Store,
    task: Task,
    split: str,
    batch_size: int,
    settings: InputSettings | None = None,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """The same batches for `fit`: (inputs, targets, weights), weights float32 [B], 0 for padding.

    Decoded pictures are kept in memory from the first pass on where `settings` would keep training pictures so. With an
    `input_context` an element is the share of one replica of this host, as in `training_batches`.
    """
    settings = settings or InputSettings()
    need = Need(store.info, split, task.picture, crop=None)
    batches = order.share(evaluation_batches(store, task, split, batch_size), batch_size, input_context)
    if cache.choose(settings.cache, settings.cache_limit_gib, need) == "decoded":
        batches = batches.cache()
    return with_options(batches.map(lambda batch: (*task.encode(batch), tf.cast(batch[REAL], tf.float32))).prefetch(2))


def encoded_pictures(store: Store, split: str, count: int) -> list[bytes]:
    """The first `count` pictures of a split, as the store holds them: JPEG or PNG."""
    require_examples(store, split)
    pictures = cache.records(store, split).take(count).map(lambda record: store.parse(record)[IMAGE])
    return list(pictures.as_numpy_iterator())
