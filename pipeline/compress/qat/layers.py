"""Layers of one int8 operator each, of which `simplify` makes the layers that have none of their own."""

from __future__ import annotations

from typing import Any

from models.stack import keras, tf


@keras.saving.register_keras_serializable(package="convoy")
class ChannelAffine(keras.layers.DepthwiseConv2D):
    """factor * x + offset with a factor and an offset a channel, [B, h, w, F] -> the same shape.

    A depthwise 1x1 convolution, whose int8 operator has a scale a channel; a multiplication has one for all factors.
    As each channel has a single weight, eight bits hold it exactly, and it needs no fake quantization.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "kernel_size": 1})

    def get_build_config(self) -> None:
        """Loaded without weights, as Keras' own layers are, which the wrapper then makes: it takes those that are there
        already for its own too, and a file does not hold them twice."""


@keras.saving.register_keras_serializable(package="convoy")
class UnitLength(keras.layers.Layer):
    """[..., F] -> the same direction at length 1; TFLite's L2_NORMALIZATION."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(inputs, axis=-1)


@keras.saving.register_keras_serializable(package="convoy")
class LogarithmFrom(keras.layers.Layer):
    """log(max(x, least)); in int8 a table. Least comes before the logarithm without a rounding between them, and what
    int8 rounds to 0 becomes the lowest level of the table, which is log(least) as well.

    Args:
        least: above 0.
    """

    def __init__(self, least: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.least = least

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.maximum(inputs, self.least))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "least": self.least}
