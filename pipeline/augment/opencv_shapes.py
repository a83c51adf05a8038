"""Shapes painted on one picture with numpy, each only where it can be (see shapes.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.augment import bank
from pipeline.augment.shapes import Outline, Pattern, flat, grid, mixed


def covered(
    picture: np.ndarray,
    outlines: Sequence[Outline],
    patterns: Sequence[Pattern],
    present: np.ndarray,
    *each: np.ndarray,
) -> np.ndarray:
    """The picture with its shapes painted over it, uint8 [H,W,C].

    Args:
        outlines, patterns: what there may be.
        present: which shapes there are, bool [N].
        each: frames, colours, indices of outlines and of patterns, starts and `hidden` of the N shapes.
    """
    if not present.any():
        return picture
    picture = picture.copy()
    for frame, colours, outline, pattern, start, hidden in zip(*(values[present] for values in each), strict=True):
        _paint(picture, outlines[outline], patterns[pattern], frame, colours, start, hidden)
    return picture


def _paint(
    picture: np.ndarray,
    outline: Outline,
    pattern: Pattern,
    frame: np.ndarray,
    colours: np.ndarray,
    start: int,
    hidden: np.float32,
) -> None:
    import cv2

    rows, columns = (slice(0, size) for size in picture.shape[:2]) if outline is grid else _bounds(frame, picture)
    part, (u, v) = picture[rows, columns], _places(frame, rows, columns)
    if not part.size:
        return
    inside = np.broadcast_to(outline(u, v, hidden), part.shape[:2])
    if pattern is flat:
        row = np.resize(colours[0].astype(np.uint8), part.shape[1] * part.shape[2])
        content = np.broadcast_to(row, (len(part), len(row))).reshape(part.shape)
    else:
        noise = bank.long_uniform(picture.size)[start : start + picture.size].reshape(picture.shape)[rows, columns]
        share = pattern(u[..., np.newaxis], noise.astype(np.float32))
        content = mixed(colours[0], colours[1], share).astype(np.uint8)
    part[...] = cv2.copyTo(content, inside.astype(np.uint8), np.ascontiguousarray(part)).reshape(part.shape)


def _places(frame: np.ndarray, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """u and v of these pixels, [h,w]; [1,w] and [h,1] where the shape is upright."""
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, np.newaxis]
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[np.newaxis]
    if frame[0, 1] == frame[1, 0] == 0.0:
        return frame[0, 0] * x + frame[0, 2], frame[1, 1] * y + frame[1, 2]
    across, down = (a * x + b * y + c for a, b, c in frame)
    return across, down


def _bounds(frame: np.ndarray, picture: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns outside of which no pixel has u and v between -1 and 1."""
    inverse = np.linalg.inv(frame[:, :2])
    middle, reach = -inverse @ frame[:, 2], np.abs(inverse).sum(axis=1)
    limits = np.array(picture.shape[1::-1])
    first = np.clip(np.floor(middle - reach), 0, limits).astype(int)
    last = np.clip(np.ceil(middle + reach) + 1, first, limits).astype(int)
    return slice(first[1], last[1]), slice(first[0], last[0])
