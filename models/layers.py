"""Keras layers of our own. Importing this module makes models that hold them loadable."""

from __future__ import annotations

from typing import Any

from models.stack import keras, tf


@keras.saving.register_keras_serializable(package="convoy")
class ToFloat(keras.layers.Layer):
    """uint8 [...] 0..255 -> float32 [...] 0..255, whatever the mixed precision policy."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "autocast": False, "trainable": False, **kwargs})

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.cast(inputs, tf.float32)


@keras.saving.register_keras_serializable(package="convoy")
class GeneralizedMeanPooling2D(keras.layers.Layer):
    """The generalised mean (mean of x^p)^(1/p) of each channel, p learned (Radenović et al. 2019, section 3.2).

    p = 1 is the average, a large p close to the maximum; p starts at 3 as in the paper. Computes in float32 also under
    mixed precision, where cubes overflow. In int8 files its powers stay float operators, and tfmot refuses it.

    Args:
        initial_power: what p starts at.
        epsilon: what features below it count as, so that powers and gradients stay finite.

    Input shape: [B, h, w, F]. Output shape: [B, F], float32.
    """

    def __init__(self, initial_power: float = 3.0, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.initial_power = initial_power
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        start = keras.initializers.Constant(self.initial_power)
        at_least_one = keras.constraints.get(AtLeastOne())
        self.power = self.add_weight("power", shape=(), initializer=start, constraint=at_least_one)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        powers = tf.pow(tf.maximum(inputs, self.epsilon), self.power)
        return tf.pow(tf.reduce_mean(powers, axis=[1, 2]), 1.0 / self.power)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial_power": self.initial_power, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="convoy")
class AtLeastOne(keras.constraints.Constraint):
    """Keeps a weight at 1 or above: below it, the generalised mean would prefer what is faint."""

    def __call__(self, weight: tf.Variable) -> tf.Tensor:
        return tf.maximum(weight, 1.0)
