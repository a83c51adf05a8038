"""Learning from the labels alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.learners.base import Learner
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras as keras


class Supervised(Learner):
    """The task's own model, losses and targets, unchanged."""

    kind: Literal["supervised"] = "supervised"
    """The learner's name."""

    any_size: ClassVar[bool] = True

    def training_model(self, task: Task, model: keras.Model) -> keras.Model:
        """The task's training model."""
        return task.training_model(model)

    def losses(self, task: Task) -> dict[str, keras.losses.Loss]:
        """The task's losses."""
        return task.losses()

    def batches(self, task: Task, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The task's batches."""
        return batches
