"""What all evaluators need: collecting batches, and being compared with one another."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from pipeline.data.example import ID
from pipeline.metrics.base import Arrays, Evaluator

SomeEvaluator = TypeVar("SomeEvaluator", bound=Evaluator)


class Collected:
    """The ids, the truth and the answers of all examples seen so far.

    Args:
        truth: the Example's field that holds what is expected.
        answer: the prediction that is compared with it.
    """

    def __init__(self, truth: str, answer: str):
        self._truth_name = truth
        self._answer_name = answer
        self._ids: list[str] = []
        self._truth: list[np.ndarray] = []
        self._answers: list[np.ndarray] = []
        self._finite: list[np.ndarray] = []

    def add(self, examples: Arrays, predictions: Arrays) -> None:
        """Adds a batch."""
        answers = np.asarray(predictions[self._answer_name])
        self._ids += [_text(name) for name in np.asarray(examples[ID]).tolist()]
        self._truth.append(np.asarray(examples[self._truth_name]))
        self._finite.append(np.isfinite(answers).reshape(len(answers), -1).all(axis=1))
        self._answers.append(np.nan_to_num(answers, nan=0.0, posinf=0.0, neginf=0.0))

    @property
    def ids(self) -> list[str]:
        """Ids of the examples, in the order they came."""
        return self._ids

    def truth(self) -> np.ndarray:
        """What was expected, [N, ...]."""
        return self._joined(self._truth)

    def answers(self) -> np.ndarray:
        """What was answered, [N, ...], with 0 for NaN and infinity."""
        return self._joined(self._answers)

    @property
    def overflows(self) -> bool:
        """Whether any answer is NaN or infinite."""
        return not self._joined(self._finite).all()

    def overflow(self, metric: str) -> dict[str, Any]:
        """The result where answers overflow: the metric is NaN, which keeps no limit, and nothing else is claimed."""
        finite = self._joined(self._finite)
        return {metric: float("nan"), "non_finite_answers": int((~finite).sum()), "num_examples": len(finite)}

    def agreement(self, other: Collected, same: np.ndarray) -> float:
        """The mean of how far each example's answers are the same, [N], 0..1; one that is not finite agrees with
        nothing."""
        return float((same * (self._joined(self._finite) & other._joined(other._finite))).mean())

    def require_same_examples(self, other: Collected) -> None:
        """Raises ValueError where two evaluators did not see the same examples in the same order."""
        if self._ids != other._ids:
            raise ValueError(
                f"Answers can be compared only for the same examples in the same order; "
                f"received {len(self._ids)} and {len(other._ids)} examples whose ids differ."
            )

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        if not parts:
            raise ValueError("Nothing was evaluated yet: call update() with at least one batch first.")
        if len(parts) > 1:
            parts[:] = [np.concatenate(parts)]
        return parts[0]


def same_kind(mine: SomeEvaluator, other: Evaluator) -> SomeEvaluator:
    """`other` as one of the kind of `mine`; TypeError where it is another, whose answers cannot be compared."""
    if not isinstance(other, type(mine)):
        raise TypeError(f"Received a {type(other).__name__}; expected another {type(mine).__name__} to compare with.")
    return other


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
