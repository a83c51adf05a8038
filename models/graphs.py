"""Work on flat functional graphs: another input, parts by name, freezing and unfreezing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from models import attention
from models.backbones import BACKBONES, NORMALISE
from models.heads import IMAGE, TO_FLOAT, picture_input
from models.preprocess import PictureFormat
from models.rewire import nodes_behind, rewired_model, same
from models.stack import keras, tf

Tensor = Any
Node = Any

LEAST_MOMENTUM = 0.9
"""To which that of running statistics is lowered at most: that of Convoy's own blocks, an average over ten batches."""
AVERAGED_PARTS = 20
"""Into as many parts a training is divided, over one of which running statistics average at most."""
VIEWS = "views"
"""Name of a network that is called as a whole inside another one; what it does goes by its own layers' names."""
WRAPPERS = ("quant_", "prune_low_magnitude_", "cluster_")
"""How tfmot begins the names of layers that it wraps."""


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


def with_byte_input(network: keras.Model, picture: PictureFormat) -> keras.Model:
    """The inverse of `with_float_input`: the same graph behind `heads.picture_input`, its layers and weights shared.

    Args:
        network: `image` float32 [B,H,W,C] 0..255 in, named outputs out.
    """
    image, pixels = picture_input(picture)
    outputs = network.call(pixels)
    named = outputs if isinstance(outputs, dict) else dict(zip(network.output_names, [outputs], strict=True))
    return keras.Model(image, named, name=network.name)


def with_any_size(model: keras.Model) -> keras.Model:
    """The same graph for pictures of any height and width, its layers and weights shared.

    Raises:
        ValueError: a layer needs to know the size.
    """
    (image,) = model.inputs
    free = keras.Input((None, None, image.shape[-1]), dtype=image.dtype, name=IMAGE)
    # Multiples, since levels of some strides fit on each other at multiples of these only.
    other = tf.TensorSpec([1, 2 * image.shape[1], 3 * image.shape[2], image.shape[-1]], image.dtype)
    try:
        network = rewired_model(model, same, [free])
        tf.function(network).get_concrete_function(other)  # what is made for one size shows where another one is known
    except (ValueError, TypeError) as error:
        raise ValueError(f"The network {model.name!r} cannot take pictures of several sizes: {error}") from error
    return network


def feature_levels(model: keras.Model) -> dict[str, str]:
    """Feature level -> layer name, finest first, of the backbone that a model (built or loaded) holds.

    Raises:
        ValueError: the model holds no layer of a backbone of Convoy.
    """
    levels = {level: node.layer.name for level, node in _level_nodes(model).items()}
    if not levels:
        raise ValueError(f"The model {model.name!r} holds none of the backbones {', '.join(BACKBONES)}.")
    return levels


def level_tensors(model: keras.Model) -> dict[str, Tensor]:
    """Feature level -> the KerasTensor [B, H/stride, W/stride, F] of the model, finest first; none where it holds no
    backbone of Convoy. Layers may be wrapped by tfmot. Where the network sees each half of a picture by itself
    (`models.siamese`), the halves' features stand one above the other, as the picture's."""
    from models.siamese.layers import Stacked, Unstacked

    tensors = {level: node.outputs for level, node in _level_nodes(model).items()}
    if not any(isinstance(getattr(layer, "layer", layer), Unstacked) for layer in model.layers):
        return tensors
    return {level: Stacked(name=f"{level}_of_both")(features) for level, features in tensors.items()}


def _level_nodes(model: keras.Model) -> dict[str, Node]:
    """Feature level -> the call that gives it.

    Networks of one family share layer names: a level counts where a layer of its name has its stride, and where
    several networks have as many, the one whose levels end last is meant.
    """
    nodes = {_unwrapped(name): node for name, node in nodes_behind(model.outputs).items()}
    strides = {_unwrapped(name): stride for name, stride in _strides(model).items()}
    places = {_unwrapped(layer.name): place for place, layer in enumerate(model.layers)}
    known = [_held(family.members[kind].levels, strides) for kind, family in BACKBONES.items()]
    levels = max(known, key=lambda held: (len(held), sum(places[layer] for layer in held.values())))
    return {level: nodes[layer] for level, layer in levels.items()}


def _strides(model: keras.Model) -> dict[str, int]:
    """Layer name -> how many pixels of the picture lie between two neighbouring positions of its output."""
    strides: dict[str, int] = {}
    nodes = nodes_behind(model.outputs)
    for layer in model.layers:  # in the order in which they are computed
        before = [strides.get(parent.layer.name, 1) for parent in nodes[layer.name].parent_nodes]
        own = getattr(getattr(layer, "layer", layer), "strides", 1)  # of what tfmot has wrapped
        strides[layer.name] = max(before, default=1) * (own[0] if isinstance(own, tuple) else own)
    return strides


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

    Attention is trained with the head: pretrained weights know nothing of it. Takes effect when the model is compiled
    next.
    """
    deepest = list(feature_levels(model))[-1]
    behind = layers_up_to(model, deepest)
    _freeze_only(model, [layer for layer in behind if not layer.name.startswith(attention.PREFIX)])


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


def let_statistics_settle(model: keras.Model, steps: int) -> None:
    """Lowers the momentum of BatchNormalizations as far as it is too high for a training of so many steps.

    Published networks have up to 0.999, made for hundreds of thousands of steps: after 1,000, running statistics are to
    a third still those that the training began with, and the network answers wrongly whatever it has learned.
    """
    most = max(LEAST_MOMENTUM, 1.0 - AVERAGED_PARTS / steps)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, most)


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


def _unwrapped(name: str) -> str:
    """A layer's own name, where tfmot has wrapped it."""
    prefix = next((prefix for prefix in WRAPPERS if name.startswith(prefix)), "")
    return name.removeprefix(prefix)


def _held(levels: Mapping[str, str], strides: Mapping[str, int]) -> dict[str, str]:
    return {level: layer for level, layer in levels.items() if f"stride_{strides.get(layer)}" == level}


def features_of(model: keras.Model) -> Tensor:
    """What the last layer with weights is given, [B, D]: places of a feature map are averaged."""
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    given = last.input[0] if isinstance(last.input, list) else last.input
    places = list(range(1, len(given.shape) - 1))
    return tf.reduce_mean(given, axis=places) if places else given
