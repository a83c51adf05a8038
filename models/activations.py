"""Keras layers in place of the op layers of keras.applications. Importing this module makes models with them loadable.

The names of op layers are not stable, tfmot refuses them, and they cannot be told from each other in a graph.
"""

from __future__ import annotations

from typing import Any

from models.stack import keras, tf


@keras.saving.register_keras_serializable(package="convoy")
class HardSigmoid(keras.layers.Layer):
    """relu6(x + 3) / 6, a sigmoid of straight lines (Howard et al. 2019, "Searching for MobileNetV3", section 5.2).

    Any shape in, the same shape out, 0..1.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu6(inputs + 3.0) * (1.0 / 6.0)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        return input_shape


@keras.saving.register_keras_serializable(package="convoy")
class HardSwish(keras.layers.Layer):
    """x * relu6(x + 3) / 6 (Howard et al. 2019, "Searching for MobileNetV3", section 5.2).

    Any shape in, the same shape out, >= -0.375. TFLite has it as one operator.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * tf.nn.relu6(inputs + 3.0) * (1.0 / 6.0)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        return input_shape


@keras.saving.register_keras_serializable(package="convoy")
class Scale(keras.layers.Layer):
    """Each channel times a learned factor: LayerScale (Touvron et al. 2021, "Going deeper with Image Transformers",
    section 2.1).

    Args:
        initial: what the factors start at.

    Input shape: [..., F]. Output shape: the same.
    """

    def __init__(self, initial: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape: tf.TensorShape) -> None:
        start = keras.initializers.Constant(self.initial)
        self.gamma = self.add_weight("gamma", shape=(input_shape[-1],), initializer=start)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * self.gamma

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial": self.initial}


@keras.saving.register_keras_serializable(package="convoy")
class ConstantScale(keras.layers.Layer):
    """Everything times one constant, as Inception-ResNet damps its residuals (Szegedy et al. 2017, section 3.3).

    Args:
        factor: the constant.

    Any shape in, the same shape out.
    """

    def __init__(self, factor: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * self.factor

    def compute_output_shape(self, input_shape: tf.TensorShape) -> tf.TensorShape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="convoy")
class StochasticDepth(keras.layers.Dropout):
    """Leaves out the residual branch of whole examples while training (Huang et al. 2016, "Deep Networks with
    Stochastic Depth"); what stays is scaled up, so that nothing changes at inference.

    Args:
        rate: share of the examples whose branch is left out.

    Input shape: [B, h, w, F]. Output shape: the same.
    """

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(rate, **{**kwargs, "noise_shape": (None, 1, 1, 1)})
