"""Records in TFDS's on-disk format: which shard each belongs to, its bytes, and the files that describe them all.

An example's key is a hash of its id and decides its shard and its place in it, so that neighbours in the source end up
far apart, in an order that is always the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.stack import tf

NAME = "convoy"
VERSION = "1.0.0"
KEYS = 2**64


@dataclass(frozen=True)
class Shard:
    """A finished file of records.

    Args:
        file: name within the store.
        split: `train`, `validation` or `test`.
        examples: how many.
        bytes: size of the file.
    """

    file: str
    split: str
    examples: int
    bytes: int


def shard_of(key: int, count: int) -> int:
    """Which of a split's shards a key, 64 bits, belongs to."""
    return key * count // KEYS


def shard_file(split: str, place: int, count: int) -> str:
    """The name of a shard in TFDS's form."""
    return f"{NAME}-{split}.tfrecord-{place:05}-of-{count:05}"


def serialized(fields: Mapping[str, bytes | list[bytes] | list[int] | np.ndarray]) -> bytes:
    """A tf.train.Example: bytes, lists of bytes or integers, and arrays of numbers (kept as float32) by name.

    The same fields give the same bytes in every process; protobuf alone would not promise it.
    """
    train = tf.train  # looked up once: the lazy module costs more than the rest of this function

    def feature(value: bytes | list[bytes] | list[int] | np.ndarray) -> tf.train.Feature:
        if isinstance(value, bytes):
            return train.Feature(bytes_list=train.BytesList(value=[value]))
        if isinstance(value, np.ndarray):
            return train.Feature(float_list=train.FloatList(value=value))
        if isinstance(value[0], bytes):
            return train.Feature(bytes_list=train.BytesList(value=value))
        return train.Feature(int64_list=train.Int64List(value=value))

    # An empty list is left out, since nothing says of which kind it would be; it is read as one without elements.
    features = {name: feature(value) for name, value in fields.items() if len(value) or isinstance(value, bytes)}
    return train.Example(features=train.Features(feature=features)).SerializeToString(deterministic=True)


def write_tfds_metadata(folder: Path, features: Mapping[str, Any], shards: list[Shard]) -> None:
    """Writes dataset_info.json and features.json, so that `tfds.builder_from_directory(folder)` reads the shards."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(data_dir=folder, dataset_name=NAME, filetype_suffix="tfrecord")
    splits = {shard.split: [other for other in shards if other.split == shard.split] for shard in shards}
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard.examples for shard in members],
            num_bytes=sum(shard.bytes for shard in members),
            filename_template=template.replace(split=split),
        )
        for split, members in splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=dict(features),
        split_infos=infos,
        version=VERSION,
        filename_template=template,
        check_data=False,
    )
