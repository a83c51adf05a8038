"""Any number of classes a picture: mean average precision, and F1 at a threshold per class.

N = examples, K = classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.example import LABELS
from pipeline.metrics import bootstrap
from pipeline.metrics.base import Arrays, Evaluator, Mistake
from pipeline.metrics.classification import class_measures
from pipeline.metrics.collected import Collected, same_kind
from pipeline.metrics.scores import mean_average_precision, mean_of_known, pr_auc, roc_auc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_THRESHOLD = 0.5
# The interval of a mean over classes sorts no less than K columns a draw; 200 draws fix its ends to a few thousandths.
DRAWS = 200


def choose_thresholds(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Per class the threshold with the largest F1. To be chosen on validation, never on what is reported.

    It lies half-way between the lowest score that is still taken and the next lower one, so that rounding in a
    quantized model does not turn answers over.

    Args:
        labels: [N, K], 1 where the class is present, else 0; NaN where not known.
        scores: float [N, K], 0..1.

    Returns:
        float64 [K]; 0.5 for a class that no example holds.
    """
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    known = np.isfinite(labels)
    return np.array([_threshold(labels[row, k] > 0, scores[row, k]) for k, row in enumerate(known.T)])


def _threshold(present: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import precision_recall_curve

    if not present.any():
        return DEFAULT_THRESHOLD
    precision, recall, thresholds = precision_recall_curve(present, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    lowest_taken = thresholds[int(f1[:-1].argmax())]
    lower = scores[scores < lowest_taken]
    return float((lowest_taken + (lower.max() if len(lower) else 0.0)) / 2)


class MultiLabelEvaluator(Evaluator):
    """Scores sigmoid answers against any number of labels a picture.

    `examples`: `id` [B], `labels` [B, K] of 0 and 1, NaN where not known, which does not count. `predictions`: `scores`
    float [B, K], 0..1. A class that no example of the split holds has None for its measures and stays out of every mean
    over classes.

    Args:
        class_names: in index order, [K].
        thresholds: a class is answered from this score on, [K]; 0.5 each by default (see `choose_thresholds`).
    """

    def __init__(self, class_names: Sequence[str], thresholds: Sequence[float] | None = None):
        self._names = tuple(class_names)
        self._thresholds = np.full(len(self._names), DEFAULT_THRESHOLD) if thresholds is None else np.array(thresholds)
        if self._thresholds.shape != (len(self._names),):
            raise ValueError(
                f"Received {self._thresholds.size} thresholds; expected one for each of {len(self._names)} classes."
            )
        self._seen = Collected(LABELS, "scores")

    def update(self, examples: Arrays, predictions: Arrays) -> None:
        """Adds a batch."""
        self._seen.add(examples, predictions)

    def best_thresholds(self) -> tuple[float, ...]:
        """Per class the threshold with the largest F1 on what was seen, [K]; see `choose_thresholds`."""
        return tuple(choose_thresholds(self._seen.truth(), self._seen.answers()).tolist())

    def result(self) -> dict[str, Any]:
        """All measures are 0..1; `exact_match` is the share of pictures whose whole set of (known) classes is right."""
        if self._seen.overflows:
            return self._seen.overflow("mean_average_precision")
        present, known, scores = self._present(), self._known(), self._scores()
        once = np.ones((1, len(scores)))
        return {
            "mean_average_precision": float(mean_average_precision(present, scores, once, known)[0]),
            **self._f1(),
            "exact_match": 1.0 - float(self._wrong()[known.any(axis=1)].any(axis=1).mean()),
            "roc_auc": mean_of_known(roc_auc(*column) for column in self._columns()),
            "num_examples": len(scores),
            "intervals": {"mean_average_precision": self._interval()},
            "per_class": self._per_class(),
            "thresholds": dict(zip(self._names, self._thresholds.tolist(), strict=True)),
        }

    def agreement_with(self, other: Evaluator) -> float:
        """How far the answered sets of classes are the same: the mean over examples of their Jaccard index (size of
        the intersection over size of the union; 1 where both are empty)."""
        other = same_kind(self, other)
        self._seen.require_same_examples(other._seen)
        both, either = self._answers() & other._answers(), self._answers() | other._answers()
        jaccard = np.where(either.any(axis=1), both.sum(axis=1) / np.maximum(either.sum(axis=1), 1), 1.0)
        return self._seen.agreement(other._seen, jaccard)

    def plots(self) -> dict[str, Figure]:
        """Precision and recall, average precision per class, reliability diagram of all decisions."""
        from pipeline.metrics import plots

        columns = dict(zip(self._names, self._columns(), strict=True))
        precisions = {name: value for name, column in columns.items() if (value := pr_auc(*column)) is not None}
        return {
            "Precision and recall": plots.precision_recall(columns),
            "Average precision per class": plots.bars(precisions),
            "Reliability": plots.reliability(self._scores()[self._known()], self._present()[self._known()]),
        }

    def mistakes(self, most: int) -> list[Mistake]:
        """Pictures with a wrong set of classes, by the cross-entropy of the whole answer."""
        present, known, scores, answers = self._present(), self._known(), self._scores(), self._answers()
        right = np.clip(np.where(present, scores, 1.0 - scores), 1e-7, 1.0)
        badness = np.where(known, -np.log(right), 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        wrong = np.flatnonzero(self._wrong().any(axis=1))
        worst = wrong[np.argsort(-badness[wrong], kind="stable")][:most]
        return [
            Mistake(
                id=self._seen.ids[row],
                expected=self._listed(present[row]),
                answered=self._listed(answers[row], scores[row]),
                badness=float(badness[row]),
            )
            for row in worst
        ]

    def _present(self) -> np.ndarray:
        return self._seen.truth() > 0

    def _known(self) -> np.ndarray:
        return np.isfinite(self._seen.truth())

    def _wrong(self) -> np.ndarray:
        return (self._present() != self._answers()) & self._known()

    def _scores(self) -> np.ndarray:
        return self._seen.answers().astype(np.float64)

    def _answers(self) -> np.ndarray:
        return self._scores() >= self._thresholds

    def _columns(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(present bool [n], scores [n]) per class, of the examples for which it is known."""
        present, scores = self._present(), self._scores()
        return [(present[row, k], scores[row, k]) for k, row in enumerate(self._known().T)]

    def _interval(self) -> list[float]:
        present, known, scores = self._present(), self._known(), self._scores()
        return bootstrap.interval(
            lambda weights: mean_average_precision(present, scores, weights, known), len(scores), draws=DRAWS
        )

    def _f1(self) -> dict[str, float]:
        from sklearn.metrics import f1_score

        known = self._known()
        micro = f1_score(self._present()[known], self._answers()[known], zero_division=0)
        macro = mean_of_known(measures["f1"] for measures in self._per_class().values())
        return {"macro_f1": 0.0 if macro is None else macro, "micro_f1": float(micro)}

    def _per_class(self) -> dict[str, dict[str, float | int | None]]:
        columns = zip(self._names, self._columns(), self._thresholds, strict=True)
        return {name: _measures(present, scores, scores >= limit) for name, (present, scores), limit in columns}

    def _listed(self, chosen: np.ndarray, scores: np.ndarray | None = None) -> str:
        names = [
            self._names[k] if scores is None else f"{self._names[k]} {scores[k]:.0%}" for k in np.flatnonzero(chosen)
        ]
        return ", ".join(names) or "none"


def _measures(present: np.ndarray, scores: np.ndarray, answers: np.ndarray) -> dict[str, float | int | None]:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(present, answers, average="binary", zero_division=0)
    counted = class_measures(int(present.sum()), precision=precision, recall=recall, f1=f1)
    return {"average_precision": pr_auc(present, scores), **counted}
