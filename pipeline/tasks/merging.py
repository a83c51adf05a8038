"""Detections of several views of one picture, before they are merged.

M = detections of a view, padded, K = classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Values = Mapping[str, Any]

NEAR_EDGE = 0.01
"""A box that comes this near to the edge of a tile, as a share of it, is taken to go on beyond."""
AT_BORDER = 1e-4
"""What a window may be off the picture's border, as a share, and still end there."""


def uncut(prediction: Values, window: np.ndarray, whole: np.ndarray) -> dict[str, np.ndarray]:
    """The detections of a view without those that end at an edge of it behind which the picture goes on.

    Args:
        prediction: `boxes` [M, 4] as shares of the view, `scores` [M], `count` [].
        window: of the view: y_min, x_min, y_max, x_max as shares of the picture; x_min the larger where mirrored.
        whole: the window of the view of the whole picture, of which nothing is left out: what it cuts no other view
            may show.
    """
    boxes = np.asarray(prediction["boxes"])
    goes_on = (window > AT_BORDER) & (window < 1.0 - AT_BORDER)
    goes_on &= not np.allclose(np.sort(window[[1, 3]]), whole[[1, 3]]) or not np.allclose(window[[0, 2]], whole[[0, 2]])
    low, high = boxes[:, :2] < NEAR_EDGE, boxes[:, 2:] > 1.0 - NEAR_EDGE  # x and y of each
    cut = (low & goes_on[[1, 0]]).any(axis=1) | (high & goes_on[[3, 2]]).any(axis=1)
    there = (np.arange(len(boxes)) < prediction["count"]) & ~cut
    return {**prediction, "scores": np.where(there, prediction["scores"], 0.0).astype(np.float32)}


def scores_by_class(prediction: Values, num_classes: int) -> np.ndarray:
    """float32 [M, K]: each detection's score at its class, 0 elsewhere."""
    numbers = np.asarray(prediction["classes"]).astype(np.int64)
    own = np.arange(num_classes) == numbers[:, np.newaxis]
    return np.where(own, np.asarray(prediction["scores"])[:, np.newaxis], 0.0).astype(np.float32)
