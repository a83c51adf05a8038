"""The Learner interface: how a model is trained, whatever the task."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from models.settings import Settings
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras as keras


class Learner(Settings):
    """A way of training. It wraps any Task and leaves the loop to `keras.Model.fit`."""

    @abstractmethod
    def training_model(self, task: Task, model: keras.Model) -> keras.Model:
        """The model that `fit` trains; shares its weights with `model`, which is what ships."""

    @abstractmethod
    def losses(self, task: Task) -> dict[str, keras.losses.Loss]:
        """Output name of the training model -> loss, one value per example [B]."""

    @abstractmethod
    def batches(self, task: Task, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Batches as the task encodes them -> as the training model takes them.

        Elements are (inputs, targets) for training, (inputs, targets, weights) for validation; both keep their form.
        """
