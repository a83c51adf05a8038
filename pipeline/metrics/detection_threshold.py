"""Precision, recall and F1 of the answers from a score on, at an overlap of 0.5.

D = answers, S = distinct scores, K = classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.metrics.detection_comparison import HALF, Comparison

Measures = dict[str, float | int | None]


@dataclass(frozen=True)
class Sweep:
    """What every threshold would give, all classes together.

    Args:
        scores: float64 [S], falling: the least score that is taken.
        precision, recall, f1: float64 [S].
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def sweep(comparison: Comparison) -> Sweep:
    """Over the scores that were answered; empty where nothing was, or nothing was asked for."""
    counted = np.flatnonzero(~comparison.matches.ignored[HALF])
    order = counted[np.argsort(-comparison.answers.scores[counted], kind="stable")]
    scores, objects = comparison.answers.scores[order], int(comparison.asked.sum())
    last_of_ties = np.flatnonzero(np.diff(scores, append=-1.0)) if objects else np.empty(0, np.int64)
    hits = np.cumsum(comparison.matches.right[HALF, order])[last_of_ties]
    answered = last_of_ties + 1
    return Sweep(scores[last_of_ties], hits / answered, hits / max(objects, 1), 2.0 * hits / (answered + objects))


def best_threshold(comparison: Comparison, otherwise: float) -> float:
    """The threshold with the largest F1, half-way between the lowest score that is still taken and the next lower one
    (or 0), so that rounding in a quantized model does not turn answers over; `otherwise` where every F1 is 0."""
    swept = sweep(comparison)
    if not swept.f1.any():
        return otherwise
    best = int(swept.f1.argmax())
    return float((swept.scores[best] + np.append(swept.scores, 0.0)[best + 1]) / 2.0)


def measures_at(comparison: Comparison, threshold: float) -> Measures:
    """`precision`, `recall`, `f1` of all classes together."""
    right, counted = _decided(comparison, threshold)
    return _measures(int(right.sum()), int(counted.sum()), int(comparison.asked.sum()))


def class_measures_at(comparison: Comparison, threshold: float) -> list[Measures]:
    """The same of each class, with its number of `objects`; K of them."""
    right, counted = _decided(comparison, threshold)
    classes, count = comparison.answers.classes, comparison.num_classes
    columns = (np.bincount(classes[chosen], minlength=count).tolist() for chosen in (right, counted))
    objects = comparison.per_class(comparison.asked).tolist()
    return [{**_measures(*row), "objects": row[-1]} for row in zip(*columns, objects, strict=True)]


def _decided(comparison: Comparison, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Which answers are right, and which count, bool [D] each."""
    said = comparison.answers.scores >= threshold
    return comparison.matches.right[HALF] & said, ~comparison.matches.ignored[HALF] & said


def _measures(right: int, answered: int, objects: int) -> Measures:
    """None where nothing was asked for, since nothing was measured; a precision of 0 where nothing was answered."""
    if not objects:
        return {"precision": None, "recall": None, "f1": None}
    return {
        "precision": right / answered if answered else 0.0,
        "recall": right / objects,
        "f1": 2.0 * right / (answered + objects),
    }
