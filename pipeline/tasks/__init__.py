"""The tasks. This is the only list of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.tasks.base import Task
from pipeline.tasks.classification import Classification
from pipeline.tasks.detection import Detection
from pipeline.tasks.multi_label import MultiLabel
from pipeline.tasks.regression import Regression
from pipeline.tasks.single_object import SingleObjectTracking

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "detection": Detection,
    "multi_label": MultiLabel,
    "regression": Regression,
    "single_object_tracking": SingleObjectTracking,
}
AnyTask = Annotated[
    Classification | Detection | MultiLabel | Regression | SingleObjectTracking, Field(discriminator="kind")
]

__all__ = [
    "TASKS",
    "AnyTask",
    "Classification",
    "Detection",
    "MultiLabel",
    "Regression",
    "SingleObjectTracking",
    "Task",
]
