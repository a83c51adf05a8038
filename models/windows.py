"""Which part of a picture the model's picture shows, in numpy: for clients, which have no TensorFlow.

The same as `models.preprocess.fit_window`, which is for what is computed inside a graph; a test holds the two together.
"""

from __future__ import annotations

from typing import Literal

import numpy as np


def shown(fit: Literal["stretch", "crop", "letterbox"], target: np.ndarray, size: np.ndarray) -> np.ndarray:
    """float32 [4]: y_min, x_min, y_max, x_max as shares of the picture; beyond 0..1 where there are bars.

    Args:
        fit: how a picture of another shape is made to fit; see `PictureFormat.fit`.
        target: height and width of the model's picture in pixels, int64 [2].
        size: those of the picture, int64 [2].
    """
    kept, inner = FITS[fit](size, target)
    start, missing = (size - kept) / 2, target - inner
    before, after = missing // 2 / inner, (missing - missing // 2) / inner
    corners = np.concatenate([start - before * kept, start + (1.0 + after) * kept])
    window: np.ndarray = (corners / np.tile(size, 2)).astype(np.float32)
    return window


def _stretch(size: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the picture that are shown, [2], and pixels of the model's picture that they fill, int64 [2]."""
    return size, target


def _crop(size: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (64 * target[:, np.newaxis] * size // target).min(axis=1) / 64, target


def _letterbox(size: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = (np.float32(target) / np.float32(size)).min()  # a half is rounded as it is in the graph
    return size, np.clip(np.rint(np.float32(size) * scale).astype(np.int64), 1, target)


FITS = {"stretch": _stretch, "crop": _crop, "letterbox": _letterbox}
