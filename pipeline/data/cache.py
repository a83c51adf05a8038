"""What of the training split is kept in memory, chosen by an estimate, and how a batch is taken from it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment import RandomResizedCrop
from pipeline.data.example import IMAGE, MASK, MASKS, DataInfo, Example
from pipeline.data.fitting import fit_example
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.data.store import Store

Kept = Literal["decoded", "encoded", "none"]
GIB = 2**30


@dataclass(frozen=True)
class Need:
    """What training asks of the pictures of one split.

    Args:
        info: of the store.
        split: which part of it.
        format: of the pictures that the model takes.
        crop: the random crop that has to see the whole picture, if there is one.
    """

    info: DataInfo
    split: str
    format: PictureFormat
    crop: RandomResizedCrop | None

    @property
    def kept_size(self) -> tuple[int, int] | None:
        """Height and width of decoded pictures worth keeping: the model's, or before a random crop the one size they
        all have; None where they differ."""
        if self.crop is None:
            return self.format.height, self.format.width
        if MASK in self.info.fields or MASKS in self.info.fields:  # kept encoded, so cut when they are decoded
            return None
        least_height, least_width, height, width = self.info.picture_sizes[self.split]
        return (height, width) if (least_height, least_width) == (height, width) else None

    @property
    def decoded_bytes(self) -> int | None:
        """Memory for all pictures decoded, None where their sizes differ."""
        size = self.kept_size
        return size and size[0] * size[1] * self.format.channels * self.info.num_examples[self.split]


def choose(wish: Literal["auto", "decoded", "encoded", "none"], limit_gib: float, need: Need) -> Kept:
    """What to keep: decoded pictures where they fit, else encoded ones where those fit, else nothing.

    Raises:
        ConfigError: decoded pictures are asked for, but a random crop needs them whole and their sizes differ.
    """
    if wish == "decoded" and need.decoded_bytes is None:
        raise ConfigError(
            "`input.cache` is decoded, but `augment.0` (random_resized_crop) needs whole pictures and those of this "
            "data differ in size or have masks, so they cannot be kept decoded. Choose auto or encoded.",
            ("input", "cache"),
        )
    if wish != "auto":
        return wish
    limit = limit_gib * GIB
    if need.decoded_bytes is not None and need.decoded_bytes <= limit:
        return "decoded"
    return "encoded" if need.info.image_bytes[need.split] <= limit else "none"


@functools.lru_cache(maxsize=1)
def decoded(store: Store, split: str, format: PictureFormat, whole: bool, scaled: bool = False) -> Example:
    """Every example of a split, decoded: each field as one tensor [n, ...] in memory.

    Kept until another split is asked for, because training comes back for it with each phase.

    Args:
        store: where from.
        split: which part.
        format: what the model takes.
        whole: keep pictures at their own size (which has to be the same for all) for a random crop.
        scaled: decode JPEG files at a part of their size where that is enough; not for whole ones.
    """

    height, width, *_ = store.info.picture_sizes[split]

    def decode(record: tf.Tensor) -> Example:
        example = store.parse(record)
        if not whole:
            return fit_example(example, format, scaled)
        picture = preprocess.decode_picture(example[IMAGE], format)
        return {**example, IMAGE: tf.ensure_shape(picture, [height, width, format.channels])}

    examples = records(store, split).map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return collect(examples, store.info.num_examples[split])


def collect(examples: tf.data.Dataset, count: int) -> Example:
    """A dataset of `count` examples of known shapes -> each field as one tensor [count, ...].

    Through numpy, because a batch of that size would leave the process with twice the memory for good.
    """
    columns = {
        name: np.empty([count, *spec.shape], spec.dtype.as_numpy_dtype) for name, spec in examples.element_spec.items()
    }
    for number, example in enumerate(examples.as_numpy_iterator()):
        for name, value in example.items():
            columns[name][number] = value
    with tf.device("CPU"):  # never in the memory of a GPU
        return {name: tf.convert_to_tensor(columns.pop(name)) for name in list(columns)}


@functools.lru_cache(maxsize=1)
def encoded(store: Store, split: str) -> tf.Tensor:
    """Every record of a split as it is in the files: string [n]."""
    return records(store, split).batch(store.info.num_examples[split]).get_single_element()


def records(store: Store, split: str) -> tf.data.Dataset:
    """The serialized examples of a split in the store's order, string []."""
    files: Sequence[str] = store.files(split)
    return tf.data.TFRecordDataset(list(files))
