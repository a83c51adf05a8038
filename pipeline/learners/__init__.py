"""The learners. This is the only list of them."""

from __future__ import annotations

from pipeline.learners.base import Learner
from pipeline.learners.supervised import Supervised

LEARNERS: dict[str, type[Learner]] = {"supervised": Supervised}
AnyLearner = Supervised

__all__ = ["LEARNERS", "AnyLearner", "Learner", "Supervised"]
