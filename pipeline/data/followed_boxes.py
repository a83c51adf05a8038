"""The object that is followed through a sequence, a line a frame, as benchmarks of single-object tracking give it.

Four numbers are left, top, width, height in pixels (OTB, GOT-10k, LaSOT); eight are the corners of a turned box, x, y
in turns (VOT), of which the upright box around them is taken. A frame without the object has `nan`, or a box without
area. Commas, semicolons, tabs or blanks stand between them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pipeline.errors import DataError

FILE_NAMES = ("groundtruth.txt", "groundtruth_rect.txt")
"""What such a file is called beside the frames."""
UPRIGHT, TURNED = 4, 8
"""Numbers of a line."""


def read(file: Path) -> np.ndarray:
    """x_min, y_min, x_max, y_max of each frame, float64 [n,4]; NaN where the object is not there.

    Raises:
        DataError: the file cannot be read, holds no line, or a line is wrong; named by its number.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The boxes {file} cannot be read: {error}.") from error
    rows = [_corners(line, f"{file}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError(f"{file} holds no boxes; expected a line `left,top,width,height` for each frame.")
    return np.array(rows)


def _corners(line: str, where: str) -> np.ndarray:
    try:
        values = np.array([float(value) for value in re.split(r"[,;\s]+", line.strip())])
    except ValueError:
        values = np.zeros(0)
    if len(values) not in (UPRIGHT, TURNED):
        raise DataError(
            f"{where}: expected `left,top,width,height`, or x and y of four corners, got {line.strip()[:80]!r}."
        )
    points = values.reshape(-1, 2)
    low, high = (values[:2], values[:2] + values[2:]) if len(values) == UPRIGHT else (points.min(0), points.max(0))
    there = np.isfinite(values).all() and np.all(high > low)
    return np.concatenate([low, high]) if there else np.full(4, np.nan)
