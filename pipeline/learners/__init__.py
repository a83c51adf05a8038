"""The learners. This is the only list of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.learners.base import Learner
from pipeline.learners.distilled import Distilled
from pipeline.learners.supervised import Supervised

LEARNERS: dict[str, type[Learner]] = {"supervised": Supervised, "distilled": Distilled}
AnyLearner = Annotated[Supervised | Distilled, Field(discriminator="kind")]

__all__ = ["LEARNERS", "AnyLearner", "Distilled", "Learner", "Supervised"]
