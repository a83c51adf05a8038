"""The Learner interface: how a model is trained, whatever the task."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from models.settings import Settings
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras as keras


@dataclass(frozen=True)
class Source:
    """Something besides the data that is learned from, such as a teacher.

    Args:
        description: for people, in a few words.
        checksum: of its content, which must not change while a training goes on.
    """

    description: str
    checksum: str


class Learner(Settings):
    """A way of training. It wraps any Task and leaves the loop to `keras.Model.fit`."""

    any_size: ClassVar[bool] = False
    """Whether it trains on pictures of several sizes, where the task does (`input.buckets`,
    `input.multi_scale`)."""

    @abstractmethod
    def training_model(self, task: Task, model: keras.Model) -> keras.Model:
        """The model that `fit` trains; shares its weights with `model`, which is what ships.

        Called in the scope of the strategy, in which everything that holds weights has to be made.
        """

    @abstractmethod
    def losses(self, task: Task) -> dict[str, keras.losses.Loss]:
        """Output name of the training model -> loss, one value per example [B]."""

    @abstractmethod
    def batches(self, task: Task, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Batches as the task encodes them -> as the training model takes them.

        Elements are (inputs, targets) for training, (inputs, targets, weights) for validation; both keep their form.
        """

    def check(self, task: Task) -> None:
        """Looks at what the learner needs besides the data, such as a teacher, before anything is trained.

        Raises:
            ConfigError: it is missing, or does not fit the task.
        """

    def sources(self) -> dict[str, Source]:
        """What is learned from besides the data, by the name that the configuration gives it."""
        return {}
