"""Measures over scores that more than one evaluator needs.

N = examples, K = classes, D = bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

CALIBRATION_BINS = 15


def average_precision(present: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision of one class for many weightings of the examples at once.

    The same sum over distinct scores as `sklearn.metrics.average_precision_score`, which takes one weighting a call and
    would make a bootstrap interval of a hundred classes take minutes.

    Args:
        present: bool [N].
        scores: [N].
        weights: float64 [D, N], at least 0.

    Returns:
        float64 [D]; NaN where no weight lies on a present example.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    chosen = np.cumsum(weights[:, order], axis=1)[:, last_of_ties]
    hits = np.cumsum(weights[:, order] * present[order], axis=1)[:, last_of_ties]
    precision = np.divide(hits, chosen, out=np.zeros_like(hits), where=chosen > 0)
    gains = np.diff(hits, axis=1, prepend=0.0)
    total = hits[:, -1]
    return np.divide((precision * gains).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)


def mean_average_precision(
    present: np.ndarray, scores: np.ndarray, weights: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """The mean of `average_precision` over the classes that a weighting holds.

    Args:
        present: bool [N, K].
        scores: [N, K].
        weights: float64 [D, N].
        known: bool [N, K], which of `present` are known; all by default.

    Returns:
        float64 [D]; 0 where a weighting holds no class at all.
    """
    rows = [slice(None)] * present.shape[1] if known is None or known.all() else list(known.T)
    columns = [average_precision(present[row, k], scores[row, k], weights[:, row]) for k, row in enumerate(rows)]
    per_class = np.stack(columns, axis=1)
    known = np.isfinite(per_class)
    return np.where(known, per_class, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def roc_auc(present: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve of one class [N]; None where all or none of the examples hold it."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(present, scores)) if 0 < present.sum() < len(present) else None


def pr_auc(present: np.ndarray, scores: np.ndarray) -> float | None:
    """Average precision of one class [N]; None where no example holds it."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(present, scores)) if present.any() else None


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of those that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def calibration(confidence: np.ndarray, correct: np.ndarray) -> list[tuple[float, float, int]]:
    """Confidence against accuracy in bins of equal width that hold at least one example.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2, with its 15 bins (low, high].

    Args:
        confidence: [N], 0..1.
        correct: bool [N].

    Returns:
        (mean confidence, share of correct, number of examples) per bin.
    """
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    members = [bins == number for number in np.unique(bins)]
    return [(float(confidence[m].mean()), float(correct[m].mean()), int(m.sum())) for m in members]


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """The mean distance of confidence from accuracy over the bins, weighted by their examples (Guo, equation 3)."""
    bins = calibration(confidence, correct)
    return sum(count * abs(accuracy - mean) for mean, accuracy, count in bins) / len(confidence)
