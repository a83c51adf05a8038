"""Boxes as tracking needs them. x grows to the right, y downwards; pixels, edges and not centres of pixels.

n, m = boxes. Corners: x_min, y_min, x_max, y_max. Centred: x and y of the middle, width, height.
"""

from __future__ import annotations

import numpy as np

LEAST_SIDE = 1e-3
"""Pixels below which a side counts as this long, so that nothing is divided by 0."""


def centred(corners: np.ndarray) -> np.ndarray:
    """Corners [n,4] -> centred float64 [n,4]."""
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1, dtype=np.float64)


def cornered(boxes: np.ndarray) -> np.ndarray:
    """Centred [n,4] -> corners [n,4]."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of corners [n,4] and [m,4], float64 [n,m]; 0 where both are without area."""
    shared = _shared(first, second)
    union = areas(first)[:, None] + areas(second)[None, :] - shared
    return np.asarray(shared / np.maximum(union, LEAST_SIDE**2), np.float64)


def shares_within(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which share of each of the second corners [m,4] lies within each of the first [n,4], float64 [n,m]."""
    return np.asarray(_shared(first, second) / np.maximum(areas(second), LEAST_SIDE**2), np.float64)


def _shared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area of the intersections [n,m]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(high - low, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def distinct(corners: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Places, int64 ascending, of boxes [n,4] that overlap no kept one of a higher score [n] by more than `most`."""
    close = overlaps(corners, corners) > most
    kept: list[int] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        if not close[place, kept].any():
            kept.append(place)
    return np.sort(np.asarray(kept, np.int64))


def areas(corners: np.ndarray) -> np.ndarray:
    """[n,4] -> [n]."""
    return np.asarray((corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]))
