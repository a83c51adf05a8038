"""The Task interface: one problem, from Examples to scored predictions.

Shared code calls only what stands here, so that no stage ever asks which task it has.
B = batch, H, W, C = picture, K = classes or targets.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from models.backbones import Backbone, SmallResNet
from models.preprocess import PictureFormat
from models.settings import Settings
from pipeline.data.example import DataInfo, Example
from pipeline.errors import ConfigError, DataError
from pipeline.metrics.base import Evaluator
from pipeline.wording import quantity

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    import tf_keras as keras

    from models.detectors.base import FromAnchors
    from pipeline.augment.base import Augmentation

Tensors = Mapping[str, Any]
Content = Literal["feature", "boxes", "categories", "scores", "count"]
"""What a prediction's numbers are. The last four belong together and speak of objects, M a picture at most: `boxes`
[B,M,4] x_min, y_min, x_max, y_max as shares of the picture, `categories` [B,M] indices of the task's names, `scores`
[B,M], and `count` [B], how many of the M there are. A `feature` is anything else."""


@dataclass(frozen=True)
class Metric:
    """The number a task is judged by.

    Args:
        name: key in the evaluator's result, such as `accuracy`.
        direction: whether larger or smaller is better.
    """

    name: str
    direction: Literal["max", "min"]

    def drop(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`, in the metric's own unit; negative where it is better."""
        return before - after if self.direction == "max" else after - before


@dataclass(frozen=True)
class Meaning:
    """What a prediction says, for the contract that is written beside every export.

    Args:
        text: one sentence.
        low, high: the range of its values; None where there is no bound.
        content: what its numbers are. The last axis of a `feature` has one entry for each of the task's names, where it
            is as long.
        threshold: the value below which it is better not shown; None where it is not for choosing by.
    """

    text: str
    low: float | None = None
    high: float | None = None
    content: Content = "feature"
    threshold: float | None = None


@dataclass(frozen=True)
class Anchored:
    """Predictions of which a runtime makes boxes by itself.

    Args:
        decode: raw outputs -> `location` float32 [B,P,4], steps from anchors, and `score` float32 [B,P,K], 0..1.
        boxes: the anchors, and how steps are scaled.
        choose: boxes as shares of the picture float32 [B,P,4], and scores float32 [B,P,K] -> the task's predictions.
        meanings: of `location` and `score`, by name.
    """

    decode: Callable[[Tensors], dict[str, Any]]
    boxes: FromAnchors
    choose: Callable[[Any, Any], dict[str, Any]]
    meanings: Mapping[str, Meaning]


@dataclass(frozen=True)
class Embedding:
    """What one object looks like, as numbers.

    Args:
        model: `image` uint8 [B,h,w,C] -> `embedding` float32 [B,E], to be compared by its direction.
        cut: a frame uint8 [h,w,3] and an object's corners float64 [4] in pixels -> the `image` of it, uint8 [h,w,C].
    """

    model: keras.Model
    cut: Callable[[np.ndarray, np.ndarray], np.ndarray]


class Task(Settings):
    """One problem. Its fields are its settings; those that the data decides are filled in by `resolve`."""

    picture: PictureFormat = PictureFormat()
    """Size and channels of the pictures that the model takes, and how a picture is brought to that size."""
    backbone: Backbone = Field(default_factory=SmallResNet, discriminator="kind")
    """The network that turns a picture into features."""

    label_field: ClassVar[str]
    """The Example's field that holds what is to be learned."""
    metric: ClassVar[Metric]
    """What the task is judged by."""
    part_names: ClassVar[tuple[str, ...]] = ()
    """The parts that its networks ship in, in the order in which they are called; none where they are called whole."""

    @abstractmethod
    def resolve(self, info: DataInfo) -> Task:
        """A copy with the fields that the data decides (class names, target statistics) filled in.

        Raises:
            DataError: the data does not fit the task, such as one class only.
        """

    @abstractmethod
    def encode(self, examples: Example) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """A batch of Examples -> (inputs, targets) by name, fixed shapes; runs inside tf.data, after augmentation."""

    def conditions(self, examples: Example) -> Example:
        """What the evaluator breaks its measures down by and pictures have to be looked at for, by the Example's names;
        nothing by default. Runs inside tf.data, on batches that are evaluated."""
        return {}

    @abstractmethod
    def build(self) -> keras.Model:
        """A flat functional graph: `image` uint8 [B,H,W,C] in, named raw outputs out. Random or pretrained weights."""

    @abstractmethod
    def losses(self) -> dict[str, keras.losses.Loss]:
        """Output name -> loss that gives one value per example [B]; only the framework reduces."""

    @abstractmethod
    def decode(self, outputs: Tensors) -> dict[str, tf.Tensor]:
        """Raw outputs, of the network `with_views`, -> predictions, in TensorFlow builtin operators only; exported
        inside the graph."""

    @abstractmethod
    def evaluator(self) -> Evaluator:
        """A fresh evaluator of predictions against examples."""

    @abstractmethod
    def answer(self, prediction: Tensors) -> dict[str, Any]:
        """One decoded prediction (no batch axis, numpy) as plain values to show: `{"label": "rose", "score": 0.9}`."""

    def metrics(self) -> dict[str, list[keras.metrics.Metric]]:
        """Output name -> metrics shown while training; examples weighted 0 are padding."""
        return {}

    @property
    def name(self) -> str:
        """The task's kind."""
        return str(type(self).model_fields["kind"].default)

    @property
    def monitor(self) -> Metric:
        """The validation number that chooses the best checkpoint, without its `val_` prefix."""
        return Metric("loss", "min")

    @property
    def any_size(self) -> bool:
        """Whether its network takes pictures of any size while it is trained: nothing in it but convolutions, up to
        where all places are pooled."""
        return False

    @property
    def size_multiple(self) -> int:
        """What the sides of pictures have to be multiples of where it is trained at several sizes."""
        return 1

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the entries of each output's last axis: the class names, or the targets' names."""
        return ()

    def tuned(self, validation: Evaluator) -> Task:
        """A copy with what is chosen on the validation split after training, such as thresholds."""
        return self

    def meanings(self) -> dict[str, Meaning]:
        """Name of each decoded prediction -> what it says."""
        return {}

    def drawing(self, prediction: Tensors) -> dict[str, np.ndarray]:
        """What of one decoded prediction can be drawn on its picture, by the Example's names; nothing by default."""
        return {}

    def placed(self, prediction: Tensors, window: np.ndarray) -> Tensors:
        """One decoded prediction with its places as shares of the picture that was given, for tasks that have any.

        Args:
            prediction: no batch axis, numpy; its places are shares of the model's picture.
            window: float [4], what of the given picture that shows (`preprocess.fit_window`).
        """
        return prediction

    def merged(self, parts: Sequence[tuple[Tensors, np.ndarray]]) -> Tensors:
        """One prediction of several views of a picture, its places as shares of the whole picture.

        Args:
            parts: a decoded prediction and the window that it is of (see `placed`), each; the whole picture first.

        Raises:
            ConfigError: answers of this task are not places.
        """
        raise ConfigError(
            f"The task {self.name!r} answers for a picture as a whole: leave out --tile and --mirror, which are for "
            "objects in places."
        )

    def comparable(self, expected: Tensors, found: Tensors) -> Tensors:
        """`found` [B, ...] as it can be compared with `expected` number by number; the same where order says nothing
        in itself."""
        return found

    def example_signatures(self, predictions: Tensors) -> dict[str, dict[str, tf.Tensor]]:
        """What TensorFlow Serving's Classify and Regress answer, built inside the graph, for the tasks that they fit.

        `classify` gives `classes` string [B,K] and `scores` float32 [B,K]; `regress` gives `outputs` float32 [B,1].
        """
        return {}

    def training_model(self, model: keras.Model) -> keras.Model:
        """The model that is fitted; another one where ground truth must enter the graph."""
        return model

    def parts(self, model: keras.Model) -> dict[str, keras.Model]:
        """What production calls one after the other in place of the whole network, by `part_names`; nothing by default.

        Layers and weights are shared. Each part takes `image` and, by name, what parts before it give; the last one
        gives the raw outputs.

        Args:
            model: as `build` makes it, or that `graphs.with_float_input`.
        """
        return {}

    def part_pictures(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """What of pictures [B,H,W,C] each of the `parts` sees, by its name."""
        return {}

    def embedding(self, model: keras.Model) -> Embedding:
        """What the network knows of how one object looks, for trackers.

        Args:
            model: trained, as `build` makes it.

        Raises:
            ConfigError: what it knows is of many places in a picture, not of one object.
        """
        raise ConfigError(
            f"A network of the task {self.name!r} answers for many places in a picture and describes no single object, "
            "so objects cannot be told apart by it. Give appearance.run a Run of the task single_object_tracking, or "
            "of one that answers for what it sees as a whole, such as classification."
        )

    def require_suited(self, operations: Sequence[Augmentation]) -> None:
        """Raises ConfigError where one of the operations would make pictures from which this cannot be learned."""

    def distillation_loss(self, student: Tensors, teacher: Tensors, temperature: float) -> tf.Tensor:
        """How far a student's raw outputs are from a teacher's, one value per example [B]; labels play no part.

        By default the squared error of each output, all summed. A task with probabilities compares those, softened by
        the temperature, and scaled so that gradients do not shrink with it.
        """
        from models.distillation import squared_error

        return sum(squared_error(student[name], teacher[name]) for name in sorted(student))

    def outputs_of(self, teacher: Task, outputs: Tensors) -> Tensors:
        """The raw outputs of a network that another setting of this task trained, as this one's network would give
        them; the same where raw outputs do not depend on the data."""
        return outputs

    def raw_outputs(self, predictions: Tensors) -> Tensors:
        """The inverse of `decode`, as far as there is one, for teachers of which only the decoded answers are known.

        Raises:
            ConfigError: what decoding leaves out cannot be got back.
        """
        raise ConfigError(
            f"The raw outputs of the task {self.name!r} cannot be got back from its predictions, so an exported file "
            "cannot teach it. Give the Run that the file comes from."
        )

    def anchored(self) -> Anchored:
        """Decoding that leaves boxes and suppression to a runtime that knows anchors, such as MediaPipe.

        Raises:
            ConfigError: this task has no anchors.
        """
        raise ConfigError(
            f"`export.anchored` writes detectors for runtimes that know anchors, but the task {self.name!r} has none. "
            "Leave export.anchored out.",
            ("export", "anchored"),
        )

    def serving_model(self, model: keras.Model) -> keras.Model:
        """The model that ships: the same picture in, `decode`d predictions out, names and order fixed."""
        from models.stack import keras

        return keras.Model(model.inputs, self.decode(named_outputs(self.with_views(model))), name="serving")

    def with_views(self, model: keras.Model) -> keras.Model:
        """The network whose raw outputs are decoded: the same, or one that looks at a picture several times."""
        return model

    def require(self, info: DataInfo) -> None:
        """Raises DataError where the data does not hold what this task learns."""
        if self.label_field not in info.fields:
            raise DataError(
                f"The task learns from the field {self.label_field!r}, but the data holds {', '.join(info.fields)}. "
                f"Point the source at a column or folders that give {self.label_field!r}, or choose another task."
            )
        if self.picture.marks_missing and not info.marks_missing:
            raise DataError(
                f"task.picture.channels is {self.picture.channels}, the last of which says what is missing in a "
                "picture, but the prepared data does not keep that. Set data.missing_regions.mark=true, or "
                f"task.picture.channels={self.picture.colours}."
            )


def named_outputs(model: keras.Model) -> dict[str, Any]:
    """The symbolic outputs of a functional model by name."""
    return dict(zip(model.output_names, model.outputs, strict=True))


def require_one_each(setting: str, values: Sequence[Any], names: Sequence[str]) -> None:
    """Raises DataError where a setting that has one entry for each of the data's names has more or fewer."""
    if len(values) != len(names):
        raise DataError(
            f"task.{setting} has {quantity(len(values), 'entry', 'entries')}, but the data holds {len(names)}: "
            f"{', '.join(names)}. Give one for each, in this order, or leave task.{setting} out."
        )
