"""Single-object tracking, pair by pair: how far the surest box overlaps the object, and whether the score knows that
there is none.

N = pairs, P = places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.example import BOXES, CLASSES, ID, NO_OBJECT
from pipeline.metrics.base import Arrays, Evaluator, Mistake
from pipeline.metrics.collected import same_kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIR = np.array([1.0, 2.0, 1.0, 2.0], np.float32)
"""Shares of the pair become shares of the search crop, its upper half."""
OVERLAPS = np.linspace(0.0, 1.0, 21)
"""Thresholds of the success curve (Y. Wu, J. Lim, M.-H. Yang, "Online object tracking: a benchmark", 2013, section
4)."""


class SingleObjectEvaluator(Evaluator):
    """Scores pairs.

    `examples`: `id` [B], `boxes` float [B,N,4] shares of the pair, `classes` [B,N], -1: it shows no object.
    `predictions`: `scores` [B,P], `boxes` [B,P,4] shares of the search crop.

    Args:
        threshold: score from which on the object counts as found.
    """

    def __init__(self, threshold: float):
        self._threshold = threshold
        self._ids: list[str] = []
        self._rows: list[np.ndarray] = []

    def update(self, examples: Arrays, predictions: Arrays) -> None:
        """Adds a batch."""
        self._ids += [
            one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in examples[ID].tolist()
        ]
        scores, boxes = np.asarray(predictions["scores"]), np.asarray(predictions[BOXES])
        finite = np.isfinite(scores).all(axis=1) & np.isfinite(boxes).all(axis=(1, 2))
        places = np.argmax(np.nan_to_num(scores), axis=1)
        rows = np.arange(len(scores))
        best = np.nan_to_num(boxes[rows, places])
        there = np.asarray(examples[CLASSES])[:, 0] != NO_OBJECT
        truth = np.asarray(examples[BOXES])[:, 0] * PAIR
        columns = (truth, best, np.nan_to_num(scores[rows, places])[:, None], there[:, None], finite[:, None])
        self._rows.append(np.concatenate(columns, axis=1, dtype=np.float64))

    def result(self) -> dict[str, Any]:
        """`mean_iou` over the pairs with an object, found or not; `success` is the area under the curve of pairs by the
        least overlap that is asked for; `presence_auc` the chance that a pair with the object has a higher score than
        one without, None where one kind is missing; `found` and `false_alarms` at the threshold."""
        finite = self._column(10) > 0
        if not finite.all():
            return {
                "mean_iou": float("nan"),
                "non_finite_answers": int((~finite).sum()),
                "num_examples": len(finite),
            }
        overlaps, there, scores = self.overlaps()[self.there], self.there, self._column(8)
        over = self.found
        return {
            "mean_iou": float(overlaps.mean()) if there.any() else 0.0,
            "success": float((overlaps[:, None] > OVERLAPS).mean()) if there.any() else 0.0,
            "presence_auc": chance_of_more(scores[there], scores[~there]),
            "found": float(over[there].mean()) if there.any() else None,
            "false_alarms": float(over[~there].mean()) if not there.all() else None,
            "threshold": self._threshold,
            "num_examples": len(there),
            "num_present": int(there.sum()),
        }

    def overlaps(self) -> np.ndarray:
        """Intersection over union of answer and truth, [N]."""
        return paired_iou(self._all[:, :4], self._all[:, 4:8])

    @property
    def there(self) -> np.ndarray:
        """Which pairs show the object, bool [N]."""
        return self._column(9) > 0

    @property
    def found(self) -> np.ndarray:
        """In which pairs the score is enough, bool [N]."""
        return self._column(8) >= self._threshold

    def best_threshold(self) -> float:
        """The score that tells best whether the object is there, by the mean of both shares that are right; as it is
        where one kind is missing."""
        there, scores = self.there, self._column(8)
        if there.all() or not there.any():
            return self._threshold
        at = np.unique(scores)
        right = [(scores[there] >= one).mean() + (scores[~there] < one).mean() for one in at]
        return float(at[int(np.argmax(right))])

    def agreement_with(self, other: Evaluator) -> float:
        """The mean overlap of both evaluators' boxes where both found the object, 1 where neither did, else 0. Overlaps
        count to four digits: float32 has no more to say of small boxes."""
        other = same_kind(self, other)
        if self._ids != other._ids:
            raise ValueError("Answers can be compared only for the same examples in the same order.")
        finite = (self._column(10) > 0) & (other._column(10) > 0)
        ours, theirs = self.found, other.found
        overlaps = paired_iou(self._all[:, 4:8], other._all[:, 4:8]).round(4)
        return float((np.where(ours & theirs, overlaps, ours == theirs) * finite).mean())

    def plots(self) -> dict[str, Figure]:
        """The success curve."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(OVERLAPS, (self.overlaps()[self.there][:, None] > OVERLAPS).mean(axis=0))
        axes.set(xlabel="least intersection over union", ylabel="share of the pairs", ylim=(0, 1))
        return {"success": figure}

    def mistakes(self, most: int) -> list[Mistake]:
        """The pairs of the least overlap."""
        overlaps, there = self.overlaps(), self.there
        worst = [row for row in np.argsort(overlaps, kind="stable") if there[row]][:most]
        return [self._mistake(row, float(overlaps[row])) for row in worst]

    def _mistake(self, row: int, overlap: float) -> Mistake:
        truth, best = (", ".join(f"{one:.2f}" for one in self._all[row, part]) for part in (slice(4), slice(4, 8)))
        return Mistake(self._ids[row], truth, f"{best} (overlap {overlap:.2f})", 1.0 - overlap)

    @property
    def _all(self) -> np.ndarray:
        """float64 [N,11]: truth, answer, score, whether it is there, whether all was finite."""
        if not self._rows:
            raise ValueError("Nothing was evaluated yet: call update() with at least one batch first.")
        if len(self._rows) > 1:
            self._rows[:] = [np.concatenate(self._rows)]
        return self._rows[0]

    def _column(self, number: int) -> np.ndarray:
        return self._all[:, number]


def paired_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union, row by row: [N,4], [N,4] -> [N]; 0 where both are without area."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=1)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1) for boxes in (one, other)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, 1e-12))


def chance_of_more(high: np.ndarray, low: np.ndarray) -> float | None:
    """The area under the ROC curve: how often one of `high` is above one of `low`, ties counting half; None where one
    is empty."""
    if not len(high) or not len(low):
        return None
    below = np.sort(low)
    wins = np.searchsorted(below, high, "left") + np.searchsorted(below, high, "right")
    return float(wins.mean() / (2 * len(low)))
