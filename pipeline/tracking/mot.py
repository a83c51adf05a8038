"""The text files of MOTChallenge: one line for each object of a frame.

    frame, id, left, top, width, height, score, class, visibility, -1

Frames, ids and classes count from 1, and so do pixels: the first is at 1, 1 (A. Milan et al., "MOT16: A benchmark for
multi-object tracking", 2016, section 3.3; its development kit reads it so). n = objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data.example import NO_OBJECT
from pipeline.errors import DataError
from pipeline.tracking.tracker import Tracked

COLUMNS = 6
"""That a line needs: frame, id and box."""


@dataclass(frozen=True)
class Objects:
    """The objects of a frame that are to be compared.

    Args:
        ids: int64 [n], each once.
        boxes: corners float64 [n,4] in pixels.
        classes: int64 [n]; -1 where it is not known.
        ignored: bool [n]: whoever finds such an object neither gains nor loses by it.
        in_parts: bool [n]: whoever finds any part of it has found it, as with COCO's crowds: it may be hidden.
    """

    ids: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    in_parts: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, tracked: Tracked) -> Objects:
        """What a tracker gave out."""
        no = np.zeros(len(tracked.ids), bool)
        return cls(tracked.ids, tracked.boxes, tracked.classes, ignored=no, in_parts=no)

    def where(self, chosen: np.ndarray) -> Objects:
        """Those that a mask bool [n] chooses."""
        return Objects(*(values[chosen] for values in vars(self).values()))


NOTHING = Objects(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, bool))


def as_text(frames: Mapping[int, Tracked]) -> str:
    """Frame number -> tracks, as a file."""
    return "".join(line for number in sorted(frames) for line in _lines(number, frames[number]))


def _lines(number: int, tracked: Tracked) -> Iterable[str]:
    sides = tracked.boxes[:, 2:] - tracked.boxes[:, :2]
    rows = zip(tracked.ids, tracked.boxes[:, :2] + 1, sides, tracked.scores, tracked.classes + 1, strict=True)
    for track, (left, top), (width, height), score, kind in rows:
        yield f"{number},{track},{left:.2f},{top:.2f},{width:.2f},{height:.2f},{score:.4f},{kind},-1,-1\n"


def read(file: Path) -> dict[int, Objects]:
    """Frame number -> objects, of a file of MOTChallenge's: `gt.txt`, or what a tracker wrote.

    Objects whose seventh number is 0 are ignored, as the benchmark does with what is not a target. Classes are not
    read: their numbers are the benchmark's own.

    Raises:
        DataError: the file is missing, holds no object, or a line is wrong; named by its number.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The true tracks {file} cannot be read: {error}.") from error
    rows: dict[int, dict[int, tuple[float, ...]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            frame, track, values = _row(line, f"{file}:{number}")
            if track in rows.setdefault(frame, {}):
                raise DataError(f"{file}:{number}: track {track} stands twice in frame {frame}.")
            rows[frame][track] = values
    if not rows:
        raise DataError(f"{file} holds no tracks; expected lines `frame, id, left, top, width, height, ...`.")
    return {frame: _objects(found) for frame, found in rows.items()}


def _row(line: str, where: str) -> tuple[int, int, tuple[float, ...]]:
    """Frame, id, and left, top, width, height, flag."""
    try:
        values = [float(value) for value in line.replace(",", " ").split()]
        if len(values) < COLUMNS or not all(map(math.isfinite, values)):
            raise ValueError
    except ValueError as error:
        raise DataError(
            f"{where}: expected numbers `frame, id, left, top, width, height, ...`, got {line.strip()[:80]!r}."
        ) from error
    flag = values[COLUMNS] if len(values) > COLUMNS else 1.0
    return int(values[0]), int(values[1]), (*values[2:COLUMNS], flag)


def _objects(found: Mapping[int, tuple[float, ...]]) -> Objects:
    values = np.array(list(found.values()))
    low = values[:, :2] - 1
    boxes = np.concatenate([low, low + values[:, 2:4]], axis=1)
    return Objects(
        np.array(list(found)), boxes, np.full(len(found), NO_OBJECT), values[:, 4] == 0, np.zeros(len(found), bool)
    )
