"""A network -> the same in layers of one int8 operator each, so that every rounding of the file has a place in it.

What comes out computes the same in float32. Of the layers that take the place of one, the one with weights has its
name, or else the last.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from models import rewire
from models.activations import ConstantScale, HardSigmoid, Scale
from models.folding import factor_and_offset, foldable
from models.layers import AxisMean, GeneralizedMeanPooling2D, WeightedSum
from models.stack import keras, tf
from pipeline.compress.qat import configs, graph
from pipeline.compress.qat.layers import ChannelAffine, LogarithmFrom, UnitLength

Tensor = Any
Call = rewire.Call
Expansion = Callable[[Call], Tensor]

LEAST_FACTOR = 1e-6
"""Channels of a smaller factor get this one: int8 stores the offset in multiples of it, which 0 has none of."""


def simplified(network: keras.Model) -> keras.Model:
    """A copy whose layers each have one int8 operator, or are fused into the one before.

    BatchNormalization in it keeps its trained statistics, scale and offset in further training. Thus the graph that is
    fine-tuned is the one that is converted, where it is folded into the convolutions; batch statistics would make the
    ranges jump from step to step (Krishnamoorthi 2018, section 3.2.2).

    Args:
        network: functional; may nest models.
    """
    nested = any(isinstance(layer, keras.Model) for layer in network.layers)
    flat = rewire.rewired_model(network, rewire.copy) if nested else network
    folded = {normalisation.name for normalisation in foldable(flat).values()}

    def replace(call: Call) -> Tensor:
        if call.layer.name in folded:
            return frozen_copy(call)
        expand = expansion(call.layer)
        return rewire.copy(call) if expand is None else expand(call)

    simple = rewire.rewired_model(flat, replace)
    joins = any(isinstance(layer, keras.layers.Concatenate) for layer in simple.layers)
    return with_own_inputs_of_concatenations(simple) if joins else simple


def frozen_copy(call: Call) -> Tensor:
    """A copy that is not trained."""
    output = rewire.copy(call)
    call.copies[id(call.layer)].trainable = False
    return output


def with_own_inputs_of_concatenations(network: keras.Model) -> keras.Model:
    """A copy in which nothing else reads what a concatenation does, and each of its inputs may have any range.

    Its inputs and its output have one range in int8. Where an input has another for some reason, the converter puts a
    rescaling there, or fails, or takes a wrong range (of TensorFlow 2.21: seen all three). So the rescaling gets an
    operator of its own.
    """
    readers = graph.readers(network)

    def rescaled(tensor: Tensor, name: str) -> Tensor:
        layer = tensor._keras_history.layer
        treatment = configs.treatment(layer)
        if len(readers[layer.name]) == 1 and treatment is not None and treatment.learns_range:
            return tensor
        one = np.ones(tensor.shape[-1])
        return affine(tensor, name, one, np.zeros_like(one), trainable=False)

    def replace(call: Call) -> Tensor:
        if not isinstance(call.layer, keras.layers.Concatenate):
            return rewire.copy(call)
        inputs = [rescaled(tensor, f"{call.layer.name}_input_{number}") for number, tensor in enumerate(call.inputs)]
        return rewire.copy(dataclasses.replace(call, inputs=inputs))

    joined = rewire.rewired_model(network, replace)  # whose outputs go by their layers
    outputs = {name: joined.output[tensor._keras_history.layer.name] for name, tensor in network.output.items()}
    return keras.Model(joined.inputs, outputs, name=network.name)


def is_known(layer: keras.layers.Layer) -> bool:
    """Whether it can be quantized, as it is or in simple layers."""
    return expansion(layer) is not None or configs.treatment(layer) is not None


def expansion(layer: keras.layers.Layer) -> Expansion | None:
    """What makes simple layers of this one; none where it is simple."""
    if isinstance(layer, keras.layers.Activation):
        return ACTIVATIONS.get(configs.activation_name(layer))
    if type(layer) in WITH_ACTIVATION and configs.activation_name(layer) not in FUSED_ACTIVATIONS:
        return without_activation
    return EXPANSIONS.get(type(layer))


# ------------------------------------------------------------------------------------------------- normalisation


def batch_normalization(call: Call) -> Tensor:
    """What does not follow a convolution that could do it: in inference mode it is an affine function a channel."""
    return affine(call.inputs, call.layer.name, *factor_and_offset(call.layer), trainable=False)


def layer_normalization(call: Call) -> Tensor:
    """(x - mean) / its length * sqrt(F) * gamma + beta: a variance has no place in eight bits, a unit vector has.

    Exact but for `epsilon`, which is not added to the variance.
    """
    layer, x = call.layer, call.inputs
    channels = x.shape[-1]
    mean = AxisMean(-1, name=f"{layer.name}_mean")(x)
    centred = keras.layers.Subtract(name=f"{layer.name}_centred")([x, mean])
    unit = UnitLength(name=f"{layer.name}_unit")(centred)
    gamma = layer.gamma.numpy() if layer.scale else np.ones(channels)
    beta = layer.beta.numpy() if layer.center else np.zeros(channels)
    return affine(unit, layer.name, math.sqrt(channels) * gamma, beta, trainable=layer.trainable)


def scale(call: Call) -> Tensor:
    """A factor a channel, which stays trainable."""
    layer, factors = call.layer, call.layer.gamma.numpy()
    return affine(call.inputs, layer.name, factors, np.zeros_like(factors), trainable=layer.trainable)


def constant_scale(call: Call) -> Tensor:
    """The same factor for all channels."""
    zero = np.zeros(call.inputs.shape[-1])
    return affine(call.inputs, call.layer.name, zero + call.layer.factor, zero, trainable=False)


def affine(x: Tensor, name: str, factor: np.ndarray, offset: np.ndarray, *, trainable: bool) -> Tensor:
    """factor * x + offset by the last axis; the layer `name` is the last."""
    if len(x.shape) == 4:
        return _channel_affine(x, name, factor, offset, trainable)
    shape, positions = tuple(x.shape[1:]), math.prod(x.shape[1:-1])
    x = keras.layers.Reshape((1, positions, shape[-1]), name=f"{name}_as_picture")(x)
    x = _channel_affine(x, f"{name}_affine", factor, offset, trainable)
    return keras.layers.Reshape(shape, name=name)(x)


def _channel_affine(x: Tensor, name: str, factor: np.ndarray, offset: np.ndarray, trainable: bool) -> Tensor:
    layer = ChannelAffine(name=name, trainable=trainable)
    output = layer(x)
    large = np.where(np.abs(factor) < LEAST_FACTOR, LEAST_FACTOR, factor)
    layer.set_weights([large.reshape(layer.depthwise_kernel.shape), offset])
    return output


# ------------------------------------------------------------------------------------------------- activations


def swish(call: Call) -> Tensor:
    """x * sigmoid(x)."""
    gate = keras.layers.Activation("sigmoid", name=f"{call.layer.name}_gate")(call.inputs)
    return keras.layers.Multiply(name=call.layer.name)([call.inputs, gate])


def hard_sigmoid(slope: float, shift: float) -> Expansion:
    """relu6(slope * x + shift) / 6."""

    def expand(call: Call) -> Tensor:
        """A factor and a shift, a ReLU6, and a sixth of it."""
        name, channels = call.layer.name, call.inputs.shape[-1]
        one, zero = np.ones(channels), np.zeros(channels)
        x = affine(call.inputs, f"{name}_shifted", one * slope, one * shift, trainable=False)
        x = keras.layers.ReLU(6.0, name=f"{name}_clipped")(x)
        return affine(x, name, one / 6.0, zero, trainable=False)

    return expand


def without_activation(call: Call) -> Tensor:
    """The layer, under its own name for those who go by the names of layers with weights, and its activation."""
    bare = call.copies.get(id(call.layer))
    if bare is None:
        bare = type(call.layer).from_config({**call.layer.get_config(), "activation": "linear"})
        with tf.name_scope(bare.name):
            bare.build(call.inputs.shape)
        bare.set_weights(call.layer.get_weights())
        call.copies[id(call.layer)] = bare
    x = bare(call.inputs)
    activation = keras.layers.Activation(call.layer.activation, name=f"{call.layer.name}_activation")
    expand = expansion(activation)
    return activation(x) if expand is None else expand(Call(activation, x, {}))


# ------------------------------------------------------------------------------------------------- others


def separable_convolution(call: Call) -> Tensor:
    """A depthwise convolution and a 1x1 convolution."""
    layer, config = call.layer, call.layer.get_config()
    kept = ("strides", "padding", "depth_multiplier", "dilation_rate", "trainable")
    depthwise = keras.layers.DepthwiseConv2D(
        layer.kernel_size, use_bias=False, name=f"{layer.name}_depthwise", **{name: config[name] for name in kept}
    )
    pointwise = keras.layers.Conv2D(
        layer.filters, 1, activation=layer.activation, use_bias=layer.use_bias, name=layer.name,
        trainable=layer.trainable,
    )  # fmt: skip
    output = pointwise(depthwise(call.inputs))
    first, *second = layer.get_weights()
    depthwise.set_weights([first])
    pointwise.set_weights(second)
    return output


def generalized_mean(call: Call) -> Tensor:
    """max * (mean of (x / max) ^ p) ^ (1 / p) by logarithms, as the layer itself computes it; p stays as trained."""
    layer, name, power = call.layer, call.layer.name, float(call.layer.power.numpy())
    _, height, width, channels = call.inputs.shape
    one, zero = np.ones(channels), np.zeros(channels)
    logarithms = LogarithmFrom(layer.epsilon, name=f"{name}_log")(call.inputs)
    greatest = keras.layers.GlobalMaxPooling2D(keepdims=True, name=f"{name}_greatest_log")(logarithms)
    below = keras.layers.Subtract(name=f"{name}_below")([logarithms, greatest])
    powers = affine(below, f"{name}_times_power", one * power, zero, trainable=False)
    shares = keras.layers.Activation("exponential", name=f"{name}_shares")(powers)
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean_share")(shares)
    mean = LogarithmFrom(1.0 / (height * width), name=f"{name}_mean_log")(mean)
    mean = affine(mean, f"{name}_by_power", one / power, zero, trainable=False)
    mean = keras.layers.Activation("exponential", name=f"{name}_mean")(keras.layers.Flatten(name=f"{name}_flat")(mean))
    greatest = keras.layers.GlobalMaxPooling2D(name=f"{name}_greatest")(call.inputs)
    return keras.layers.Multiply(name=name)([greatest, mean])


def weighted_sum(call: Call) -> Tensor:
    """Each input times its share, which stays as trained, and their sums two by two."""
    layer, inputs = call.layer, call.inputs
    zero = np.zeros(inputs[0].shape[-1])
    parts = [
        affine(x, f"{layer.name}_part_{number}", zero + share, zero, trainable=False)
        for number, (x, share) in enumerate(zip(inputs, layer.shares().numpy(), strict=True))
    ]
    x, last = parts[0], len(parts) - 1
    for number, part in enumerate(parts[1:], 1):
        name = layer.name if number == last else f"{layer.name}_sum_{number}"
        x = keras.layers.Add(name=name)([x, part])
    return x


# ------------------------------------------------------------------------------------------------- all of them

FUSED_ACTIVATIONS = {"linear", "relu", "relu6"}
"""Activations that a convolution's int8 operator does itself."""

WITH_ACTIVATION = {keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense, keras.layers.Conv2DTranspose}
"""Layers with an activation inside."""

ACTIVATIONS: dict[str, Expansion] = {
    "swish": swish,
    "silu": swish,
    "hard_sigmoid": hard_sigmoid(slope=1.2, shift=3.0),  # Keras' own: max(0, min(1, 0.2 x + 0.5))
}
"""Name of an activation -> what makes simple layers of it."""

EXPANSIONS: dict[type[keras.layers.Layer], Expansion] = {
    keras.layers.BatchNormalization: batch_normalization,
    keras.layers.LayerNormalization: layer_normalization,
    keras.layers.SeparableConv2D: separable_convolution,
    Scale: scale,
    ConstantScale: constant_scale,
    HardSigmoid: hard_sigmoid(slope=1.0, shift=3.0),
    GeneralizedMeanPooling2D: generalized_mean,
    WeightedSum: weighted_sum,
}
"""Class of a layer -> what makes simple layers of it."""
