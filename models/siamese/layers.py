"""Keras layers of Siamese networks. Importing this module makes models that hold them loadable.

B = batch, H, W = one of the two pictures, C = channels, h, w = positions, F = features, k = side of what is around one.
"""

from __future__ import annotations

from typing import Any

from models.stack import keras, tf


@keras.saving.register_keras_serializable(package="convoy")
class Unstacked(keras.layers.Layer):
    """Two pictures that stand one above the other become two of the batch, so that one network sees both in one go.

    Input shape: [B,2H,W,C]. Output shape: [2B,H,W,C]: the upper and the lower one of each example, in turns.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        _, height, width, channels = inputs.shape
        return tf.reshape(inputs, [-1, height // 2, width, channels])


@keras.saving.register_keras_serializable(package="convoy")
class Stacked(keras.layers.Layer):
    """The inverse of `Unstacked`.

    Input shape: [2B,h,w,F]. Output shape: [B,2h,w,F].
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        _, height, width, channels = inputs.shape
        return tf.reshape(inputs, [-1, 2 * height, width, channels])


@keras.saving.register_keras_serializable(package="convoy")
class Surroundings(keras.layers.Layer):
    """What stands around each position, channel by channel; zeros beyond the edges.

    Made of shifted copies, which TFLite has in int8 too and copies exactly. (It has no operator that takes patches. A
    depthwise convolution with kernels of a single 1 gives the same, by k*k products where this copies one number.)

    Args:
        size: k, odd: rows and columns of the surroundings.

    Input shape: [B,F,h,w]. Output shape: [B,F,k*k,h*w]: of each channel the copies, row by row of the surroundings.
    """

    def __init__(self, size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        _, channels, height, width = inputs.shape
        margin, steps = self.size // 2, range(self.size)
        wide = tf.pad(inputs, [[0, 0], [0, 0], [margin, margin], [margin, margin]])
        copies = [wide[:, :, row : row + height, column : column + width] for row in steps for column in steps]
        return tf.reshape(tf.stack(copies, axis=2), [-1, channels, self.size**2, height * width])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}
