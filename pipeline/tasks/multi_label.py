"""Any number of classes for each picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from models.penalties import AnyClassPenalty, CrossEntropy
from models.stack import keras, tf
from pipeline.data.example import LABELS, DataInfo, Example
from pipeline.metrics.base import Evaluator
from pipeline.tasks.base import Embedding, Meaning, Metric, Task, Tensors, require_one_each
from pipeline.tasks.class_weights import AnyClassWeights, Unweighted
from pipeline.tasks.classification import LEAST_SCORE, named_scores, resolved_classes
from pipeline.tasks.pooled import PooledHead, pooled_embedding

if TYPE_CHECKING:
    from pipeline.metrics.multi_label import MultiLabelEvaluator

UNDECIDED = 0.5


class MultiLabel(Task):
    """Any number of classes for each picture; predictions are `scores` float32 [B,K], each 0..1 for itself."""

    kind: Literal["multi_label"] = "multi_label"
    """The task's name."""
    head: PooledHead = PooledHead()
    """Pooling and dropout between the backbone and the class scores."""
    class_names: tuple[str, ...] = ()
    """The classes in the order of the outputs; left empty, they are taken from the data."""
    thresholds: tuple[float, ...] = ()
    """The score from which on each class counts as present; left empty, they are chosen on the validation split
    for the best F1 of each class."""
    loss: AnyClassPenalty = CrossEntropy()
    """What a wrong answer about a class costs; all but `cross_entropy` bear that some training labels are wrong."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """How far each target is moved towards one half."""
    class_weights: AnyClassWeights = Unweighted()
    """What it counts in the loss that a class is present, against 1 where it is not, for classes of unequal size; kept
    by name once the data is known."""

    any_size: ClassVar[bool] = True
    label_field: ClassVar[str] = LABELS
    metric: ClassVar[Metric] = Metric("mean_average_precision", "max")

    def resolve(self, info: DataInfo) -> MultiLabel:
        """Takes the class names from the data; DataError where there are fewer than two, or other ones than set, or
        where `thresholds` are set but not one for each."""
        self.require(info)
        class_names = resolved_classes(self.class_names, info)
        if self.thresholds:
            require_one_each("thresholds", self.thresholds, class_names)
        return self.model_copy(update={"class_names": class_names, "class_weights": self.class_weights.resolve(info)})

    def encode(self, examples: Example) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Targets: `logits` float32 [B,K], 1 where the class is present, a share where pictures were mixed, NaN where
        that is not known."""
        return {"image": examples["image"]}, {"logits": examples[LABELS]}

    def build(self) -> keras.Model:
        """uint8 `image` -> `logits` float32 [B,K]."""
        return self.head.build(self.picture, self.backbone, len(self.class_names), "logits")

    def embedding(self, model: keras.Model) -> Embedding:
        """The pooled features of the part of a frame within an object's box."""
        return pooled_embedding(model, self.picture)

    def losses(self) -> dict[str, keras.losses.Loss]:
        """The chosen loss of each class by itself, the mean over the classes that are known."""
        from models import losses

        weights = self.class_weights.of(self.class_names)
        return {"logits": losses.PresenceLoss(self.loss, self.label_smoothing, weights)}

    def metrics(self) -> dict[str, list[keras.metrics.Metric]]:
        """The mean over the classes of the area under the precision-recall curve."""
        from models.metrics import KnownAUC

        area = KnownAUC(name="pr_auc", curve="PR", multi_label=True, num_labels=len(self.class_names), from_logits=True)
        return {"logits": [area]}

    @property
    def monitor(self) -> Metric:
        """Validation area under the precision-recall curve."""
        return Metric("pr_auc", "max")

    @property
    def output_names(self) -> tuple[str, ...]:
        """The class names."""
        return self.class_names

    def tuned(self, validation: Evaluator) -> MultiLabel:
        """A copy with the thresholds that give each class its best F1 on the validation split."""
        from pipeline.metrics.multi_label import MultiLabelEvaluator

        if self.thresholds or not isinstance(validation, MultiLabelEvaluator):
            return self
        return self.model_copy(update={"thresholds": validation.best_thresholds()})

    def decode(self, outputs: Tensors) -> dict[str, tf.Tensor]:
        """`scores` float32 [B,K]."""
        return {"scores": tf.math.sigmoid(outputs["logits"], name="scores")}

    def distillation_loss(self, student: Tensors, teacher: Tensors, temperature: float) -> tf.Tensor:
        """The divergence of the softened probabilities that a class is present, the mean over the classes."""
        from models import distillation

        return distillation.softened_sigmoid(student["logits"], teacher["logits"], temperature)

    def raw_outputs(self, predictions: Tensors) -> Tensors:
        """The log-odds of the scores."""
        scores = tf.clip_by_value(predictions["scores"], LEAST_SCORE, 1.0 - LEAST_SCORE)
        return {"logits": tf.math.log(scores) - tf.math.log1p(-scores)}

    def meanings(self) -> dict[str, Meaning]:
        """What `scores` says."""
        text = "Probability that each class is present, in the labels' order."
        return {"scores": Meaning(text, 0.0, 1.0, threshold=0.0)}

    def example_signatures(self, predictions: Tensors) -> dict[str, dict[str, tf.Tensor]]:
        """`classify`: every class with its score."""
        return {"classify": named_scores(self.class_names, predictions["scores"])}

    def evaluator(self) -> MultiLabelEvaluator:
        """Mean average precision, F1 at the thresholds."""
        from pipeline.metrics.multi_label import MultiLabelEvaluator

        return MultiLabelEvaluator(self.class_names, self.thresholds or None)

    def answer(self, prediction: Tensors) -> dict[str, Any]:
        """The classes whose score reaches their threshold, best first."""
        limits = self.thresholds or (UNDECIDED,) * len(self.class_names)
        scored = zip(self.class_names, prediction["scores"].tolist(), limits, strict=True)
        present = [{"label": name, "score": round(score, 6)} for name, score, limit in scored if score >= limit]
        return {"labels": sorted(present, key=lambda entry: -float(str(entry["score"])))}
