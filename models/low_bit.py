"""Layers that compute with weights of few bits while they train: what they compute with is what ships.

A wrapped layer keeps its float ("latent") weights; each step rounds them, and gradients pass the rounding straight
through. Weights are looked at in rows: one row an output channel, its weights in the order of a `.tflite` file
(height, width, input channel), cut into blocks that share a scale.

R = rows, N = weights of a row, K = blocks of a row, B = weights of a block (K x B = N).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models.stack import keras, tf

Array = Any
"""A numpy array or a TensorFlow tensor: the functions of rows take both."""

KERNELS = {"Conv2D": "kernel", "DepthwiseConv2D": "depthwise_kernel", "Dense": "kernel", "Conv2DTranspose": "kernel"}
"""Class of a layer that can have weights of few bits -> its attribute that holds them."""
_ROWS_FIRST = {
    "Conv2D": (3, 0, 1, 2),
    "DepthwiseConv2D": (2, 3, 0, 1),
    "Dense": (1, 0),
    "Conv2DTranspose": (2, 0, 1, 3),
}
_ROW_AXES = {"DepthwiseConv2D": 2}
SMALLEST = 1e-12
"""Scale of a channel whose weights are all 0."""


def can_be_low_bit(layer: keras.layers.Layer) -> bool:
    """Whether it is a layer whose weights these wrappers know; a subclass may do anything with its kernel."""
    kind = type(layer).__name__
    return kind in KERNELS and type(layer) is getattr(keras.layers, kind)


def rows_of(kernel: Array, kind: str, transpose: Callable[..., Array] = np.transpose) -> Array:
    """A layer's kernel -> [R, N]."""
    moved = transpose(kernel, _ROWS_FIRST[kind])
    rows = int(np.prod(moved.shape[: _ROW_AXES.get(kind, 1)]))
    return _reshaped(moved, (rows, -1))


def kernel_of(rows: Array, kind: str, shape: tuple[int, ...], transpose: Callable[..., Array] = np.transpose) -> Array:
    """[R, N] -> a layer's kernel of that shape."""
    order = _ROWS_FIRST[kind]
    moved = _reshaped(rows, tuple(shape[axis] for axis in order))
    return transpose(moved, tuple(int(place) for place in np.argsort(order)))


def _reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    return array.reshape(shape) if isinstance(array, np.ndarray) else tf.reshape(array, shape)


class LowBitWeights(keras.layers.Wrapper):
    """A layer that computes with rounded weights; the base of the two kinds below.

    Args:
        layer: Conv2D, DepthwiseConv2D, Dense or Conv2DTranspose.
        block: how many weights share a scale; all of an output channel by default.

    Raises:
        ValueError: `layer` is of another class, or `block` does not divide the weights of an output channel.
    """

    def __init__(self, layer: keras.layers.Layer, block: int | None = None, **kwargs: Any):
        if not can_be_low_bit(layer):
            raise ValueError(f"Expected one of {', '.join(KERNELS)}, got {type(layer).__name__} {layer.name!r}.")
        super().__init__(layer, **{"name": layer.name, "trainable": layer.trainable, **kwargs})
        self.block = block

    @property
    def kind(self) -> str:
        """Class of the wrapped layer."""
        return type(self.layer).__name__

    @property
    def kernel(self) -> tf.Variable:
        """The latent weights."""
        return getattr(self.layer, KERNELS[self.kind])

    def build(self, input_shape: tf.TensorShape) -> None:
        super().build(input_shape)
        rows, weights = rows_of(np.empty(self.kernel.shape), self.kind).shape
        if weights % (self.block or weights):
            raise ValueError(
                f"Blocks of {self.block} weights do not divide the {weights} weights that each output channel of "
                f"{self.layer.name!r} has."
            )
        self.blocks = (rows, weights // (self.block or weights), self.block or weights)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        name, latent = KERNELS[self.kind], self.kernel
        # Past Keras' own __setattr__, which would take the tensor for a weight.
        object.__setattr__(self.layer, name, self.rounded())
        try:
            return self.layer.call(inputs)
        finally:
            object.__setattr__(self.layer, name, latent)

    def rounded(self) -> tf.Tensor:
        """The kernel that the layer computes with."""
        codes, scales = self.codes_and_scales(self.latent_rows())
        return kernel_of(tf.reshape(codes * scales, (self.blocks[0], -1)), self.kind, self.kernel.shape, tf.transpose)

    def latent_rows(self) -> tf.Tensor:
        """The latent weights as float32 [R, K, B]."""
        return tf.reshape(rows_of(tf.convert_to_tensor(self.kernel), self.kind, tf.transpose), self.blocks)

    def codes_and_scales(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Latent weights [R, K, B] -> whole numbers [R, K, B] and scales [R, K, 1], both float32."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable(package="convoy")
class QuantizedWeights(LowBitWeights):
    """Weights on a grid whose steps are learned (Esser et al. 2020, "Learned Step Size Quantization", section 2).

    The grid is symmetric: so it stays a grid when BatchNormalization with a negative factor is folded into it.

    Args:
        layer: see `LowBitWeights`.
        limit: greatest whole number: 7 for four bits, 127 for eight.
        block: see `LowBitWeights`.
    """

    def __init__(self, layer: keras.layers.Layer, limit: int = 7, block: int | None = None, **kwargs: Any):
        super().__init__(layer, block, **kwargs)
        self.limit = limit

    def build(self, input_shape: tf.TensorShape) -> None:
        super().build(input_shape)
        # Its logarithm is what is learned: Adam then moves small and large steps alike, and none becomes negative.
        self.log_step = self.add_weight("log_step", (*self.blocks[:2], 1), trainable=self.layer.trainable)

    def set_steps(self, steps: np.ndarray) -> None:
        """Sets the distance between two neighbours of the grid, [R, K, 1], each above 0."""
        self.log_step.assign(np.log(steps))

    def codes_and_scales(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The paper's factor: as many weights pull at a step, it would otherwise run ahead of them.
        steps = tf.exp(_with_gradient(self.log_step, float(self.blocks[2] * self.limit) ** -0.5))
        limit = float(self.limit)
        return tf.clip_by_value(_rounded_straight_through(rows / steps), -limit, limit), steps

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "limit": self.limit}


@keras.saving.register_keras_serializable(package="convoy")
class BinaryWeights(LowBitWeights):
    """Weights +1 or -1 and a scale for each output channel, the mean magnitude of its latent weights
    (Rastegari et al. 2016, "XNOR-Net", section 3.1).

    `share` of the way from the latent weights to the binary ones is gone: training can begin where the float network
    is, and harden by and by.

    Args:
        layer: see `LowBitWeights`.
        reach: latent weights further from 0 than so many scales of their channel get no gradient that leads further
            away: they would never change their sign again.
    """

    def __init__(self, layer: keras.layers.Layer, reach: float = 3.0, **kwargs: Any):
        super().__init__(layer, **kwargs)
        self.reach = reach

    def build(self, input_shape: tf.TensorShape) -> None:
        super().build(input_shape)
        self.share = self.add_weight("share", (), trainable=False, initializer="ones")

    def codes_and_scales(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scales = tf.maximum(tf.reduce_mean(tf.abs(rows), axis=2, keepdims=True), SMALLEST)
        return _sign_straight_through(rows / scales, tf.constant(self.reach)), scales

    def rounded(self) -> tf.Tensor:
        return (1.0 - self.share) * self.kernel + self.share * super().rounded()

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "reach": self.reach}
        del config["block"]
        return config


@tf.custom_gradient
def _rounded_straight_through(values: tf.Tensor) -> Any:
    return tf.round(values), lambda upstream: upstream


@tf.custom_gradient
def _sign_straight_through(values: tf.Tensor, reach: tf.Tensor) -> Any:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.where(tf.abs(values) <= reach, upstream, 0.0), None

    return tf.where(values < 0, -1.0, 1.0), gradient


@tf.custom_gradient
def _with_gradient(values: tf.Tensor, factor: float) -> Any:
    return tf.identity(values), lambda upstream: (upstream * factor, None)
