"""What a student takes over from a teacher besides the labels: each a settings class, any of them can be combined.

B = batch, h, w = a feature level, F = its channels.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.settings import Settings
from models.stack import tf
from pipeline.errors import ConfigError, nearest
from pipeline.learners.teachers import Answers, Teacher
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    from collections.abc import Iterable


class KnowledgeTransfer(Settings):
    """One thing that is taken over. Its loss needs no labels."""

    weight: float = Field(default=1.0, ge=0.0)
    """What it counts in the sum of all losses."""

    between_pictures: ClassVar[bool] = False
    """Whether it looks at pictures together: then it counts only while training, as validation batches are padded."""
    needs_levels: ClassVar[bool] = False
    """Whether the teacher's feature levels are needed, which an exported file does not show."""

    @abstractmethod
    def loss(self, task: Task, student: Answers, teacher: Answers) -> tf.Tensor:
        """How far the student is from one teacher, one value per example [B], before `weight`."""

    def check(self, teacher: Teacher) -> None:
        """Raises ConfigError where a teacher does not show what is needed."""
        if self.needs_levels and not teacher.has_levels:
            raise ConfigError(
                f"{self.model_dump()['kind']} looks at feature levels, which the exported teacher {teacher.name} does "
                "not show. Give the Run that it comes from, or leave this transfer out."
            )

    def check_levels(self, student: Answers, teacher: Answers, name: str) -> None:
        """Raises ConfigError where the student, or the teacher of this name, lacks a feature level that is needed."""


class SoftTargets(KnowledgeTransfer):
    """The teacher's answers themselves (Hinton et al. 2015, "Distilling the knowledge in a neural network").

    How answers are compared is the task's matter: distributions over classes by their divergence, softened by the
    temperature; numbers by their squared error.
    """

    kind: Literal["soft_targets"] = "soft_targets"
    """The teacher's answers, softened."""
    temperature: float = Field(default=4.0, gt=0.0)
    """Divides the logits of both, so that also the small probabilities tell something; without meaning for numbers."""

    def loss(self, task: Task, student: Answers, teacher: Answers) -> tf.Tensor:
        """The task's own comparison of raw outputs."""
        return task.distillation_loss(student["outputs"], teacher["outputs"], self.temperature)


class AttentionTransfer(KnowledgeTransfer):
    """Where the teacher looks (Zagoruyko & Komodakis 2017, "Paying more attention to attention").

    The two networks may have any number of channels and any size of their features. Before `weight` the loss is between
    0 and 2, whatever the size of the features; the paper's weight of 1000 divides it by their number of places first.
    """

    kind: Literal["attention_transfer"] = "attention_transfer"
    """Where the teacher looks, at some feature levels."""
    levels: tuple[str, ...] = ()
    """Feature levels that are compared, such as [stride_4, stride_8]; left empty, all that both networks have."""

    needs_levels: ClassVar[bool] = True

    def loss(self, task: Task, student: Answers, teacher: Answers) -> tf.Tensor:
        """The mean over the levels."""
        from models.distillation import attention_distance

        levels = self.shared(student, teacher)
        distances = [attention_distance(student["levels"][level], teacher["levels"][level]) for level in levels]
        return tf.add_n(distances) / len(distances)

    def shared(self, student: Answers, teacher: Answers) -> list[str]:
        """The levels that are compared."""
        return [*self.levels] or [level for level in student["levels"] if level in teacher["levels"]]

    def check_levels(self, student: Answers, teacher: Answers, name: str) -> None:
        """All levels that are named, or at least one, are there in both."""
        require_levels(self.levels, student["levels"], "the student")
        require_levels(self.levels, teacher["levels"], f"the teacher {name}")
        if not self.shared(student, teacher):
            raise ConfigError(
                f"attention_transfer finds no feature level that the student ({_listed(student['levels'])}) and the "
                f"teacher {name} ({_listed(teacher['levels'])}) share. Leave it out, or choose another backbone."
            )


class Relational(KnowledgeTransfer):
    """How the teacher relates the pictures of a batch to each other (Park et al. 2019, "Relational knowledge
    distillation"): their distances, and the angles between them.

    It counts only while training: what a picture is related to in validation is chance.
    """

    kind: Literal["relational"] = "relational"
    """Distances and angles between the pictures of a batch."""
    of: Literal["features", "outputs"] = "features"
    """What is related: the mean over the places of a feature level, or the raw outputs, which exported teachers too
    show."""
    level: str | None = None
    """Feature level that is related; left out, the last one of each network."""
    distance: float = Field(default=25.0, ge=0.0)
    """What the distances count, as in the paper's classifiers."""
    angle: float = Field(default=50.0, ge=0.0)
    """What the angles count; 0 also saves their memory, which grows with the batch to the power of three."""

    between_pictures: ClassVar[bool] = True

    def loss(self, task: Task, student: Answers, teacher: Answers) -> tf.Tensor:
        """Each picture's relations to all others of the batch, on all replicas."""
        from models.distillation import relational_distance

        return relational_distance(self.vectors(student), self.vectors(teacher), self.distance, self.angle)

    def vectors(self, answers: Answers) -> tf.Tensor:
        """What stands for each picture, [B, D]."""
        from models.distillation import embedding

        if self.of == "outputs":
            outputs = [answers["outputs"][name] for name in sorted(answers["outputs"])]
            return tf.concat([tf.reshape(one, (tf.shape(one)[0], -1)) for one in outputs], axis=-1)
        levels = answers["levels"]
        return embedding(levels[self.level or list(levels)[-1]])

    def check(self, teacher: Teacher) -> None:
        """An exported teacher relates its outputs only."""
        if self.of == "features" and not teacher.has_levels:
            raise ConfigError(
                f"relational looks at features, which the exported teacher {teacher.name} does not show. "
                "Set `of: outputs`, or give the Run that it comes from."
            )

    def check_levels(self, student: Answers, teacher: Answers, name: str) -> None:
        """The level is there in both."""
        if self.of == "features":
            wanted = (self.level,) if self.level else ()
            require_levels(wanted, student["levels"], "the student")
            require_levels(wanted, teacher["levels"], f"the teacher {name}")


AnyTransfer = Annotated[SoftTargets | AttentionTransfer | Relational, Field(discriminator="kind")]
TRANSFERS: dict[str, type[KnowledgeTransfer]] = {
    "soft_targets": SoftTargets,
    "attention_transfer": AttentionTransfer,
    "relational": Relational,
}


def require_levels(wanted: Iterable[str], levels: Iterable[str], owner: str) -> None:
    """Raises ConfigError where a network lacks a level, or has none at all."""
    held = list(levels)
    if not held:
        raise ConfigError(f"The network of {owner} has no feature levels of a backbone of Convoy. Use soft_targets.")
    for level in wanted:
        if level not in held:
            raise ConfigError(f"The network of {owner} has no feature level {level!r}. {nearest(level, held)}")


def _listed(levels: Iterable[str]) -> str:
    return ", ".join(levels) or "none"
