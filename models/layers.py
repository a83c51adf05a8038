"""Keras layers of our own. Importing this module makes models that hold them loadable."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from models.stack import keras, tf
from models.suppression import SuppressionSettings, of_kind


@keras.saving.register_keras_serializable(package="convoy")
class ToFloat(keras.layers.Layer):
    """uint8 [...] 0..255 -> float32 [...] 0..255, whatever the mixed precision policy."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "autocast": False, "trainable": False, **kwargs})

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.cast(inputs, tf.float32)


class InFloat(keras.layers.Layer):
    """The base of what computes in float32 within a network, also where an int8 file computes all else in integers:
    what makes boxes of numbers, and says where they lie. It has no weights."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})


@keras.saving.register_keras_serializable(package="convoy")
class GeneralizedMeanPooling2D(keras.layers.Layer):
    """The generalised mean (mean of x^p)^(1/p) of each channel, p learned (Radenović et al. 2019, section 3.2).

    p = 1 is the average, a large p close to the maximum; p starts at 3 as in the paper. Computes in float32 also under
    mixed precision, where cubes overflow.

    Powers have no int8 operator and a range that eight bits do not span. So this computes max * (mean of (x / max)^p) ^
    (1/p) by logarithms and exponentials, which int8 has as tables: the quotients lie in 0..1, and the maximum itself
    goes through unchanged.

    Args:
        initial_power: what p starts at.
        epsilon: what features below it count as, so that logarithms and gradients stay finite. Smaller ones cost int8
            accuracy: its 256 levels are spread over the logarithms from here on.

    Input shape: [B, h, w, F]. Output shape: [B, F], float32.
    """

    def __init__(self, initial_power: float = 3.0, epsilon: float = 1e-3, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.initial_power = initial_power
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        start = keras.initializers.Constant(self.initial_power)
        at_least_one = keras.constraints.get(AtLeastOne())
        self.power = self.add_weight("power", shape=(), initializer=start, constraint=at_least_one)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        features = tf.maximum(inputs, self.epsilon)
        logarithms = tf.math.log(features)
        greatest = tf.reduce_max(logarithms, axis=[1, 2], keepdims=True)
        shares = tf.exp((logarithms - greatest) * self.power)  # (x / max) ^ p
        return tf.reduce_max(features, axis=[1, 2]) * tf.exp(
            tf.math.log(tf.reduce_mean(shares, axis=[1, 2])) / self.power
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial_power": self.initial_power, "epsilon": self.epsilon}


class AxisReduction(keras.layers.Layer):
    """Many values along an axis become one: [B, h, w, F] -> the same with a 1 there.

    Args:
        axis: 1 for the rows, 2 for the columns, -1 for the channels.
    """

    def __init__(self, axis: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


@keras.saving.register_keras_serializable(package="convoy")
class AxisMean(AxisReduction):
    """The mean along an axis. In int8 it has a range of its own, which averages need: average pooling keeps that of its
    input, in which they are a few levels apart."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(inputs, axis=self.axis, keepdims=True)


@keras.saving.register_keras_serializable(package="convoy")
class AxisMaximum(AxisReduction):
    """The largest value along an axis."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(inputs, axis=self.axis, keepdims=True)


@keras.saving.register_keras_serializable(package="convoy")
class MatrixProduct(keras.layers.Layer):
    """The matrix product of two inputs [..., n, k] and [..., k, m] -> [..., n, m].

    Args:
        transpose: the second input comes as [..., m, k].
    """

    def __init__(self, transpose: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.transpose = transpose

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        left, right = inputs
        return tf.matmul(left, right, transpose_b=self.transpose)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "transpose": self.transpose}


@keras.saving.register_keras_serializable(package="convoy")
class Clip(keras.layers.Layer):
    """Everything below `low` becomes `low`, everything above `high` becomes `high`; any shape in, the same shape out.

    For logits and raw box numbers where a network ends: the few that are far out would else take int8's levels from all
    others.
    """

    def __init__(self, low: float, high: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.low = low
        self.high = high

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high}


@keras.saving.register_keras_serializable(package="convoy")
class WeightedSum(keras.layers.Layer):
    """A sum with learned shares: fast normalised fusion (Tan et al. 2020, "EfficientDet", section 3.3).

    Each input has a weight >= 0, and its share is the weight divided by the sum of all.

    Input shape: several [B, h, w, F]. Output shape: the same, once.
    """

    epsilon = 1e-4
    """Added to the sum of the weights, as in the paper."""

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        settings = {"shape": (), "initializer": "ones", "constraint": keras.constraints.NonNeg()}
        self.parts = [self.add_weight(f"part_{number}", **settings) for number in range(len(input_shape))]
        super().build(input_shape)

    def shares(self) -> tf.Tensor:
        """What each input is multiplied by."""
        parts = tf.stack(self.parts)
        return parts / (tf.reduce_sum(parts) + self.epsilon)

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        shares = tf.unstack(tf.cast(self.shares(), inputs[0].dtype), len(inputs))
        # One by one: the sum of many at once has no int8 operator.
        return reduce(add, [share * values for share, values in zip(shares, inputs, strict=True)])


@keras.saving.register_keras_serializable(package="convoy")
class AtLeastOne(keras.constraints.Constraint):
    """Keeps a weight at 1 or above: below it, the generalised mean would prefer what is faint."""

    def __call__(self, weight: tf.Variable) -> tf.Tensor:
        return tf.maximum(weight, 1.0)


@keras.saving.register_keras_serializable(package="convoy")
class Suppress(keras.layers.Layer):
    """Non-maximum suppression as a layer, which is traced anew for batches of any size and for the one picture of a
    `.tflite`.

    Args:
        settings: a kind of `models.suppression`, or its fields as a dict.

    Input shape: boxes [B,P,4] and scores [B,P,K]. Output shape: see `SuppressionSettings.select`.
    """

    def __init__(self, settings: SuppressionSettings | dict[str, Any], **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.settings = settings if isinstance(settings, SuppressionSettings) else of_kind(settings)

    def call(self, inputs: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        boxes, scores = inputs
        return self.settings.chosen(boxes, scores)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "settings": self.settings.model_dump()}
