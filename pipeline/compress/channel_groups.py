"""Which channels of a network stand and fall together.

Every channel of every tensor belongs to a unit. A convolution or dense layer makes new units, one for each filter;
what works on each channel alone passes units on; an addition makes one unit of the channels that it adds. To remove a
unit is to remove all of its channels: the filters that make them, and what all other layers hold for them. What remains
computes the same as before with those channels at zero. After "DepGraph" (Fang et al. 2023, section 3.2), per channel
instead of per layer, so that concatenations and residual streams need no rules of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from models import rewire
from models.stack import tf

if TYPE_CHECKING:
    import tf_keras as keras

Tensor = Any
Units = np.ndarray
"""Number of the unit of each channel, int [channels]."""


@dataclass
class LayerChannels:
    """The units of a layer's tensors.

    Args:
        inputs: of each input.
        output: of its output.
        makes: whether its filters make the output's units.
    """

    inputs: list[Units]
    output: Units
    makes: bool = False


@dataclass
class Channels:
    """The units of a network.

    Args:
        layers: layer name -> the units of its tensors, before they were joined; see `unit`.
    """

    layers: dict[str, LayerChannels] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=list)
    _kept: set[int] = field(default_factory=set)

    def new(self, count: int) -> Units:
        """As many new units."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def unit(self, channel: int) -> int:
        """The unit that a channel belongs to after all joining."""
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel

    def units(self, channels: Units) -> list[int]:
        """The unit of each channel."""
        return [self.unit(channel) for channel in channels.tolist()]

    def join(self, first: Units, second: Units) -> None:
        """Makes one unit of each channel of `first` and the same one of `second`."""
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            self._parents[self.unit(other)] = self.unit(one)

    def keep(self, channels: Units) -> None:
        """Says that these channels must stay."""
        self._kept.update(channels.tolist())

    def kept(self) -> set[int]:
        """The units that must stay."""
        return {self.unit(channel) for channel in self._kept}

    def makers(self) -> dict[int, list[tuple[str, int]]]:
        """Unit that may be removed -> the filters that make it, each a layer's name and a number."""
        kept = self.kept()
        found: dict[int, list[tuple[str, int]]] = {}
        for name, layer in self.layers.items():
            for number, unit in enumerate(self.units(layer.output)) if layer.makes else ():
                if unit not in kept:
                    found.setdefault(unit, []).append((name, number))
        return found


def channels_of(network: keras.Model, keep: Iterable[str] = ()) -> Channels:
    """The units of a flat network.

    The channels of its inputs and outputs must stay, those that a frozen layer makes, and those that a layer reads
    which is not known to work on each channel alone.

    Args:
        keep: names of layers whose own channels must stay.
    """
    channels, tensors, keep = Channels(), {}, set(keep)

    def units_of(tensor: Tensor) -> Units:
        if _place(tensor) not in tensors:  # an input
            tensors[_place(tensor)] = channels.new(tensor.shape[-1])
            channels.keep(tensors[_place(tensor)])
        return tensors[_place(tensor)]

    def visit(call: rewire.Call) -> Tensor:
        output = rewire.copy(call)
        inputs = [units_of(tensor) for tensor in tf.nest.flatten(call.inputs)]
        made = _passed(channels, call, inputs, output)
        is_frozen = channels.layers[call.layer.name].makes and not call.layer.trainable
        if is_frozen or call.layer.name in keep:
            channels.keep(made)
        tensors[_place(output)] = made
        return output

    copied = rewire.rewired_model(network, visit)
    for tensor in copied.outputs:
        channels.keep(units_of(tensor))
    return channels


def _passed(channels: Channels, call: rewire.Call, inputs: list[Units], output: Tensor) -> Units:
    """The units of a call's output; those of a layer that is called again are joined with those of its first call."""
    layer = call.layer
    rule = RULES.get(type(layer).__name__, _mixing)
    before = channels.layers.get(layer.name)
    if before is not None:
        for first, again in zip(before.inputs, inputs, strict=True):
            channels.join(first, again)
        return before.output
    made, makes = rule(channels, layer, inputs, output), rule is _filters
    channels.layers[layer.name] = LayerChannels(inputs, made, makes)
    return made


def _place(tensor: Tensor) -> tuple[str, int, int]:
    layer, call, output = tensor._keras_history
    return layer.name, call, output


# ------------------------------------------------------------------------------------------------- rules by class

Rule = Callable[[Channels, Any, list[Units], Tensor], Units]
"""(the units so far, the layer, the units of its inputs, its output) -> the units of its output."""


def _mixing(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    """What looks across channels, or is not known: all that it reads and gives must stay."""
    made = channels.new(output.shape[-1])
    for units in (*inputs, made):
        channels.keep(units)
    return made


def _filters(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    made = channels.new(output.shape[-1])
    if getattr(layer, "groups", 1) != 1:
        channels.keep(inputs[0])
        channels.keep(made)
    if layer.activation.__name__ == "softmax":
        channels.keep(made)
    return made


def _passing(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    return inputs[0]


def _depthwise(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    return np.repeat(inputs[0], layer.depth_multiplier)


def _activation(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    rule = _mixing if layer.activation.__name__ in {"softmax", "log_softmax"} else _passing
    return rule(channels, layer, inputs, output)


def _joined(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    """Inputs of the same channels, or of one channel that counts for all."""
    widest = max(inputs, key=len)
    for units in inputs:
        if len(units) == len(widest):
            channels.join(widest, units)
        else:
            channels.keep(units)
    return widest


def _concatenated(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    if layer.axis in (-1, len(output.shape) - 1):
        return np.concatenate(inputs)
    return _joined(channels, layer, inputs, output)


def _flattened(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    return np.tile(inputs[0], output.shape[-1] // len(inputs[0]))


def _reshaped(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    rule = _passing if output.shape[-1] == len(inputs[0]) else _mixing
    return rule(channels, layer, inputs, output)


def _reduced(channels: Channels, layer: keras.layers.Layer, inputs: list[Units], output: Tensor) -> Units:
    rule = _mixing if layer.axis in (-1, len(output.shape) - 1) else _passing
    return rule(channels, layer, inputs, output)


EACH_CHANNEL = {
    "ActivityRegularization",
    "AlphaDropout",
    "AveragePooling2D",
    "ConstantScale",
    "Cropping2D",
    "Dropout",
    "ELU",
    "GaussianDropout",
    "GaussianNoise",
    "GeneralizedMeanPooling2D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "HardSigmoid",
    "HardSwish",
    "LeakyReLU",
    "MaxPooling2D",
    "PReLU",
    "ReLU",
    "Scale",
    "SpatialDropout2D",
    "StochasticDepth",
    "ThresholdedReLU",
    "ToFloat",
    "UpSampling2D",
    "ZeroPadding2D",
}
"""Layers that work on each channel alone."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(EACH_CHANNEL, _passing),
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "WeightedSum"), _joined),
    **dict.fromkeys(("Conv2D", "Dense"), _filters),
    **dict.fromkeys(("AxisMaximum", "AxisMean", "BatchNormalization"), _reduced),
    "Activation": _activation,
    "Concatenate": _concatenated,
    "DepthwiseConv2D": _depthwise,
    "Flatten": _flattened,
    "Reshape": _reshaped,
}
"""Class of a layer -> how units pass through it; of all others, each channel must stay. By name, as the classes are of
several modules that need not be loaded."""


# ------------------------------------------------------------------------------------------------- removal


def without(network: keras.Model, channels: Channels, removed: Iterable[int]) -> keras.Model:
    """The same network without some units: smaller layers of the same names, which hold the weights that remain.

    Args:
        channels: of `network`.
        removed: units, none of which must stay.
    """
    gone = set(removed)

    def left(units: Units) -> np.ndarray:
        return np.flatnonzero([unit not in gone for unit in channels.units(units)])

    def replace(call: rewire.Call) -> Tensor:
        made = call.copies.get(id(call.layer))
        if made is not None:
            return made(call.inputs, **call.keywords)
        layer = channels.layers[call.layer.name]
        reads, gives = left(layer.inputs[0]), left(layer.output)
        config = {**call.layer.get_config(), **_sizes(call.layer, len(gives))}
        new = call.copies[id(call.layer)] = type(call.layer).from_config(config)
        output = new(call.inputs, **call.keywords)
        new.set_weights(_sliced(call.layer, len(layer.output), reads, gives))
        return output

    return rewire.rewired_model(network, replace)


def _sizes(layer: keras.layers.Layer, channels: int) -> dict[str, Any]:
    """What a layer's configuration says about its number of output channels."""
    kind = type(layer).__name__
    if kind == "Reshape":
        return {"target_shape": (*layer.target_shape[:-1], channels)}
    return {"Conv2D": {"filters": channels}, "Dense": {"units": channels}}.get(kind, {})


def _sliced(layer: keras.layers.Layer, channels: int, reads: np.ndarray, gives: np.ndarray) -> list[np.ndarray]:
    """A layer's weights for the channels that remain.

    Args:
        channels: how many its output has had.
        reads, gives: numbers of the channels that remain of its input and its output.
    """
    kind = type(layer).__name__
    if kind == "DepthwiseConv2D":
        kernel, *bias = layer.get_weights()
        return [kernel[:, :, reads], *(weight[gives] for weight in bias)]
    if kind in ("Conv2D", "Dense") and getattr(layer, "groups", 1) == 1:
        kernel, *bias = layer.get_weights()
        return [kernel[..., reads, :][..., gives], *(weight[gives] for weight in bias)]
    if len(gives) == channels:
        return layer.get_weights()
    return [weight[..., gives] if weight.shape[-1:] == (channels,) else weight for weight in layer.get_weights()]


def multiply_adds(network: keras.Model) -> int:
    """Multiplications and additions of a network's convolutions and dense layers for one picture, in pairs."""
    total = 0
    for layer in network.layers:
        kernel = getattr(layer, "kernel", getattr(layer, "depthwise_kernel", None))
        if kernel is not None:
            positions = math.prod(layer.output.shape[1:-1])
            total += positions * math.prod(kernel.shape)
    return total
