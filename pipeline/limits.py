"""How much worse than the trained model a file may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from models.settings import Settings

if TYPE_CHECKING:
    from pipeline.tasks.base import Metric


class DropLimit(Settings):
    """How far a file may fall behind the trained model in the task's metric."""

    max_drop: float = Field(default=0.01, ge=0)
    """Largest loss of a metric of which more is better, in its own unit: 0.01 of accuracy is one point."""
    max_increase: float = Field(default=0.05, ge=0)
    """Largest growth of an error, of which less is better, as a share of the trained model's error."""

    def allowed(self, metric: Metric, trained: float) -> float:
        """The largest drop of `metric`, in its own unit, for a trained model that reached `trained`."""
        return self.max_drop if metric.direction == "max" else self.max_increase * abs(trained)
