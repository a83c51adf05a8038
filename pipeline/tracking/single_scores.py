"""How well one object is followed: success and precision curves (Y. Wu, J. Lim, M.-H. Yang, "Online object tracking: a
benchmark", 2013, section 4; the normalised precision is that of M. Müller et al., "TrackingNet", 2018, section 4.3).

n = frames that count: those in which the object is, behind the one in which it was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.metrics import plots
from pipeline.metrics.single_object import OVERLAPS, paired_iou

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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

    def as_json(self) -> dict[str, dict[str, list[float]]]:
        """Both with what they are drawn over, as plain values."""
        return {
            "success": {"overlap": OVERLAPS.round(2).tolist(), "share": self.success.tolist()},
            "precision": {"pixels": DISTANCES.tolist(), "share": self.precision.tolist()},
        }

    def drawn(self) -> Figure:
        """Both beside each other, each with the one number that is taken from it."""
        figure = plots.sized(2 * plots.WIDTH, 3.6)
        success, precision = figure.subplots(1, 2, sharey=True)
        area, near = float(self.success.mean()), float(self.precision[USUAL_DISTANCE])
        success.plot(OVERLAPS, self.success, color=plots.ACCENT, label=f"area {area:.3f}")
        success.set(xlabel="least intersection over union", ylabel="share of the frames", ylim=(-0.01, 1.02))
        precision.plot(DISTANCES, self.precision, color=plots.ACCENT, label=f"{near:.3f} at {USUAL_DISTANCE} pixels")
        precision.set(xlabel="largest distance of the middles in pixels")
        for axes in (success, precision):
            plots.style(axes)
            axes.legend(**plots.legend())
        return figure


def curves_of(truth: np.ndarray, found: np.ndarray, start: int = 1) -> Curves | None:
    """The curves of a sequence; arguments as of `scores`. None where the object is in no frame that counts."""
    there = ~np.isnan(truth[start:]).any(axis=1)
    return curves(truth[start:][there], found[start:][there]) if there.any() else None


def curves(truth: np.ndarray, found: np.ndarray) -> Curves:
    """Of boxes float64 [n,4], corners in pixels; NaN in `found` where the object was said to be hidden or gone."""
    overlaps, distances = _compared(truth, found)
    return Curves((overlaps[:, None] > OVERLAPS).mean(axis=0), (distances[:, None] <= DISTANCES).mean(axis=0))


def scores(truth: np.ndarray, found: np.ndarray, start: int = 1) -> dict[str, Any]:
    """All measures as plain values.

    Args:
        truth: corners of each frame in pixels, float64 [frames,4]; NaN where the object is not there.
        found: the same of a tracker; NaN where it says that the object is hidden or gone.
        start: number, from 1, of the frame in which the object was given; it and those before it do not count.

    Returns:
        `mean_iou` (0 where the object was missed), `success` (area under the curve), `success_50` (overlaps above one
        half), `precision` (middles within 20 pixels), `normalised_precision` (area under its curve up to half a side),
        `missed` (frames with the object in which it was said to be gone), and of the frames without it the share of
        those in which that was said, `absence_known`; None where there are none.
    """
    truth, found = truth[start:], found[start:]
    there = ~np.isnan(truth).any(axis=1)
    gone = np.isnan(found).any(axis=1)
    known = {
        "absence_known": float(gone[~there].mean()) if not there.all() else None,
        "frames": int(there.sum()),
        "missed": int((there & gone).sum()),
    }
    return {**_of_frames(truth[there], found[there]), **known}


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
