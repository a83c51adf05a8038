"""How well one object is followed: success and precision curves (Y. Wu, J. Lim, M.-H. Yang, "Online object tracking: a
benchmark", 2013, section 4; the normalised precision is that of M. Müller et al., "TrackingNet", 2018, section 4.3).

n = frames that count: those in which the object is, without the first, which was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.metrics.single_object import OVERLAPS, paired_iou

DISTANCES = np.arange(51)
"""Largest distances of the precision curve, in pixels."""
USUAL_DISTANCE = 20
"""That one number is taken at."""
NORMALISED = np.linspace(0.0, 0.5, 51)
"""The same in sides of the true box."""


@dataclass(frozen=True)
class Curves:
    """What is drawn.

    Args:
        success: share of the frames whose overlap is above each of `OVERLAPS`.
        precision: share of the frames whose middle is within each of `DISTANCES`.
    """

    success: np.ndarray
    precision: np.ndarray


def curves(truth: np.ndarray, found: np.ndarray) -> Curves:
    """Of boxes float64 [n,4], corners in pixels; NaN in `found` where the object was said to be hidden or gone."""
    overlaps, distances = _compared(truth, found)
    return Curves((overlaps[:, None] > OVERLAPS).mean(axis=0), (distances[:, None] <= DISTANCES).mean(axis=0))


def scores(truth: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """All measures as plain values.

    Args:
        truth: corners of each frame in pixels, float64 [frames,4]; NaN where the object is not there. The first frame
            does not count.
        found: the same of a tracker; NaN where it says that the object is hidden or gone.

    Returns:
        `mean_iou` (0 where the object was missed), `success` (area under the curve), `success_50` (overlaps above one
        half), `precision` (middles within 20 pixels), `normalised_precision` (area under its curve up to half a side),
        `missed` (frames with the object in which it was said to be gone), and of the frames without it the share of
        those in which that was said, `absence_known`; None where there are none.
    """
    there = ~np.isnan(truth[1:]).any(axis=1)
    gone = np.isnan(found[1:]).any(axis=1)
    known = {
        "absence_known": float(gone[~there].mean()) if not there.all() else None,
        "frames": int(there.sum()),
        "missed": int((there & gone).sum()),
    }
    return {**_of_frames(truth[1:][there], found[1:][there]), **known}


def _of_frames(truth: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    if not len(truth):
        return dict.fromkeys(("mean_iou", "success", "success_50", "precision", "normalised_precision"))
    overlaps, distances = _compared(truth, found)
    both = curves(truth, found)
    relative = np.linalg.norm((_middles(found) - _middles(truth)) / (truth[:, 2:] - truth[:, :2]), axis=1)
    near = np.nan_to_num(relative, nan=np.inf)[:, None] <= NORMALISED
    return {
        "mean_iou": float(overlaps.mean()),
        "success": float(both.success.mean()),
        "success_50": float((overlaps > 0.5).mean()),
        "precision": float((distances <= USUAL_DISTANCE).mean()),
        "normalised_precision": float(near.mean()),
    }


def _compared(truth: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps, 0 where nothing was found, and distances of the middles in pixels, infinite there: [n] each."""
    overlaps = np.nan_to_num(paired_iou(truth, found))
    apart = np.linalg.norm(_middles(found) - _middles(truth), axis=1)
    return overlaps, np.nan_to_num(apart, nan=np.inf)


def _middles(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)
