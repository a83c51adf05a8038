"""Which detection belongs to which track: optimal assignment with a limit. T = tracks, D = detections."""

from __future__ import annotations

import numpy as np

GATE = 9.4877
"""What the squared Mahalanobis distance of a box to its own track stays below in 95 of 100 cases: chi-square of four
degrees of freedom (N. Wojke, A. Bewley, D. Paulus, "Simple online and realtime tracking with a deep association
metric", 2017, section 2.2)."""
HALVED = 0.5
"""The weight of a difference in looks against one in place (BoT-SORT, 2022, equation 13)."""


def assigned(costs: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of tracks and detections of the least total cost, where a track without one costs the limit.

    Args:
        costs: [T,D].
        limit: pairs that cost as much or more are none.

    Returns:
        int64 [p] places of tracks, ascending, and of their detections.
    """
    from scipy.optimize import linear_sum_assignment

    tracks, detections = linear_sum_assignment(np.minimum(costs, limit))
    close = costs[tracks, detections] < limit
    return tracks[close], detections[close]


def with_looks(costs: np.ndarray, looks: np.ndarray, distances: np.ndarray, most: float) -> np.ndarray:
    """The cost of a pair by its place, or by its looks where these tell more: where they differ by no more than `most`,
    and the detection is where the track may be (BoT-SORT, 2022, section 3.3, with the gate of Wojke et al. for its
    overlap, so that an object is known again after it was hidden).

    Args:
        costs: [T,D] by place.
        looks: cosine distances [T,D], 0..2.
        distances: squared Mahalanobis distances [T,D].
        most: of `looks`.
    """
    alike = (looks <= most) & (distances <= GATE)
    return np.where(alike, np.minimum(costs, HALVED * looks), costs)
