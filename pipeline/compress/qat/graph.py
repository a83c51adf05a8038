"""Who reads what in a functional graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from models.stack import keras

Node = Any

OUTPUT = "output of the network"
"""Stands for the reader of an output."""


def calls(network: keras.Model) -> Iterator[Node]:
    """Every call of a layer in a network, but for its inputs."""
    for nodes in network._nodes_by_depth.values():
        yield from (node for node in nodes if not node.is_input)


def readers(network: keras.Model) -> dict[str, list[str]]:
    """Layer name -> names of the layers that read its output, one for each time that they do."""
    found: dict[str, list[str]] = defaultdict(list)
    for node in calls(network):
        for tensor in node.keras_inputs:
            found[tensor._keras_history.layer.name].append(node.layer.name)
    for tensor in network.outputs:
        found[tensor._keras_history.layer.name].append(OUTPUT)
    return found


def layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Every layer of a network but for its inputs, those of nested models too."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from layers(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer
