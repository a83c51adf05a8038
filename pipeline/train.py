"""How a training is laid out: settings, phases, steps. `fit.py` carries it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from models.settings import Settings
from pipeline.optimizers import Adam, AnyOptimizer, Schedule
from pipeline.strategy import Devices
from pipeline.team import ALONE, Team

if TYPE_CHECKING:
    from pipeline.augment import Operation
    from pipeline.data.input import InputSettings
    from pipeline.data.store import Store
    from pipeline.learners.base import Learner
    from pipeline.tasks.base import Task


class Transfer(Settings):
    """Transfer learning in two phases: the new head alone on frozen features, then the features with it."""

    frozen_epochs: int = Field(default=3, ge=1)
    """Length of the first phase, in which only the head is trained; `train.epochs` is the length of the second."""
    unfreeze_from: str | None = None
    """First feature level (`stride_16`) or layer that is trained in the second phase; left out, all are."""
    learning_rate: float = Field(default=0.0001, gt=0.0)
    """Peak learning rate of the second phase; the first has that of the optimizer."""


class TrainSettings(Settings):
    """How long and how the model is trained."""

    epochs: int = Field(default=20, ge=1)
    """How many times the training split is gone through."""
    batch_size: int = Field(default=64, ge=1)
    """Pictures a step, over all replicas together."""
    optimizer: AnyOptimizer = Adam()
    """What turns gradients into steps."""
    schedule: Schedule = Schedule()
    """The learning rate over the steps of a phase."""
    transfer: Transfer | None = None
    """Two phases, for a backbone with pretrained weights; left out, all weights are trained from the first step."""
    average_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Share kept at each step by a moving average of the weights, such as 0.999; the average is what ships."""
    early_stopping: float | None = Field(default=None, gt=0.0)
    """Epochs without a better validation metric after which the last phase ends; left out, it never ends early."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Steps between checkpoints, besides the one at the end of each epoch."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between validations."""
    tensorboard: bool = True
    """Whether curves are written for TensorBoard, to RUN/tensorboard."""
    devices: Devices = Devices()
    """Where the training runs."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one optimizer.

    Args:
        name: `all`, `frozen`, or `unfrozen`.
        first_step, last_step: the steps [first_step, last_step) over the whole training.
        learning_rate: peak.
        frozen: whether the backbone is.
        unfreeze_from: level or layer from which on it is not; None is the whole model.
    """

    name: str
    first_step: int
    last_step: int
    learning_rate: float
    frozen: bool = False
    unfreeze_from: str | None = None


@dataclass(frozen=True)
class TrainingJob:
    """All that a training needs, and nothing of where it came from.

    Args:
        checkpoints, history, tensorboard: where it writes.
        progress: told (step, total, **numbers as text).
        team: the hosts that take part.
    """

    task: Task
    learner: Learner
    store: Store
    operations: tuple[Operation, ...]
    input: InputSettings
    settings: TrainSettings
    seed: int
    checkpoints: Path
    history: Path
    tensorboard: Path
    progress: Callable[..., None]
    team: Team = ALONE

    @property
    def steps_per_epoch(self) -> int:
        """Full batches that come nearest to one pass over the training split; the stream itself drops no example."""
        from pipeline.data.sampling import pass_of

        return max(1, round(pass_of(self.store, self.input.sampling).length / self.settings.batch_size))


def phases(settings: TrainSettings, steps_per_epoch: int) -> list[Phase]:
    """The phases in order, without gaps."""
    transfer, rate = settings.transfer, settings.optimizer.learning_rate
    if transfer is None:
        return [Phase("all", 0, settings.epochs * steps_per_epoch, rate)]
    middle = transfer.frozen_epochs * steps_per_epoch
    last = middle + settings.epochs * steps_per_epoch
    return [
        Phase("frozen", 0, middle, rate, frozen=True),
        Phase("unfrozen", middle, last, transfer.learning_rate, unfreeze_from=transfer.unfreeze_from),
    ]


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to, for `summary.json`.

    Args:
        seconds: wall time of this process's part, validation and start-up included.
        images_per_second: median over the epochs, without start-up and validation; None where no step was timed.
        steps: optimizer steps over all phases.
        best_step: the step whose weights were kept.
        precision: the Keras policy of this process's part.
    """

    seconds: float
    images_per_second: float | None
    steps: int
    replicas: int
    best_step: int
    precision: str
