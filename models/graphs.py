"""Work on flat functional graphs: another input, parts by name, freezing and unfreezing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from models.backbones import BACKBONES, NORMALISE
from models.heads import IMAGE, TO_FLOAT
from models.stack import keras

Tensor = Any
Node = Any


def with_float_input(model: keras.Model) -> keras.Model:
    """The same graph, its layers and weights shared, with the input `image` as float32 [B,H,W,C] 0..255 and no cast.

    Quantizers need it: tfmot does not know the cast, and a TFLite file takes its uint8 input as quantized float32.

    Raises:
        ValueError: the model does not begin with `heads.picture_input`.
    """
    nodes = nodes_behind(model.outputs)
    if TO_FLOAT not in nodes:
        raise ValueError(
            f"Expected a model whose uint8 picture is cast by the layer {TO_FLOAT!r}; {model.name!r} has none."
        )
    cast = nodes[TO_FLOAT].outputs
    image = keras.Input(cast.shape[1:], dtype="float32", name=IMAGE)
    # `call`, not `__call__`: it runs layer by layer, so that the result is flat.
    outputs = keras.Model(cast, model.output).call(image)
    return keras.Model(image, outputs, name=model.name)


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


def feature_levels(model: keras.Model) -> dict[str, str]:
    """Feature level -> layer name, finest first, of the backbone that a model (built or loaded) holds.

    Raises:
        ValueError: the model holds no layer of a backbone of Convoy.
    """
    names = {layer.name for layer in model.layers}
    known = [_held(backbone.levels, names) for backbone in BACKBONES.values()]
    levels = max(known, key=len)
    if not levels:
        raise ValueError(f"The model {model.name!r} holds none of the backbones {', '.join(BACKBONES)}.")
    return levels


def layers_up_to(model: keras.Model, level_name: str) -> list[keras.layers.Layer]:
    """Every layer that a feature level or layer rests on, and the layer itself, in the model's order.

    Raises:
        ValueError: no level or layer has that name; the message lists the levels and the nearest name.
    """
    nodes = nodes_behind(model.outputs)
    node = nodes[_layer_name(model, level_name)]
    behind = nodes_behind([node.outputs])
    return [layer for layer in model.layers if layer.name in behind]


def freeze_backbone(model: keras.Model) -> None:
    """Keeps the backbone as it is while the head is trained; its BatchNormalization runs in inference mode.

    Takes effect when the model is compiled next.
    """
    deepest = list(feature_levels(model))[-1]
    _freeze_only(model, layers_up_to(model, deepest))


def unfreeze(model: keras.Model) -> None:
    """Trains all of a model but the fixed normalisation of its pictures; takes effect when it is compiled next."""
    _freeze_only(model, [])


def unfreeze_from(model: keras.Model, level: str) -> None:
    """Trains a feature level and all after it; what leads to it is frozen, BatchNormalization in inference mode.

    Takes effect when the model is compiled next.

    Args:
        level: feature level (`stride_16`: the layers after those of `stride_8`), or a layer's name (that layer and all
            that do not lead to it).

    Raises:
        ValueError: no level or layer has that name; the message lists the levels and the nearest name.
    """
    levels = feature_levels(model)
    if level not in levels:
        before = [layer for layer in layers_up_to(model, level) if layer.name != level]
        return _freeze_only(model, before)
    finer = list(levels).index(level) - 1
    return _freeze_only(model, layers_up_to(model, list(levels)[finer]) if finer >= 0 else [])


def _freeze_only(model: keras.Model, frozen: list[keras.layers.Layer]) -> None:
    names = {layer.name for layer in frozen} | {NORMALISE, TO_FLOAT}
    for layer in model.layers:
        layer.trainable = layer.name not in names


def _layer_name(model: keras.Model, name: str) -> str:
    layers = [layer.name for layer in model.layers]
    levels = feature_levels(model) if name not in layers else {}
    found = levels.get(name, name)
    if found not in layers:
        close = difflib.get_close_matches(name, [*levels, *layers], n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise ValueError(
            f"The model has no feature level or layer {name!r}. {hint}Levels: {', '.join(levels)}; or any layer's name."
        )
    return found


def _held(levels: dict[str, str], names: set[str]) -> dict[str, str]:
    return {level: layer for level, layer in levels.items() if layer in names}
