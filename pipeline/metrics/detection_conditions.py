"""How well objects are found by how they are seen: how much of them is visible, how bright it is where they lie.

G = objects, K = classes.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from pipeline.metrics.detection_coco import average_precisions, mean
from pipeline.metrics.detection_comparison import HALF, OVERLAPS, Comparison

BINS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Bounds of the shares; an object on a bound is in the upper bin."""


def by_condition(comparison: Comparison, shares: np.ndarray, threshold: float) -> dict[str, dict[str, Any]]:
    """Of each bin that holds objects their number, the `recall` at the threshold, and `ap_50`, the mean over the
    classes.

    For `ap_50`, objects of the other bins are neither asked for nor wrong to find, while answers on nothing count in
    every bin: it compares models in a bin rather than bins in a model.

    Args:
        shares: what decides the bin of each object, 0..1, float64 [G]; NaN for those in none.
    """
    found = comparison.found_at(threshold)
    # A share of exactly 1 belongs to the last bin.
    number = np.clip(np.digitize(shares, BINS) - 1, 0, len(BINS) - 2)
    rows = {}
    for index, (low, high) in enumerate(itertools.pairwise(BINS)):
        asked = comparison.asked & np.isfinite(shares) & (number == index)
        if asked.any():
            matches = comparison.match(asked, OVERLAPS[[HALF]])
            precisions = average_precisions(comparison, matches, asked)
            rows[f"{low:.0%} to {high:.0%}"] = {
                "objects": int(asked.sum()),
                "recall": float(found[asked].mean()),
                "ap_50": mean(precisions),
            }
    return rows
