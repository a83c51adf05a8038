"""The confidence interval of COCO's mean average precision, by resampling the pictures.

N = pictures, D = draws, R = right answers of a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.metrics import bootstrap
from pipeline.metrics.detection_coco import MOST_ANSWERS, RECALLS
from pipeline.metrics.detection_comparison import Comparison

# The interval sums all answers at ten overlaps a draw; 200 draws fix its ends to a few thousandths.
DRAWS = 200


def map_interval(comparison: Comparison) -> list[float]:
    """[low, high] of `map`, 95 %; what was answered to a picture is drawn with it."""
    curves = list(_curves(comparison))
    return bootstrap.interval(lambda weights: _mean_precision(curves, weights), comparison.num_pictures, draws=DRAWS)


@dataclass(frozen=True)
class _Curve:
    """One class at one overlap, as sums over pictures.

    Args:
        hits: sparse [R,N], row by row the picture of each right answer, by falling score.
        others: sparse [R,N], the wrong answers between it and the right one before.
        objects: float64 [N].
    """

    hits: Any
    others: Any
    objects: np.ndarray

    def precisions(self, weights: np.ndarray) -> np.ndarray:
        """COCO's average precision for weights of the pictures [N,D], float64 [D]; NaN where a draw has no object."""
        total = self.objects @ weights
        hits, others = (np.cumsum(part @ weights, axis=0) for part in (self.hits, self.others))
        precision = np.divide(hits, hits + others, out=np.zeros_like(hits), where=hits > 0)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        # How many of the 101 recalls each right answer is the first to reach.
        recall = hits / np.maximum(total, 1.0)
        reached = np.diff(np.floor(recall * (len(RECALLS) - 1) + 1e-9) + 1.0, axis=0, prepend=0.0)
        return np.where(total > 0, (best * reached).sum(axis=0) / len(RECALLS), np.nan)


def _curves(comparison: Comparison) -> Iterator[list[_Curve]]:
    """Of each class that has objects its curves at all overlaps."""
    counted = ~comparison.matches.ignored & (comparison.places < MOST_ANSWERS)
    for k in np.flatnonzero(comparison.per_class(comparison.asked)):
        rows = comparison.by_class[k]
        held = comparison.asked & (comparison.objects.classes == k)
        objects = np.bincount(comparison.objects.picture[held], minlength=comparison.num_pictures).astype(np.float64)
        yield [
            _curve(comparison, rows[counted[t, rows]], right, objects)
            for t, right in enumerate(comparison.matches.right)
        ]


def _curve(comparison: Comparison, rows: np.ndarray, right: np.ndarray, objects: np.ndarray) -> _Curve:
    from scipy.sparse import csr_array

    hit = right[rows]
    # The wrong answers after the last right one change nothing.
    number = np.cumsum(hit) - hit
    kept = number < hit.sum()
    shape = int(hit.sum()), comparison.num_pictures

    def sums(chosen: np.ndarray) -> Any:
        pictures = comparison.answers.picture[rows[chosen]]
        return csr_array((np.ones(len(pictures)), (number[chosen], pictures)), shape=shape)

    return _Curve(sums(hit), sums(kept & ~hit), objects)


def _mean_precision(curves: list[list[_Curve]], weights: np.ndarray) -> np.ndarray:
    """The mean over the classes that a draw has objects of, float64 [D]; 0 where there are none."""
    if not curves:
        return np.zeros(len(weights))
    # Each curve reads them picture by picture.
    weights = np.ascontiguousarray(weights.T)
    values = np.stack([np.mean([curve.precisions(weights) for curve in of_class], axis=0) for of_class in curves])
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
