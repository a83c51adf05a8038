"""Learning from a teacher besides the labels: distillation, for any task.

The training model is the student's with one more output for each transfer, whose value is that transfer's loss. So
stock `fit` trains it, Keras reduces each loss over all replicas as it does any other, each has a column in the history,
and padding counts for nothing. The teacher answers inside the same graph, on each replica.

Several teachers are an ensemble: each transfer's loss is the mean over them. For soft targets that is the loss against
the mean of their softened answers plus a number that does not depend on the student, how far the teachers disagree; the
gradient is the same.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from models.settings import Settings
from models.stack import keras, tf
from pipeline.data.example import IMAGE
from pipeline.learners.base import Learner, Source
from pipeline.learners.teachers import Answers, Network, Teacher, copied, described, open_teacher
from pipeline.learners.transfers import AnyTransfer, KnowledgeTransfer, SoftTargets
from pipeline.locations import Location
from pipeline.tasks.base import Task, named_outputs

if TYPE_CHECKING:
    from collections.abc import Mapping


class Lessons(Settings):
    """What is learned from a teacher, and what the labels count beside it."""

    label_weight: float = Field(default=1.0, ge=0.0)
    """What the task's own loss counts; 0 learns from the teacher alone. Pictures whose label is not known learn from
    the teacher whatever it is."""
    transfers: tuple[AnyTransfer, ...] = Field(default=(SoftTargets(),), min_length=1)
    """What is taken over from the teacher; the losses are added up, each with its `weight`."""

    @property
    def by_name(self) -> dict[str, KnowledgeTransfer]:
        """Name of the training model's output -> transfer: its kind, and a number from the second of a kind on."""
        named: dict[str, KnowledgeTransfer] = {}
        for transfer in self.transfers:
            before = sum(type(transfer) is type(one) for one in named.values())
            named[f"{transfer.kind}_{before + 1}" if before else transfer.kind] = transfer
        return named


class Distillation(Lessons, Learner):
    """The base of learners with teachers, wherever these come from."""

    @abstractmethod
    def teachers(self) -> Sequence[Teacher]:
        """Whom is learned from; nothing is loaded yet."""

    def check(self, task: Task) -> None:
        """All teachers are there, were trained on this task and its names, and show what the transfers look at."""
        for teacher in self.teachers():
            teacher.require_task_of(task)
            for transfer in self.transfers:
                transfer.check(teacher)

    def training_model(self, task: Task, model: keras.Model) -> keras.Model:
        """The task's training model with the transfers' losses as outputs [B, 1].

        Raises:
            ConfigError: as `check`; or a network has not the feature levels that are looked at.
        """
        from models.distillation import Computed
        from models.graphs import level_tensors

        self.check(task)
        trained = task.training_model(model)
        image = dict(zip(trained.input_names, trained.inputs, strict=True))[IMAGE]
        student = {"outputs": named_outputs(model), "levels": level_tensors(model)}
        taught = []
        for number, teacher in enumerate(self.teachers()):
            answers = Computed(_without_mode(teacher.open(task)), name=f"teacher_{number}")(image)
            for transfer in self.transfers:
                transfer.check_levels(student, answers, teacher.name)
            taught.append(answers)
        both = {"student": student, "teachers": taught}
        losses = {name: Computed(_comparison(one, task), name=name)(both) for name, one in self.by_name.items()}
        return keras.Model(trained.inputs, {**named_outputs(trained), **losses}, name=trained.name)

    def losses(self, task: Task) -> dict[str, keras.losses.Loss]:
        """The task's losses, times `label_weight`, and those of the transfers."""
        from models.distillation import GivenLoss, WeightedLoss

        labels = {name: WeightedLoss(loss, self.label_weight) for name, loss in task.losses().items()}
        return {**labels, **{name: GivenLoss() for name in self.by_name}}

    def batches(self, task: Task, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Adds a target to each transfer, which stands for its examples and is not looked at."""

        def with_targets(inputs: Mapping[str, Any], targets: Mapping[str, Any], *weights: Any) -> tuple[Any, ...]:
            nothing = tf.zeros_like(inputs[IMAGE][:, :1, 0, 0], tf.float32)  # [B, 1]
            return inputs, {**targets, **dict.fromkeys(self.by_name, nothing)}, *weights

        return batches.map(with_targets)


class Distilled(Distillation):
    """Learning from a trained teacher besides the labels; only the student ships."""

    kind: Literal["distilled"] = "distilled"
    """The learner's name."""
    teacher: Location | tuple[Location, ...]
    """A Run, an export folder, a SavedModel or a `.tflite`, of the same task and names; several are an ensemble. Of a
    Run all can be learned, of an exported file only its answers."""

    @field_validator("teacher")
    @classmethod
    def _at_least_one(cls, teacher: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not teacher:
            raise ValueError("name at least one teacher: the folder of a Run, or an exported file")
        return teacher

    @property
    def places(self) -> tuple[str, ...]:
        """Where the teachers are."""
        return (self.teacher,) if isinstance(self.teacher, str) else self.teacher

    def teachers(self) -> Sequence[Teacher]:
        """Those that the settings name."""
        return [open_teacher(place) for place in self.places]

    def sources(self) -> dict[str, Source]:
        """The teachers."""
        return {place: described(place) for place in self.places}


class TaughtByNetwork(Distillation):
    """Learning from a network that is in memory, such as a quantized one from the network that it was made of."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    task: Any
    """What the network was trained on."""
    network: Any
    """`image` uint8 in, raw outputs by name out."""

    def teachers(self) -> Sequence[Teacher]:
        """The network alone."""
        return [Network("the trained model", self.task, lambda: copied(self.network))]


def _without_mode(answer: Callable[[Any], Answers]) -> Callable[[Any, bool], Answers]:
    """A teacher answers in training as it does else."""
    return lambda pictures, _: answer(pictures)


def _comparison(transfer: KnowledgeTransfer, task: Task) -> Callable[[Any, bool], tf.Tensor]:
    """{`student`: answers, `teachers`: list of answers} -> the transfer's loss [B, 1]."""

    def compare(both: Any, training: bool) -> tf.Tensor:
        first = next(iter(both["student"]["outputs"].values()))
        if transfer.between_pictures and not training:
            return tf.zeros((tf.shape(first)[0], 1))
        losses = [transfer.loss(task, both["student"], teacher) for teacher in both["teachers"]]
        return transfer.weight / len(losses) * tf.add_n(losses)[:, tf.newaxis]

    return compare
