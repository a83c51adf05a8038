"""idx: the format of MNIST, Fashion-MNIST, EMNIST and KMNIST, plain or gzipped.

A header of big-endian 32-bit numbers (two zero bytes, the type, the number of axes, the axes' lengths), then the values
(Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", file formats).
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from pydantic import model_validator

from pipeline.data.example import TEST, RawExample
from pipeline.data.sources.base import DataSource, existing_file, existing_folder, fingerprint_of, split_named
from pipeline.errors import DataError
from pipeline.wording import quantity

PICTURES_FILE = re.compile(r"(?P<part>.*?)[-_.]?images[-_.]idx[34]-ubyte(\.gz)?")
UNSIGNED_BYTE = 8
MNIST_TEST = "t10k"


@dataclass(frozen=True)
class IdxPair:
    """A file of pictures and the file of their labels.

    Args:
        name: starts the examples' ids, such as `train`.
        split: which split they are, or None.
    """

    name: str
    split: str | None
    pictures: Path
    labels: Path


class Idx(DataSource):
    """Pictures and labels in idx files, such as MNIST's; `train-` and `t10k-` (or `test-`) files are splits."""

    kind: Literal["idx"] = "idx"
    """idx files, the MNIST format."""
    path: Path | None = None
    """Folder with `*-images-idx3-ubyte` and `*-labels-idx1-ubyte` files, plain or `.gz`."""
    images: Path | None = None
    """One file of pictures, instead of `path`; it gives no splits."""
    labels: Path | None = None
    """The file of labels that belongs to `images`."""
    names: tuple[str, ...] = ()
    """Class names by label number; by default the numbers that occur."""

    @model_validator(mode="after")
    def _one_way(self) -> Idx:
        if (self.path is None) == (self.images is None) or (self.images is None) != (self.labels is None):
            raise ValueError("idx takes either `path`, or both `images` and `labels`")
        return self

    def check(self) -> None:
        for pair in self._pairs():
            with _opened(pair.pictures) as pictures, _opened(pair.labels) as labels:
                _checked_axes(pair, pictures, labels)

    def class_names(self) -> tuple[str, ...] | None:
        return self.names or None

    def examples(self) -> Iterator[RawExample]:
        for pair in self._pairs():
            with _opened(pair.pictures) as pictures, _opened(pair.labels) as labels:
                axes = _checked_axes(pair, pictures, labels)
                numbers = np.frombuffer(_read(labels, axes[0], pair.labels), np.uint8)
                for index, number in enumerate(numbers):
                    pixels = np.frombuffer(_read(pictures, math.prod(axes[1:]), pair.pictures), np.uint8)
                    yield RawExample(
                        id=f"{pair.name}/{index:06}",
                        image=pixels.reshape(axes[1:]),
                        split=pair.split,
                        label=self._label(int(number), pair),
                        where=f"{pair.pictures} picture {index}",
                    )

    def fingerprint(self) -> str:
        return fingerprint_of(file for pair in self._pairs() for file in (pair.pictures, pair.labels))

    def _label(self, number: int, pair: IdxPair) -> str:
        if not self.names:
            return str(number)
        if number >= len(self.names):
            raise DataError(
                f"{pair.labels} holds the label {number}, but data.source.names gives {len(self.names)} names "
                f"(0 to {len(self.names) - 1}). Give one name per label."
            )
        return self.names[number]

    def _pairs(self) -> list[IdxPair]:
        if self.images is not None and self.labels is not None:
            pictures = existing_file(self.images, "data.source.images")
            return [IdxPair("all", None, pictures, existing_file(self.labels, "data.source.labels"))]
        folder = existing_folder(cast(Path, self.path), "data.source.path")
        found = [
            (file, match["part"]) for file in sorted(folder.iterdir()) if (match := PICTURES_FILE.fullmatch(file.name))
        ]
        pairs = [IdxPair(part or "all", _split(part), file, _labels_beside(file)) for file, part in found]
        if not pairs:
            raise DataError(f"data.source.path: {folder} holds no idx pictures. Expected *-images-idx3-ubyte or *.gz.")
        return pairs


def _split(part: str) -> str | None:
    """The split that a file name's beginning names, such as `emnist-letters-train`."""
    last = re.split(r"[-_.]", part)[-1]
    return TEST if last == MNIST_TEST else split_named(last)


def _labels_beside(pictures: Path) -> Path:
    plain = re.sub(r"images([-_.])idx[34]", r"labels\1idx1", pictures.name).removesuffix(".gz")
    for name in (plain, plain + ".gz"):
        if (file := pictures.with_name(name)).is_file():
            return file
    raise DataError(f"{pictures} has no labels: expected {plain} or {plain}.gz beside it.")


def _opened(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file)) if file.suffix == ".gz" else file.open("rb")


def _checked_axes(pair: IdxPair, pictures: BinaryIO, labels: BinaryIO) -> tuple[int, ...]:
    """The pictures' axes [n, h, w] or [n, h, w, channels]; both files are left at their first value."""
    axes = _axes(pictures, pair.pictures, (3, 4))
    (count,) = _axes(labels, pair.labels, (1,))
    if count != axes[0]:
        raise DataError(
            f"{pair.pictures} holds {quantity(axes[0], 'picture')}, but {pair.labels} holds {quantity(count, 'label')}."
        )
    return axes


def _axes(stream: BinaryIO, file: Path, expected: tuple[int, ...]) -> tuple[int, ...]:
    magic = _read(stream, 4, file)
    zeros, kind, count = magic[:2], magic[2], magic[3]
    if zeros != b"\0\0" or kind != UNSIGNED_BYTE or count not in expected:
        wanted = " or ".join(str(number) for number in expected)
        raise DataError(f"{file} is not an idx file of bytes with {wanted} axes: it starts with {magic.hex(' ')}.")
    return tuple(int(length) for length in np.frombuffer(_read(stream, 4 * count, file), ">u4"))


def _read(stream: BinaryIO, count: int, file: Path) -> bytes:
    try:
        data = stream.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}. Copy or download it again.") from error
    if len(data) != count:
        raise DataError(f"{file} is cut short: it ends before its header says. Copy or download it again.")
    return data
