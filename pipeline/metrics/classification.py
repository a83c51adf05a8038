"""One class a picture: accuracy and what stands behind it.

N = examples, K = classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.example import ID, LABEL
from pipeline.metrics import bootstrap
from pipeline.metrics.base import Arrays, Evaluator, Mistake
from pipeline.metrics.collected import Collected, same_kind
from pipeline.metrics.scores import expected_calibration_error, mean_of_known, pr_auc, roc_auc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP = 5


class ClassificationEvaluator(Evaluator):
    """Scores softmax answers against one label a picture.

    `examples`: `id` [B], `label` int [B], -1 where not known: these do not count. `predictions`: `scores` float [B, K],
    each row a distribution (those of a quantized model may miss a sum of 1 slightly; log loss normalises them). A class
    that no example of the split holds has None for its measures and stays out of every mean.

    Args:
        class_names: in index order, [K].
    """

    def __init__(self, class_names: Sequence[str]):
        self._names = tuple(class_names)
        self._seen = Collected(LABEL, "scores")

    def update(self, examples: Arrays, predictions: Arrays) -> None:
        """Adds a batch."""
        known = np.asarray(examples[LABEL]) >= 0
        self._seen.add(
            {name: np.asarray(examples[name])[known] for name in (ID, LABEL)},
            {name: np.asarray(values)[known] for name, values in predictions.items()},
        )

    def result(self) -> dict[str, Any]:
        """Shares are 0..1; `top_5` counts a label among the 5 (or K, if fewer) highest scores."""
        if self._seen.overflows:
            return self._seen.overflow("accuracy")
        correct = self._answers() == self._labels()
        return {
            "accuracy": float(correct.mean()),
            "top_5": self._top(TOP),
            **self._f1(),
            "roc_auc": mean_of_known(roc_auc(present, scores) for present, scores in self._columns()),
            "pr_auc": mean_of_known(pr_auc(present, scores) for present, scores in self._columns()),
            "expected_calibration_error": expected_calibration_error(self._scores().max(axis=1), correct),
            "log_loss": self._log_loss(),
            "num_examples": len(correct),
            "intervals": {"accuracy": bootstrap.mean_interval(correct)},
            "per_class": self._per_class(),
        }

    def agreement_with(self, other: Evaluator) -> float:
        """The share of examples with the same highest class."""
        other = same_kind(self, other)
        self._seen.require_same_examples(other._seen)
        return self._seen.agreement(other._seen, self._answers() == other._answers())

    def plots(self) -> dict[str, Figure]:
        """Confusion matrix, most confused classes, precision and recall, reliability diagram."""
        from pipeline.metrics import plots

        confidence, correct = self._scores().max(axis=1), self._answers() == self._labels()
        matrix = self._confusion()
        figures = {"Confusion matrix": plots.confusion_matrix(matrix, self._names)}
        if matrix.sum() > np.trace(matrix):
            figures["Most confused classes"] = plots.confused_pairs(matrix, self._names)
        figures["Precision and recall"] = plots.precision_recall(dict(zip(self._names, self._columns(), strict=True)))
        figures["Reliability"] = plots.reliability(confidence, correct)
        return figures

    def mistakes(self, most: int) -> list[Mistake]:
        """Wrong answers, the most confident first: by the answered class's score less that of the expected one."""
        scores, labels, answers = self._scores(), self._labels(), self._answers()
        rows = np.arange(len(labels))
        margin = scores[rows, answers] - scores[rows, labels]
        wrong = np.flatnonzero(answers != labels)
        worst = wrong[np.argsort(-margin[wrong], kind="stable")][:most]
        return [
            Mistake(
                id=self._seen.ids[row],
                expected=self._names[labels[row]],
                answered=f"{self._names[answers[row]]} {scores[row, answers[row]]:.0%}",
                badness=float(margin[row]),
            )
            for row in worst
        ]

    def _labels(self) -> np.ndarray:
        return self._seen.truth().astype(np.int64)

    def _scores(self) -> np.ndarray:
        return self._seen.answers().astype(np.float64)

    def _answers(self) -> np.ndarray:
        return self._seen.answers().argmax(axis=1)

    def _columns(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(present bool [N], scores [N]) per class."""
        labels, scores = self._labels(), self._scores()
        return [(labels == k, scores[:, k]) for k in range(len(self._names))]

    def _confusion(self) -> np.ndarray:
        from sklearn.metrics import confusion_matrix

        return confusion_matrix(self._labels(), self._answers(), labels=range(len(self._names)))

    def _top(self, count: int) -> float:
        # A stable order resolves ties as argmax does, so that top 1 is the accuracy.
        best = np.argsort(-self._scores(), axis=1, kind="stable")[:, :count]
        return float((best == self._labels()[:, None]).any(axis=1).mean())

    def _log_loss(self) -> float:
        from sklearn.metrics import log_loss

        scores = np.clip(self._scores(), 1e-7, 1.0)
        distribution = scores / scores.sum(axis=1, keepdims=True)
        return float(log_loss(self._labels(), distribution, labels=range(len(self._names))))

    def _f1(self) -> dict[str, float]:
        from sklearn.metrics import f1_score

        labels, answers = self._labels(), self._answers()
        held = np.unique(labels)
        return {
            f"{average}_f1": float(f1_score(labels, answers, labels=held, average=average, zero_division=0))
            for average in ("macro", "weighted")
        }

    def _per_class(self) -> dict[str, dict[str, float | int | None]]:
        from sklearn.metrics import precision_recall_fscore_support

        measures = precision_recall_fscore_support(
            self._labels(), self._answers(), labels=range(len(self._names)), zero_division=0
        )
        return {
            name: class_measures(int(support), precision=precision, recall=recall, f1=f1)
            for name, precision, recall, f1, support in zip(self._names, *measures, strict=True)
        }


def class_measures(support: int, **measures: float) -> dict[str, float | int | None]:
    """The measures of a class as plain values; None where no example holds the class, since nothing was measured."""
    known = {name: float(value) if support else None for name, value in measures.items()}
    return {**known, "support": support}
