"""Numbers for each picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.penalties import AnyNumberPenalty, Huber
from models.stack import keras, tf
from pipeline.data.example import VALUE, DataInfo, Example
from pipeline.tasks.base import Embedding, Meaning, Metric, Task, Tensors, require_one_each
from pipeline.tasks.pooled import PooledHead, pooled_embedding

if TYPE_CHECKING:
    from pipeline.metrics.regression import RegressionEvaluator


class Regression(Task):
    """K numbers for each picture; predictions are `values` float32 [B,K] in the targets' own units.

    The network learns standardised targets (mean 0, standard deviation 1 over the training split); `decode` undoes
    that inside the exported graph.
    """

    kind: Literal["regression"] = "regression"
    """The task's name."""
    head: PooledHead = PooledHead()
    """Pooling and dropout between the backbone and the numbers."""
    loss: AnyNumberPenalty = Huber()
    """What an error of the standardised targets costs; all but `squared` keep outliers among them from leading."""
    value_names: tuple[str, ...] = ()
    """Names of the numbers; left empty, they are taken from the data."""
    value_mean: tuple[float, ...] = ()
    """Mean of each target; left empty, that of the training split."""
    value_std: tuple[float, ...] = ()
    """Standard deviation of each target; left empty, that of the training split."""

    any_size: ClassVar[bool] = True
    label_field: ClassVar[str] = VALUE
    metric: ClassVar[Metric] = Metric("mean_absolute_error", "min")

    def resolve(self, info: DataInfo) -> Regression:
        """Takes names, means and deviations of the targets from the data; DataError where those set are too few or
        too many."""
        self.require(info)
        filled = {
            "value_names": self.value_names or info.value_names,
            "value_mean": self.value_mean or info.value_mean,
            "value_std": self.value_std or info.value_std,
        }
        for setting, values in filled.items():
            require_one_each(setting, values, info.value_names)
        return self.model_copy(update=filled)

    def encode(self, examples: Example) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Targets: `standardised` float32 [B,K], NaN where not known."""
        targets = (examples[VALUE] - tf.constant(self.value_mean)) / tf.constant(self.value_std)
        return {"image": examples["image"]}, {"standardised": targets}

    def build(self) -> keras.Model:
        """uint8 `image` -> `standardised` float32 [B,K]."""
        return self.head.build(self.picture, self.backbone, len(self.value_names), "standardised")

    def embedding(self, model: keras.Model) -> Embedding:
        """The pooled features of the part of a frame within an object's box."""
        return pooled_embedding(model, self.picture)

    def losses(self) -> dict[str, keras.losses.Loss]:
        """The chosen loss of the standardised targets, the mean over those that are known."""
        from models import losses

        return {"standardised": losses.NumberLoss(self.loss)}

    def metrics(self) -> dict[str, list[keras.metrics.Metric]]:
        """Mean absolute error in standard deviations."""
        from models.metrics import KnownAbsoluteError

        return {"standardised": [KnownAbsoluteError(name="standardised_error")]}

    @property
    def monitor(self) -> Metric:
        """Validation mean absolute error."""
        return Metric("standardised_error", "min")

    @property
    def output_names(self) -> tuple[str, ...]:
        """The targets' names."""
        return self.value_names

    def decode(self, outputs: Tensors) -> dict[str, tf.Tensor]:
        """`values` float32 [B,K] in the targets' own units."""
        scaled = outputs["standardised"] * tf.constant(self.value_std)
        return {"values": tf.add(scaled, tf.constant(self.value_mean), name="values")}

    def outputs_of(self, teacher: Task, outputs: Tensors) -> Tensors:
        """The teacher's targets may have had another mean and deviation."""
        return self.raw_outputs(teacher.decode(outputs))

    def raw_outputs(self, predictions: Tensors) -> Tensors:
        """The values, standardised."""
        values = predictions["values"] - tf.constant(self.value_mean)
        return {"standardised": values / tf.constant(self.value_std)}

    def meanings(self) -> dict[str, Meaning]:
        """What `values` says."""
        return {"values": Meaning(f"In the targets' own units, in this order: {', '.join(self.value_names)}.")}

    def example_signatures(self, predictions: Tensors) -> dict[str, dict[str, tf.Tensor]]:
        """`regress` where there is one number; TensorFlow Serving's Regress knows no more."""
        return {"regress": {"outputs": predictions["values"]}} if len(self.value_names) == 1 else {}

    def evaluator(self) -> RegressionEvaluator:
        """Mean absolute error, root mean squared error, R2, each target for itself too."""
        from pipeline.metrics.regression import RegressionEvaluator

        return RegressionEvaluator(self.value_names)

    def answer(self, prediction: Tensors) -> dict[str, Any]:
        """Each target's value by name."""
        pairs = zip(self.value_names, prediction["values"].tolist(), strict=True)
        return {"values": {name: round(value, 6) for name, value in pairs}}
