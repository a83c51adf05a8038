"""The Evaluator: three verbs over any Predictor's answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Mistake:
    """One example that was answered badly, for the pictures of the worst.

    Args:
        id: the example's id.
        expected, answered: as text to show.
        badness: the larger, the worse; comparable within one evaluation only.
    """

    id: str
    expected: str
    answered: str
    badness: float


class Evaluator(ABC):
    """Collects predictions against examples and scores them. One use: update as often as needed, then result."""

    @abstractmethod
    def update(self, examples: Arrays, predictions: Arrays) -> None:
        """Adds a batch. `examples` holds the Example's label fields and `id`, `predictions` the task's decoded outputs;
        both numpy, [B, ...], padding already removed."""

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """All metrics by name; the main one is a float, per-class ones are nested dicts. Plain JSON values."""

    @abstractmethod
    def agreement_with(self, other: Evaluator) -> float:
        """How far (0..1) two evaluators of the same examples saw the same answers, the mean over examples: whether they
        are the same, or for an answer of several parts, how much of it."""

    def plots(self) -> dict[str, Figure]:
        """Title -> matplotlib figure."""
        return {}

    def mistakes(self, most: int) -> list[Mistake]:
        """The worst answers, worst first; at most `most`."""
        return []
