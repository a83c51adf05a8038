"""One class for each picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from models.penalties import AnyClassPenalty, CrossEntropy
from models.stack import keras, tf
from pipeline.data.example import LABEL, LABEL_PARTS, LABEL_SHARES, DataInfo, Example
from pipeline.errors import DataError
from pipeline.tasks.base import Embedding, Meaning, Metric, Task, Tensors
from pipeline.tasks.class_weights import AnyClassWeights, Unweighted
from pipeline.tasks.pooled import PooledHead, pooled_embedding

if TYPE_CHECKING:
    from pipeline.metrics.classification import ClassificationEvaluator

LEAST_SCORE = 1e-7
"""Smaller scores, such as the zeros of a quantized file, count as this one where logits are got back."""


class Classification(Task):
    """One class for each picture; predictions are `scores` float32 [B,K], 0..1, that sum to 1."""

    kind: Literal["classification"] = "classification"
    """The task's name."""
    head: PooledHead = PooledHead()
    """Pooling and dropout between the backbone and the class scores."""
    class_names: tuple[str, ...] = ()
    """The classes in the order of the outputs; left empty, they are taken from the data."""
    loss: AnyClassPenalty = CrossEntropy()
    """What a wrong answer costs; all but `cross_entropy` bear that some of the training labels are wrong."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each target spread evenly over all classes (Szegedy et al. 2016, section 7)."""
    class_weights: AnyClassWeights = Unweighted()
    """What the pictures of each class count in the loss, for classes of unequal size; kept by name once the data is
    known."""

    any_size: ClassVar[bool] = True
    label_field: ClassVar[str] = LABEL
    metric: ClassVar[Metric] = Metric("accuracy", "max")

    def resolve(self, info: DataInfo) -> Classification:
        """Takes the class names from the data; DataError where there are fewer than two, or other ones than set."""
        self.require(info)
        class_names = resolved_classes(self.class_names, info)
        return self.model_copy(update={"class_names": class_names, "class_weights": self.class_weights.resolve(info)})

    def encode(self, examples: Example) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Targets: `logits` float32 [B,K], one-hot; shares where pictures were mixed; zeros where nothing is known."""
        return {"image": examples["image"]}, {"logits": class_shares(examples, len(self.class_names))}

    def build(self) -> keras.Model:
        """uint8 `image` -> `logits` float32 [B,K]."""
        return self.head.build(self.picture, self.backbone, len(self.class_names), "logits")

    def embedding(self, model: keras.Model) -> Embedding:
        """The pooled features of the part of a frame within an object's box."""
        return pooled_embedding(model, self.picture)

    def losses(self) -> dict[str, keras.losses.Loss]:
        """The chosen loss of the softmax, with label smoothing and class weights."""
        from models import losses

        weights = self.class_weights.of(self.class_names)
        return {"logits": losses.ClassLoss(self.loss, self.label_smoothing, weights)}

    def metrics(self) -> dict[str, list[keras.metrics.Metric]]:
        """The share of right first choices."""
        from models.metrics import KnownAccuracy

        return {"logits": [KnownAccuracy(name="accuracy")]}

    @property
    def monitor(self) -> Metric:
        """Validation accuracy."""
        return Metric("accuracy", "max")

    @property
    def output_names(self) -> tuple[str, ...]:
        """The class names."""
        return self.class_names

    def decode(self, outputs: Tensors) -> dict[str, tf.Tensor]:
        """`scores` float32 [B,K]."""
        return {"scores": tf.nn.softmax(outputs["logits"], name="scores")}

    def distillation_loss(self, student: Tensors, teacher: Tensors, temperature: float) -> tf.Tensor:
        """The divergence of the two softened distributions over the classes (Hinton et al. 2015)."""
        from models import distillation

        return distillation.softened_softmax(student["logits"], teacher["logits"], temperature)

    def raw_outputs(self, predictions: Tensors) -> Tensors:
        """The logarithms of the scores, which are the logits but for a constant that no softmax sees."""
        return {"logits": tf.math.log(tf.maximum(predictions["scores"], LEAST_SCORE))}

    def meanings(self) -> dict[str, Meaning]:
        """What `scores` says."""
        text = "Probability of each class, in the labels' order; they sum to 1."
        return {"scores": Meaning(text, 0.0, 1.0, threshold=0.0)}

    def example_signatures(self, predictions: Tensors) -> dict[str, dict[str, tf.Tensor]]:
        """`classify`: every class with its score."""
        return {"classify": named_scores(self.class_names, predictions["scores"])}

    def evaluator(self) -> ClassificationEvaluator:
        """Accuracy, top-5, F1, areas under curves, calibration."""
        from pipeline.metrics.classification import ClassificationEvaluator

        return ClassificationEvaluator(self.class_names)

    def answer(self, prediction: Tensors) -> dict[str, Any]:
        """The best class with its score, and the five best."""
        ranked = sorted(zip(self.class_names, prediction["scores"].tolist(), strict=True), key=lambda pair: -pair[1])
        best = [{"label": name, "score": round(score, 6)} for name, score in ranked[:5]]
        return {**best[0], "best": best}


def class_shares(examples: Example, num_classes: int) -> tf.Tensor:
    """The share of each class in a batch of Examples, float32 [B,K]: rows sum to 1; zeros where no class is known.

    A mixed picture has the shares of its parts; parts whose class is not known leave theirs to the others.
    """
    if LABEL_PARTS not in examples:
        return tf.one_hot(examples[LABEL], num_classes)  # zeros for -1
    parts = tf.one_hot(examples[LABEL_PARTS], num_classes)  # [B,M,K]
    shares = tf.reduce_sum(parts * examples[LABEL_SHARES][..., tf.newaxis], axis=1)
    return tf.math.divide_no_nan(shares, tf.reduce_sum(shares, axis=-1, keepdims=True))


def named_scores(class_names: tuple[str, ...], scores: tf.Tensor) -> dict[str, tf.Tensor]:
    """`classes` string [B,K] beside `scores` float32 [B,K], as TensorFlow Serving's Classify answers."""
    names = tf.broadcast_to(tf.constant(class_names), tf.shape(scores))
    return {"classes": tf.ensure_shape(names, scores.shape), "scores": scores}


def resolved_classes(chosen: tuple[str, ...], info: DataInfo) -> tuple[str, ...]:
    """The class names of the data, checked against those that the configuration names.

    Raises:
        DataError: other names than configured, or fewer than two classes.
    """
    names = info.class_names
    if chosen and chosen != names:
        raise DataError(
            f"task.class_names is {list(chosen)}, but the data holds {list(names)}. "
            "Leave task.class_names out to take them from the data, or correct the data."
        )
    if len(names) < 2:
        raise DataError(f"A classifier needs at least two classes; the data holds {len(names)}: {list(names)}.")
    return names
