"""Numbers read from a picture: how far off they are, in the targets' own units.

N = examples, K = targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.example import VALUE
from pipeline.metrics import bootstrap
from pipeline.metrics.base import Arrays, Evaluator, Mistake
from pipeline.metrics.collected import Collected, same_kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAME_ANSWER = 0.05
"""Two answers count as the same when they differ by at most this share of the truth's standard deviation."""


class RegressionEvaluator(Evaluator):
    """Scores predicted numbers.

    `examples`: `id` [B], `value` float [B, K], NaN where not known, which does not count. `predictions`: `values` float
    [B, K]. Both in the targets' own units.

    Args:
        value_names: of the K targets.
    """

    def __init__(self, value_names: Sequence[str]):
        self._names = tuple(value_names)
        self._seen = Collected(VALUE, "values")

    def update(self, examples: Arrays, predictions: Arrays) -> None:
        """Adds a batch."""
        self._seen.add(examples, predictions)

    def result(self) -> dict[str, Any]:
        """Means over the targets. `r2` is None where the truth is constant; `bias` is the mean of answer less truth."""
        if self._seen.overflows:
            return self._seen.overflow("mean_absolute_error")
        per_target = {name: self._measures(k) for k, name in enumerate(self._names)}
        r2 = [measures["r2"] for measures in per_target.values() if measures["r2"] is not None]
        return {
            "mean_absolute_error": float(self._mean_errors(np.ones((1, len(self._truth()))))[0]),
            "rmse": float(np.mean([measures["rmse"] for measures in per_target.values()])),
            "r2": float(np.mean(r2)) if r2 else None,
            "num_examples": len(self._truth()),
            "intervals": {"mean_absolute_error": bootstrap.interval(self._mean_errors, len(self._truth()))},
            "per_target": per_target,
        }

    def agreement_with(self, other: Evaluator) -> float:
        """The share of examples whose every answer is within 5 % of the truth's standard deviation of the other's."""
        other = same_kind(self, other)
        self._seen.require_same_examples(other._seen)
        near = np.abs(self._values() - other._values()) <= SAME_ANSWER * self._spread()
        return self._seen.agreement(other._seen, near.all(axis=1))

    def plots(self) -> dict[str, Figure]:
        """Predicted against true values and the distribution of errors, per target."""
        from pipeline.metrics import plots

        figures: dict[str, Figure] = {}
        for k, name in enumerate(self._names):
            truth, values = self._column(k)
            figures[f"{name}, predicted and true"] = plots.predicted_and_true(truth, values)
            figures[f"{name}, errors"] = plots.errors(values - truth)
        return figures

    def mistakes(self, most: int) -> list[Mistake]:
        """The largest errors, measured in standard deviations of the truth so that targets compare."""
        badness = np.where(self._known(), np.abs(self._errors()) / self._spread(), -1.0).max(axis=1)
        worst = np.argsort(-badness, kind="stable")[: min(most, int((badness >= 0).sum()))]
        return [
            Mistake(
                id=self._seen.ids[row],
                expected=self._listed(self._truth()[row]),
                answered=self._listed(self._values()[row]),
                badness=float(badness[row]),
            )
            for row in worst
        ]

    def _truth(self) -> np.ndarray:
        return self._seen.truth().astype(np.float64).reshape(-1, len(self._names))

    def _values(self) -> np.ndarray:
        return self._seen.answers().astype(np.float64).reshape(-1, len(self._names))

    def _known(self) -> np.ndarray:
        return np.isfinite(self._truth())

    def _errors(self) -> np.ndarray:
        return self._values() - self._truth()

    def _column(self, target: int) -> tuple[np.ndarray, np.ndarray]:
        """(truth, values) of one target, [n] each, where it is known."""
        known = self._known()[:, target]
        return self._truth()[known, target], self._values()[known, target]

    def _mean_errors(self, weights: np.ndarray) -> np.ndarray:
        """The mean over the targets of their mean absolute errors, from weights [D, N] -> [D]."""
        known = self._known()
        sums = weights @ np.where(known, np.abs(self._errors()), 0.0)
        counts = weights @ known.astype(np.float64)
        held = np.maximum((counts > 0).sum(axis=1), 1)  # a draw may miss all that is known of a target
        return (sums / np.maximum(counts, 1e-12)).sum(axis=1) / held

    def _spread(self) -> np.ndarray:
        """Standard deviation of the truth [K]; 1 where it does not vary."""
        spread = np.array([self._column(k)[0].std() for k in range(len(self._names))])
        return np.where(spread > 0, spread, 1.0)

    def _measures(self, target: int) -> dict[str, float | None]:
        from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

        truth, values = self._column(target)
        return {
            "mean_absolute_error": float(mean_absolute_error(truth, values)),
            "rmse": float(root_mean_squared_error(truth, values)),
            "r2": float(r2_score(truth, values)) if np.ptp(truth) > 0 else None,
            "bias": float((values - truth).mean()),
        }

    def _listed(self, values: np.ndarray) -> str:
        shown = ["not known" if np.isnan(value) else f"{value:.4g}" for value in values]
        if len(shown) == 1:
            return shown[0]
        return ", ".join(f"{name} {value}" for name, value in zip(self._names, shown, strict=True))
