"""Writing records in TFDS's on-disk format: sharded, in a fixed shuffled order, with a flat use of memory.

The records of a shard are first put down in the order they come, and then sorted by key, one shard after the other.
Memory holds one shard; the keys are hashes, so neighbours in the source end up far apart.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.stack import tf

NAME = "convoy"
VERSION = "1.0.0"
HEAD = struct.Struct("<QI")  # key, length
KEYS = 2**64
BUFFER = 2**18  # bytes per open file


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


class RecordWriter:
    """Takes records in any order; `finish` leaves TFRecord shards in the folder. A context manager.

    Args:
        folder: where to write.
        shards: split -> number of its shards.
    """

    def __init__(self, folder: Path, shards: Mapping[str, int]):
        self._folder, self._shards = folder, shards
        self._files = ExitStack()
        self._unsorted: dict[tuple[str, int], BinaryIO] = {}

    def __enter__(self) -> RecordWriter:
        for split, count in self._shards.items():
            for shard in range(count):
                path = self._folder / f"{split}-{shard}.unsorted"
                self._unsorted[split, shard] = self._files.enter_context(path.open("wb", BUFFER))
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def add(self, split: str, key: int, record: bytes) -> None:
        """Takes one record; `key`, 64 bits, gives its shard and its place in it."""
        file = self._unsorted[split, key * self._shards[split] // KEYS]
        file.write(HEAD.pack(key, len(record)))
        file.write(record)

    def finish(self) -> list[Shard]:
        """Sorts every shard into its TFRecord file; shards that took no record are left out."""
        self._files.close()
        filled = {split: self._filled(split) for split in self._shards}
        return [
            _write_shard(path, split, place, len(paths))
            for split, paths in filled.items()
            for place, path in enumerate(paths)
        ]

    def _filled(self, split: str) -> list[Path]:
        paths = [self._folder / f"{split}-{shard}.unsorted" for shard in range(self._shards[split])]
        for path in paths:
            if path.stat().st_size == 0:
                path.unlink()
        return [path for path in paths if path.exists()]


def _write_shard(unsorted: Path, split: str, place: int, count: int) -> Shard:
    """Writes one TFRecord file, ordered by key, and removes what it was made from."""
    records = sorted(_read_unsorted(unsorted))
    file = unsorted.with_name(f"{NAME}-{split}.tfrecord-{place:05}-of-{count:05}")
    with tf.io.TFRecordWriter(str(file)) as writer:
        for _, record in records:
            writer.write(record)
    unsorted.unlink()
    return Shard(file.name, split, len(records), file.stat().st_size)


def _read_unsorted(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as stream:
        while head := stream.read(HEAD.size):
            key, length = HEAD.unpack(head)
            yield key, stream.read(length)


def serialized(fields: Mapping[str, bytes | list[int] | np.ndarray]) -> bytes:
    """A tf.train.Example: bytes, lists of integers, and arrays of numbers (kept as float32) by name."""
    train = tf.train  # looked up once: the lazy module costs more than the rest of this function

    def feature(value: bytes | list[int] | np.ndarray) -> tf.train.Feature:
        if isinstance(value, bytes):
            return train.Feature(bytes_list=train.BytesList(value=[value]))
        if isinstance(value, np.ndarray):
            return train.Feature(float_list=train.FloatList(value=value))
        return train.Feature(int64_list=train.Int64List(value=value))

    features = {name: feature(value) for name, value in fields.items()}
    return train.Example(features=train.Features(feature=features)).SerializeToString()


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
