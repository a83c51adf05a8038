"""The Store: prepared data on disk, read only. Made by `data.prepare`, read by `data.input` and the report.

A store is a folder with TFRecord shards in the format of TensorFlow Datasets (dataset_info.json and features.json),
so that `tfds.builder_from_directory` reads it too, and with
    convoy.json      what this class knows: DataInfo, shards, statistics, warnings
    splits.csv       id, split of every example, which `data.splits.file` takes
    quarantine.csv   id, where, reason of every picture that was left out
    objects_left_out.csv   the same of every object that was left out of its picture, where there are objects
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from models.stack import tf
from pipeline.data.example import (
    BOXES,
    CATEGORIES,
    CATEGORIES_KNOWN,
    CLASSES,
    CORNERS,
    CROWD,
    DIFFICULT,
    ID,
    IMAGE,
    LABEL,
    LABELS,
    LABELS_UNKNOWN,
    MASK,
    MASKS,
    NO_OBJECT,
    NUMBERS,
    NUMBERS_KNOWN,
    OBJECT_FIELDS,
    POINTS,
    TEXT,
    TRACKS,
    VALUE,
    VISIBLE,
    DataInfo,
    Example,
)
from pipeline.data.records import Shard
from pipeline.errors import ConvoyError, DataError, nearest
from pipeline.locations import size_of, text_stream

CONTENT = "convoy.json"
SPLIT_FILE = "splits.csv"
QUARANTINE = "quarantine.csv"
OBJECTS_LEFT_OUT = "objects_left_out.csv"

FLAGS = {DIFFICULT, CROWD}

UNDECODABLE = "A picture of the prepared data cannot be decoded ({}), which `convoy prepare` checks."
DECODERS = re.compile(r"(Extract|Decode)\w*(Jpeg|Image|Png)")
"""Names of TensorFlow's operations, which it puts behind what they have to say."""
RAISED_IN_PYTHON = re.compile(r"DataError: (.+)")
"""How a function that tf.data calls tells of its own DataError."""


@contextmanager
def record_errors(run_data: Path) -> Iterator[None]:
    """Turns TensorFlow's report of a record whose checksum is wrong, or of a picture that cannot be decoded, into a
    DataError that says what to do.

    Args:
        run_data: the file of the Run that names its store.
    """
    try:
        yield
    except ConvoyError:
        raise
    except Exception as error:
        what = _what_is_wrong(error)
        if what is None:
            raise
        raise DataError(
            f"{what} Remove the folder that {run_data} names as `store`, and run `convoy prepare` again."
        ) from error


def _what_is_wrong(error: Exception) -> str | None:
    """What an error says of the data; None where it is about something else."""
    if not isinstance(error, tf.errors.OpError):  # TensorFlow is only loaded where an error came up
        return None
    if isinstance(error, tf.errors.DataLossError):
        return "A record of the prepared data is damaged: its checksum is wrong, though its file has the right size."
    in_python = RAISED_IN_PYTHON.search(error.message)
    if in_python:
        return in_python[1]
    if isinstance(error, tf.errors.InvalidArgumentError) and DECODERS.search(error.message):
        return UNDECODABLE.format(error.message.split("\n")[0].rpartition(": ")[2])
    return None


class Store:
    """A prepared data set; `Store.open(path)` makes one.

    Args:
        path: its folder.
        content: what its convoy.json holds.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]):
        self.path = path
        self.info = data_info(content["info"])
        self._content = content
        self._shards = [Shard(**shard) for shard in content["shards"]]

    @classmethod
    def open(cls, path: Path) -> Store:
        """Opens a store and looks whether it is whole.

        Raises:
            DataError: it is missing, was made by another version, or a shard is missing or cut short.
        """
        file = path / CONTENT
        try:
            store = cls(path, json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not a prepared data set ({error}). Run `convoy prepare` again.") from error
        for shard in store._shards:
            shard_file = path / shard.file
            if not shard_file.is_file() or size_of(shard_file) != shard.bytes:
                raise DataError(f"{shard_file} is missing or cut short. Remove {path} and run `convoy prepare` again.")
        return store

    def files(self, split: str) -> list[str]:
        """The shards of a split, in order.

        Raises:
            DataError: there is no such split.
        """
        if split not in self.info.num_examples:
            raise DataError(f"{self.path} has no split {split!r}. {nearest(split, self.info.num_examples)}")
        return [str(self.path / shard.file) for shard in self._shards if shard.split == split]

    def shard_lengths(self, split: str) -> list[int]:
        """The number of examples in each of `files(split)`."""
        return [shard.examples for shard in self._shards if shard.split == split]

    def parse(self, serialized: tf.Tensor) -> Example:
        """A record, string [], -> an Example with its picture still encoded; or records, string [B], -> a batch.

        All fields are as in `data.example`, with the masks encoded as well. Objects fill up to `DataInfo.max_objects`.
        """
        specification = {name: self._specification(name) for name in self.info.fields}
        one = serialized.shape.rank == 0
        parse = tf.io.parse_single_example if one else tf.io.parse_example
        example = parse(serialized, specification)
        if LABELS in example:
            example[LABELS] = tf.cast(self._indicator(example[LABELS], one), tf.float32)
        if LABELS_UNKNOWN in example:
            unknown = self._indicator(example.pop(LABELS_UNKNOWN), one)
            example[LABELS] = tf.where(unknown, np.float32("nan"), example[LABELS])
        for name in example.keys() & OBJECT_FIELDS:
            filled = self._filled_up(example[name], specification[name], one)
            example[name] = tf.cast(filled, tf.bool) if name in FLAGS else filled
        return {**example, **self._side_columns(example)}

    def _side_columns(self, example: Example) -> Example:
        """What goes in beside the picture, filled where it is not known, and whether it is."""
        filled: Example = {}
        if NUMBERS in example:
            known = ~tf.math.is_nan(example[NUMBERS])
            fill = np.array(self.info.number_fill, np.float32)
            filled |= {NUMBERS: tf.where(known, example[NUMBERS], fill), NUMBERS_KNOWN: known}
        if CATEGORIES in example:
            known = example[CATEGORIES] >= 0
            fill = np.array(self.info.category_fill, np.int64)
            filled |= {CATEGORIES: tf.where(known, example[CATEGORIES], fill), CATEGORIES_KNOWN: known}
        return filled

    def _specification(self, name: str) -> Any:
        if name in OBJECT_FIELDS:
            return self._object_specification(name)
        return {
            ID: tf.io.FixedLenFeature([], tf.string),
            IMAGE: tf.io.FixedLenFeature([], tf.string),
            TEXT: tf.io.FixedLenFeature([], tf.string),
            MASK: tf.io.FixedLenFeature([], tf.string),
            LABEL: tf.io.FixedLenFeature([], tf.int64),
            LABELS: tf.io.VarLenFeature(tf.int64),
            LABELS_UNKNOWN: tf.io.VarLenFeature(tf.int64),
            VALUE: tf.io.FixedLenFeature([len(self.info.value_names)], tf.float32),
            NUMBERS: tf.io.FixedLenFeature([len(self.info.number_names)], tf.float32),
            CATEGORIES: tf.io.FixedLenFeature([len(self.info.category_names)], tf.int64),
        }[name]

    def _object_specification(self, name: str) -> tf.io.FixedLenSequenceFeature:
        shape, dtype, nothing = {
            BOXES: ([4], tf.float32, 0.0),
            CLASSES: ([], tf.int64, NO_OBJECT),
            CORNERS: ([4, 2], tf.float32, 0.0),
            POINTS: ([self.info.num_points, 3], tf.float32, 0.0),
            DIFFICULT: ([], tf.int64, 0),
            CROWD: ([], tf.int64, 0),
            VISIBLE: ([], tf.float32, 0.0),
            TRACKS: ([], tf.int64, 0),
            MASKS: ([], tf.string, ""),
        }[name]
        return tf.io.FixedLenSequenceFeature(shape, dtype, allow_missing=True, default_value=nothing)

    def _filled_up(self, values: tf.Tensor, specification: tf.io.FixedLenSequenceFeature, one: bool) -> tf.Tensor:
        """Values [n, ...] or [B, n, ...] of objects -> [N, ...] or [B, N, ...], with what stands for no object."""
        axis, count = (0, self.info.max_objects) if one else (1, self.info.max_objects)
        missing = [[0, 0]] * axis + [[0, count - tf.shape(values)[axis]]] + [[0, 0]] * len(specification.shape)
        nothing = tf.constant(specification.default_value, specification.dtype)
        filled = tf.pad(values, missing, constant_values=nothing)
        return tf.ensure_shape(filled, [*[None] * axis, count, *specification.shape])

    def _indicator(self, indices: tf.SparseTensor, one: bool) -> tf.Tensor:
        """Class indices -> bool [K] or [B, K]."""
        classes = len(self.info.class_names)
        return tf.ensure_shape(tf.sparse.to_indicator(indices, classes), [classes] if one else [None, classes])

    def quarantine(self) -> list[dict[str, str]]:
        """The pictures that were left out: `id`, `where`, `reason`."""
        return self._rows(QUARANTINE)

    def objects_left_out(self) -> list[dict[str, str]]:
        """The objects that were left out of their pictures: `id`, `where`, `reason`."""
        return self._rows(OBJECTS_LEFT_OUT) if CLASSES in self.info.fields else []

    def _rows(self, name: str) -> list[dict[str, str]]:
        with text_stream(self.path / name, "r") as stream:
            return list(csv.DictReader(stream))

    def warnings(self) -> list[str]:
        """What `prepare` had to say about the data, such as classes without a test picture."""
        return list(self._content["warnings"])

    def statistics(self) -> dict[str, Any]:
        """Plain values for the report.

        By split: `examples`; `image_bytes`; `picture_sizes`: least height and width, largest height and width;
        `class_counts`: class name -> count; `values`: target -> `mean`, `std`, `min`, `max`; `objects`: `count`,
        `mean_per_picture`, `most_in_a_picture`, `pictures_without`. `columns_unknown`: column beside the picture ->
        split -> how many do not have it.
        For all: `channels`: 1 or 3; `changes`: what was done to pictures (`kept`, `TIFF file`, ...) -> how many;
        `quarantine`, `objects_left_out`: how many were left out; `warnings`.
        """
        return dict(self._content["statistics"])


def data_info(content: Mapping[str, Any]) -> DataInfo:
    """DataInfo from its plain JSON form (`dataclasses.asdict`)."""
    values = dict(content)
    sizes = {split: tuple(size) for split, size in values.pop("picture_sizes").items()}
    frozen: dict[str, Any] = {
        name: _tuples(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return DataInfo(**frozen, picture_sizes=sizes)


def _tuples(items: list[Any]) -> tuple[Any, ...]:
    """JSON's lists as the tuples that they were."""
    return tuple(_tuples(item) if isinstance(item, list) else item for item in items)
