"""Rebuilding a functional graph call by call: every layer call may become another, and nested models become flat.

def without_dropout(call: Call) -> Any:
    return call.inputs if isinstance(call.layer, keras.layers.Dropout) else copy(call)

smaller = rewired_model(model, without_dropout)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.stack import keras, tf

Tensor = Any
Node = Any
Place = tuple[int, int, int]
"""Where a tensor comes from: layer, its how-manieth call, which of its outputs. Stays when Keras copies a tensor."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer, on its way into the new graph.

    Args:
        layer: of the old graph.
        inputs: what it is called with first: a tensor of the new graph, or a structure (list, dict) of them.
        keywords: its other arguments by name, such as the constants of an op layer; tensors among them are new ones.
        copies: id of each layer of the old graph -> the layer that `copy` or `move` has put in its place.
    """

    layer: keras.layers.Layer
    inputs: Any
    keywords: dict[str, Any]
    copies: dict[int, keras.layers.Layer] = field(default_factory=dict)


Replace = Callable[[Call], Any]
"""Gives the new output of a call: one tensor, or as many in the same structure as the old call gave."""


def same(call: Call) -> Any:
    """The same layer in the new graph too: its weights are shared."""
    return call.layer(call.inputs, **call.keywords)


def copy(call: Call) -> Any:
    """A layer of its own with the same configuration, name and weights; one, however often the old layer is called."""
    made = call.copies.get(id(call.layer))
    if made is not None:
        return made(call.inputs, **call.keywords)
    new = call.copies[id(call.layer)] = call.layer.__class__.from_config(call.layer.get_config())
    outputs = new(call.inputs, **call.keywords)
    new.set_weights(call.layer.get_weights())
    return outputs


def move(call: Call) -> Any:
    """The same layer, taken out of the old graph, which is of no use afterwards; for graphs built to be taken apart.

    As in a graph made anew, the layer then has no other calls. `same` leaves it with those of both graphs, and Keras
    no longer tells its `output`.
    """
    if id(call.layer) not in call.copies:
        call.copies[id(call.layer)] = call.layer
        call.layer._inbound_nodes.clear()
        call.layer._outbound_nodes.clear()
    return same(call)


def rewire(outputs: Sequence[Tensor], starts: Mapping[Any, Tensor], replace: Replace) -> list[Tensor]:
    """Builds the part of a graph between `starts` and `outputs` anew, each layer after those that it rests on.

    Args:
        outputs: KerasTensors of the old graph.
        starts: `tensor.ref()` of the old graph -> the tensor of the new graph that takes its place.
        replace: makes the new output of each call; `same` and `copy` are two.

    Returns:
        The tensors of the new graph that correspond to `outputs`.

    Raises:
        ValueError: `outputs` rest on an input that is not among `starts`.
    """
    return _rewire(outputs, {_place(old.deref()): new for old, new in starts.items()}, replace, {})


def rewired_model(model: keras.Model, replace: Replace, inputs: Sequence[Tensor] | None = None) -> keras.Model:
    """A model whose every layer call went through `replace`; flat, though the old one may nest models.

    Args:
        model: functional or Sequential; is left as it is.
        replace: makes the new output of each call.
        inputs: `keras.Input`s in the order of `model.inputs`; by default new ones of the same names and types.

    Returns:
        A model of the same name whose outputs are a dict by `model.output_names`. Losses and metrics go by the names of
        the layers that give them: where `replace` changes such a layer, its name must stay.

    Raises:
        ValueError: two layers have the same name, as they may in nested models.
    """
    inputs = list(inputs) if inputs is not None else [_input_like(tensor) for tensor in model.inputs]
    starts = {old.ref(): new for old, new in zip(model.inputs, inputs, strict=True)}
    outputs = rewire(model.outputs, starts, replace)
    named = dict(zip(model.output_names, outputs, strict=True))
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, named, name=model.name)


def nodes_behind(tensors: Iterable[Tensor]) -> dict[str, Node]:
    """Layer name -> the call of that layer, for every layer that KerasTensors of one flat graph rest on.

    Layers that several models share have several calls; these are the ones of this graph.
    """
    nodes: dict[str, Node] = {}
    waiting = [tensor.node for tensor in tensors]
    while waiting:
        node = waiting.pop()
        if node.layer.name not in nodes:
            nodes[node.layer.name] = node
            waiting.extend(node.parent_nodes)
    return nodes


def _input_like(tensor: Tensor) -> Tensor:
    name = tensor._keras_history.layer.name
    return keras.Input(tensor.shape[1:], batch_size=tensor.shape[0], dtype=tensor.dtype, name=name)


def _rewire(
    outputs: Sequence[Tensor], starts: Mapping[Place, Tensor], replace: Replace, copies: dict[int, keras.layers.Layer]
) -> list[Tensor]:
    new = dict(starts)
    for node in _in_order(outputs, starts):
        call = _call(node, new, copies)
        made = _entered(call, replace) if isinstance(call.layer, keras.Model) else replace(call)
        old = tf.nest.flatten(node.outputs)
        new.update(zip(map(_place, old), tf.nest.flatten(made), strict=True))
    return [new[_place(tensor)] for tensor in outputs]


def _entered(call: Call, replace: Replace) -> Any:
    """The call of a nested model, as the calls of its layers."""
    model = call.layer
    given = tf.nest.flatten(call.inputs)
    starts = {_place(old): tensor for old, tensor in zip(model.inputs, given, strict=True)}
    return _rewire(model.outputs, starts, replace, call.copies)


def _call(node: Node, new: Mapping[Place, Tensor], copies: dict[int, keras.layers.Layer]) -> Call:
    """The call that a node recorded, with its tensors replaced by those of the new graph."""
    spec = node.layer._call_spec
    inputs, others, keywords = spec.split_out_first_arg(node.call_args, node.call_kwargs)
    keywords = {**dict(zip(spec.arg_names[1:], others, strict=False)), **keywords}

    def renewed(value: Any) -> Any:
        return new[_place(value)] if hasattr(value, "_keras_history") else value

    inputs, keywords = tf.nest.map_structure(renewed, (inputs, keywords))
    return Call(node.layer, inputs, keywords, copies)


def _in_order(outputs: Iterable[Tensor], starts: Mapping[Place, Tensor]) -> list[Node]:
    """The nodes between `starts` and `outputs`, each after all that it rests on; deep graphs rule out recursion."""
    order: dict[int, Node] = {}
    waiting = [(tensor, False) for tensor in reversed(list(outputs))]
    while waiting:
        tensor, ready = waiting.pop()
        node = tensor.node
        if id(node) in order or _place(tensor) in starts:
            continue
        if ready:
            order[id(node)] = node
            continue
        if node.is_input:
            raise ValueError(f"The graph rests on the input {node.layer.name!r}, for which no tensor was given.")
        waiting.append((tensor, True))
        waiting.extend((parent, False) for parent in reversed(node.keras_inputs))
    return list(order.values())


def _place(tensor: Tensor) -> Place:
    layer, call, output = tensor._keras_history
    return id(layer), call, output
