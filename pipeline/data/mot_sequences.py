"""The folders of MOTChallenge: sequences with their frames, their `seqinfo.ini`, and the lines of their `gt/gt.txt`.

| `path`                                     | sequences                                                |
|--------------------------------------------|----------------------------------------------------------|
| a folder with `seqinfo.ini` or `gt/gt.txt` | itself                                                   |
| a folder of such folders                   | each of them                                             |
| the benchmark's, with `train/` in it       | those of all folders in it, whose names may be of splits |

A. Milan et al., "MOT16: A benchmark for multi-object tracking", 2016, section 3.3.
"""

from __future__ import annotations

import configparser
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.data.pictures import BadPicture, upright_size
from pipeline.data.sources.base import is_picture, natural_order, split_named, text_of
from pipeline.data.sources.boxes import lines_of
from pipeline.errors import DataError

INFO, TRUTH = "seqinfo.ini", "gt/gt.txt"
FRAMES = "img1"
"""The folder of the frames where `seqinfo.ini` does not name it."""
SECTION = "Sequence"
DETECTORS = re.compile(r"-(DPM|FRCNN|SDP)$")
"""What MOT17 puts behind a sequence's name: it has each three times, the detections that come with it are others."""


@dataclass(frozen=True)
class Row:
    """One line of a `gt.txt`.

    Args:
        number: of the line, from 1.
        text: as it stands there.
    """

    number: int
    text: str

    @property
    def values(self) -> tuple[float, ...]:
        """Its numbers; empty where something in it is none, or not finite."""
        try:
            values = tuple(float(cell) for cell in self.text.replace(",", " ").split())
        except ValueError:
            return ()
        return values if all(map(math.isfinite, values)) else ()


@dataclass(frozen=True)
class Truth:
    """The lines of a `gt.txt`.

    Args:
        rows: number of a frame -> its lines, not looked at any further.
        nowhere: numbers of the lines that do not begin with the number of a frame.
    """

    rows: Mapping[int, list[Row]]
    nowhere: list[int]


def read_truth(file: Path) -> Truth:
    """A file's lines by frames.

    Raises:
        DataError: it cannot be read.
    """
    rows: dict[int, list[Row]] = {}
    nowhere: list[int] = []
    for number, line in enumerate(lines_of(file), 1):
        cells = line.replace(",", " ").split()
        frame = _whole(cells[0]) if cells else None
        if frame is not None:
            rows.setdefault(frame, []).append(Row(number, line))
        elif line.strip():
            nowhere.append(number)
    return Truth(rows, nowhere)


def _whole(cell: str) -> int | None:
    """The whole number that a text stands for, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


@dataclass(frozen=True)
class SequenceFolder:
    """One sequence.

    Args:
        folder: with `img1`, `gt` and `seqinfo.ini` in it.
        place: its path from the folder that was given, without the folder of a split.
        split: that a folder above it names, or None.
    """

    folder: Path
    place: str
    split: str | None

    @property
    def truth(self) -> Path:
        """Its `gt.txt`, which may be missing."""
        return self.folder / TRUTH

    @property
    def footage(self) -> str:
        """What it shows: the same for the copies of a sequence that MOT17 has for each detector."""
        return DETECTORS.sub("", self.place) if DETECTORS.search(self.place) else str(self.folder)

    def is_called(self, name: str) -> bool:
        """Whether a name of the settings means it: that of the folder, with or without MOT17's detector."""
        return name in (self.folder.name, DETECTORS.sub("", self.folder.name))

    @cached_property
    def info(self) -> Mapping[str, str]:
        """What `seqinfo.ini` says, names in lower case; nothing where it is missing.

        Raises:
            DataError: it cannot be read.
        """
        file = self.folder / INFO
        if not file.is_file():
            return {}
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string("\n".join(lines_of(file)), str(file))
        except configparser.Error as error:
            raise DataError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
        return dict(parser[SECTION]) if parser.has_section(SECTION) else {}

    @property
    def images(self) -> Path:
        """The folder of the frames."""
        return self.folder / self.info.get("imdir", FRAMES)

    def number(self, name: str) -> int | None:
        """A whole number of `seqinfo.ini`; None where it says none."""
        return _whole(self.info.get(name, ""))

    @property
    def declared_size(self) -> tuple[int, int] | None:
        """Width and height as `seqinfo.ini` has them."""
        width, height = self.number("imwidth"), self.number("imheight")
        return None if width is None or height is None else (width, height)

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """Width and height of its first picture, by the head of its file; else as declared."""
        try:
            return upright_size(next(iter(self.frames.values())))
        except (BadPicture, StopIteration):  # `prepare` will say what is wrong
            return self.declared_size

    @cached_property
    def frames(self) -> Mapping[int, Path]:
        """Number -> picture, in order. The number is the file's name; where a name is no number, its place among all
        names, from 1. Of several with one number, the first by name."""
        if not all(file.stem.isdecimal() for file in self._pictures):
            return dict(enumerate(self._pictures, 1))
        first: dict[int, Path] = {}
        for file in self._pictures:
            first.setdefault(int(file.stem), file)
        return first

    @property
    def others(self) -> list[Path]:
        """Pictures that have the number of another."""
        taken = set(self.frames.values())
        return [file for file in self._pictures if file not in taken]

    @cached_property
    def _pictures(self) -> list[Path]:
        folder = self.images
        found = [file for file in folder.iterdir() if is_picture(file)] if folder.is_dir() else []
        return sorted(found, key=lambda file: natural_order(file.name))


def sequences_in(root: Path) -> list[SequenceFolder]:
    """Every sequence of a folder, in the order of their places, those without `gt.txt` included."""
    if _is_sequence(root):
        return [SequenceFolder(root, text_of(root.name), None)]
    found = [inner for folder in _folders(root) for inner in (folder, *_folders(folder)) if _is_sequence(inner)]
    return [_placed(folder, root) for folder in sorted(found, key=lambda one: natural_order(one.as_posix()))]


def _placed(folder: Path, root: Path) -> SequenceFolder:
    parts = folder.relative_to(root).parts
    split = split_named(parts[0]) if len(parts) > 1 else None
    return SequenceFolder(folder, text_of("/".join(parts if split is None else parts[1:])), split)


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def _is_sequence(folder: Path) -> bool:
    return (folder / INFO).is_file() or (folder / TRUTH).is_file()
