"""A network with a decoding inside as three sections: what comes before the decoding, itself, and what rests on it.

The converter's way to int16 knows no operators that stay in float. So each section is converted by itself, and the
files are joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models import rewire
from models.layers import InFloat
from models.stack import keras
from pipeline.compress import convert, flatbuffer

Tensor = Any

BEFORE, INSIDE, BEHIND = range(3)


@dataclass(frozen=True)
class Sections:
    """Three models; what one gives by name, the later ones take by the same. Each also gives its share of the network's
    outputs."""

    before: keras.Model
    inside: keras.Model
    behind: keras.Model


def int16x8_file(network: keras.Model, pictures: np.ndarray) -> bytes:
    """A `.tflite` with int16 activations and int8 weights but for the decoding inside; float32 in and out.

    Args:
        network: flat, with a decoding (`models.layers.InFloat`) inside; each layer gives one tensor.
        pictures: uint8 [n, H, W, C], from which the ranges of activations come.

    Raises:
        ExportError: as of `convert.tflite_file`.
    """
    cut = sections_of(network)
    before = convert.int16x8_file(cut.before, pictures)
    inside = convert.tflite_file(cut.inside)
    behind = convert.wholly_int16x8(cut.behind, lambda: _reaching(cut, pictures))
    outputs = set(network.output_names)
    content = flatbuffer.join(before, inside, kept=outputs | set(cut.behind.input_names))
    return flatbuffer.without_detours(flatbuffer.join(content, behind, kept=outputs, prefix=""))


def sections_of(network: keras.Model) -> Sections:
    """The sections, which share the network's layers."""
    places, crossing = _places(network), [*network.outputs]
    for node in _calls(network):
        crossing += [tensor for tensor in node.keras_inputs if _place(places, tensor) < places[node.layer.name]]
    before, inside, behind = (
        {_name(tensor): tensor for tensor in crossing if _place(places, tensor) == place}
        for place in (BEFORE, INSIDE, BEHIND)
    )
    return Sections(
        keras.Model(network.inputs, before, name=network.name),
        _between(before, inside, f"{network.name}_inside"),
        _between({**before, **inside}, behind, f"{network.name}_behind"),
    )


def _places(network: keras.Model) -> dict[str, int]:
    """Layer -> the section that it belongs to."""
    places: dict[str, int] = {}
    for node in _calls(network):
        after = max((places.get(parent.layer.name, BEFORE) for parent in node.parent_nodes), default=BEFORE)
        places[node.layer.name] = INSIDE if isinstance(node.layer, InFloat) else BEHIND if after else BEFORE
    return places


def _calls(network: keras.Model) -> Iterator[Any]:
    """Every call of a layer but for the inputs, each behind those that it rests on."""
    for _, nodes in sorted(network._nodes_by_depth.items(), reverse=True):
        yield from (node for node in nodes if not node.is_input)


def _place(places: Mapping[str, int], tensor: Tensor) -> int:
    return places.get(_name(tensor), BEFORE)


def _name(tensor: Tensor) -> str:
    return str(tensor._keras_history.layer.name)


def _between(starts: Mapping[str, Tensor], ends: Mapping[str, Tensor], name: str) -> keras.Model:
    """The part of a graph between tensors; of `starts`, those that it rests on."""
    behind = rewire.nodes_behind(ends.values())
    read = {_name(tensor) for node in behind.values() for tensor in node.keras_inputs}
    inputs = {one: keras.Input(tensor.shape[1:], name=one) for one, tensor in starts.items() if one in read}
    new = rewire.rewire([*ends.values()], {starts[one].ref(): inputs[one] for one in inputs}, rewire.copy)
    return keras.Model(inputs, dict(zip(ends, new, strict=True)), name=name)


def _reaching(cut: Sections, pictures: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """What reaches the last section, picture by picture."""
    for picture in pictures:
        known = dict(cut.before(picture[np.newaxis].astype(np.float32), training=False))
        known |= cut.inside({name: known[name] for name in cut.inside.input_names}, training=False)
        yield {name: known[name].numpy() for name in cut.behind.input_names}
