"""What a network costs: weights, and operations for a picture, counted from its graph.

`facts.json` holds the figures of every backbone as it is by default, so that they can be shown without building any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from models.backbones.normalisation import NORMALISE
from models.stack import keras

Tensor = Any
Shape = tuple[int | None, ...]

FACTS = Path(__file__).with_name("facts.json")


@dataclass(frozen=True)
class Facts:
    """A backbone in numbers, for colour pictures and without `normalise`.

    Args:
        parameters: its numbers, those that are not trained (statistics of BatchNormalization) included.
        flops: operations for one picture of its usual size, two for each multiplication with a weight and addition.
        channels: feature level -> number of channels.
    """

    parameters: int
    flops: int
    channels: Mapping[str, int]


@cache
def facts() -> dict[str, Facts]:
    """Kind -> its facts, as they were written by `python -m benchmarks.backbone_facts`."""
    return {kind: Facts(**held) for kind, held in json.loads(FACTS.read_text()).items()}


def measured(levels: Mapping[str, Tensor], size: int) -> Facts:
    """The facts of a network that was built for colour pictures of any size.

    Args:
        levels: what `features` gave.
        size: side of the pictures to count operations for, in pixels.
    """
    last = list(levels.values())
    channels = {level: int(tensor.shape[-1]) for level, tensor in levels.items()}
    return Facts(parameters(last), flops(last, size), channels)


def parameters(outputs: Sequence[Tensor]) -> int:
    """How many numbers the layers that `outputs` rest on hold, but for `normalise`."""
    return sum(layer.count_params() for layer in _layers(outputs) if layer.name != NORMALISE)


def flops(outputs: Sequence[Tensor], size: int) -> int:
    """Twice the multiply-adds of convolutions and dense layers for one picture of `size` x `size` pixels.

    What costs a thousandth of them (normalisation, activations, pooling, additions) is left out, as in most papers.
    """
    shapes: dict[str, Any] = {}
    total = 0
    for layer in _layers(outputs):
        before = [shapes[parent.layer.name] for parent in _node(layer).parent_nodes]
        shapes[layer.name] = _output_shape(layer, before, size)
        total += _multiply_adds(layer, shapes[layer.name])
    return 2 * total


def _layers(outputs: Sequence[Tensor]) -> list[keras.layers.Layer]:
    """In the order in which they are computed."""
    from models.rewire import nodes_behind

    inputs = [node.outputs for node in nodes_behind(outputs).values() if node.is_input]
    return list(keras.Model(inputs, list(outputs)).layers)


def _node(layer: keras.layers.Layer) -> Any:
    (node,) = layer.inbound_nodes
    return node


def _output_shape(layer: keras.layers.Layer, before: list[Shape], size: int) -> Shape:
    if not before:
        return (None, size, size, layer.output.shape[-1])
    return tuple(layer.compute_output_shape(before[0] if len(before) == 1 else before))


def _multiply_adds(layer: keras.layers.Layer, shape: Shape) -> int:
    """Each weight of a kernel is used once at each position of the output."""
    kernel = getattr(layer, "depthwise_kernel", getattr(layer, "kernel", None))
    if kernel is None or layer.name == NORMALISE:
        return 0
    return prod(side for side in shape[1:-1] if side) * prod(kernel.shape)
