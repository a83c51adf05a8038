"""BatchNormalization folded into the layer before it: in inference mode it is one factor and one offset a channel.

After Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
section 3.2. Whoever quantizes weights must do it with the normalisation folded in, for those are the weights that ship.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from models import rewire
from models.stack import keras

Node = Any
Tensor = Any
Fold = Callable[[np.ndarray, np.ndarray], np.ndarray]


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """A copy of a flat model whose convolutions and dense layers do the BatchNormalization after them as well.

    Exact but for the rounding of float32, in inference mode. A folded layer keeps its name and gets a bias. Left as it
    is: BatchNormalization that follows anything else (an addition, an activation, a concatenation), that follows a
    layer with an activation of its own, and that follows a layer whose output is needed, or which is called, elsewhere.

    Args:
        model: functional and flat; its weights are copied, not shared.

    Returns:
        A model with the same inputs and output names.
    """
    pairs = foldable(model)
    folded = {normalisation.name for normalisation in pairs.values()}

    def replace(call: rewire.Call) -> Tensor:
        name = call.layer.name
        if name in pairs:
            return _with_normalisation(call, pairs[name])
        if name not in folded:
            return rewire.copy(call)
        # Losses and metrics go by the names of the layers that give outputs.
        return keras.layers.Activation("linear", name=name)(call.inputs) if name in model.output_names else call.inputs

    return rewire.rewired_model(model, replace)


def foldable(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Name of a layer -> the BatchNormalization that can be folded into it, in the order of the graph."""
    nodes = _nodes(model.outputs)
    calls = Counter(node.layer.name for node in nodes)
    tensors = [*(tensor for node in nodes for tensor in node.keras_inputs), *model.outputs]
    readers = Counter(_source(tensor).name for tensor in tensors)
    return {
        before.name: normalisation
        for before, normalisation in _sequences(nodes)
        if calls[before.name] == calls[normalisation.name] == readers[before.name] == 1
        and _can_fold(before, normalisation)
    }


def factor_and_offset(normalisation: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """What it does in inference mode: y = factor * x + offset, each float64 [channels]."""
    mean = normalisation.moving_mean.numpy().astype(np.float64)
    variance = normalisation.moving_variance.numpy().astype(np.float64)
    factor = 1.0 / np.sqrt(variance + normalisation.epsilon)
    if normalisation.scale:
        factor = factor * normalisation.gamma.numpy()
    beta = normalisation.beta.numpy() if normalisation.center else 0.0
    return factor, beta - mean * factor


def _last_axis(kernel: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Kernels [..., inputs, outputs] of convolutions and dense layers."""
    return kernel * factor


def _depthwise(kernel: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Kernels [h, w, inputs, multiplier]: output channel = input x multiplier + place."""
    return kernel * factor.reshape(kernel.shape[-2:])


def _transposed(kernel: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Kernels [h, w, outputs, inputs] of transposed convolutions."""
    return kernel * factor[:, np.newaxis]


# Exact classes, as a subclass may do anything with its kernel.
_FOLDS: dict[str, Fold] = {
    "Conv1D": _last_axis,
    "Conv2D": _last_axis,
    "Conv3D": _last_axis,
    "Dense": _last_axis,
    "SeparableConv2D": _last_axis,  # into its pointwise kernel
    "DepthwiseConv2D": _depthwise,
    "Conv2DTranspose": _transposed,
}


def _can_fold(layer: keras.layers.Layer, normalisation: keras.layers.Layer) -> bool:
    kind = type(layer).__name__
    if not isinstance(normalisation, keras.layers.BatchNormalization) or kind not in _FOLDS:
        return False
    if type(layer) is not getattr(keras.layers, kind) or layer.activation is not keras.activations.linear:
        return False
    last = normalisation.input_spec.ndim - 1
    return list(normalisation.axis) == [last] and getattr(layer, "data_format", "channels_last") == "channels_last"


def _with_normalisation(call: rewire.Call, normalisation: keras.layers.BatchNormalization) -> Tensor:
    layer = call.layer
    new = type(layer).from_config({**layer.get_config(), "use_bias": True})
    output = new(call.inputs, **call.keywords)
    factor, offset = factor_and_offset(normalisation)
    *others, kernel = layer.get_weights()[:-1] if layer.use_bias else layer.get_weights()
    bias = layer.get_weights()[-1] if layer.use_bias else 0.0
    new.set_weights([*others, _FOLDS[type(layer).__name__](kernel, factor), bias * factor + offset])
    return output


def _sequences(nodes: Iterable[Node]) -> Iterator[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """A layer and the one whose only input it gives, of all such."""
    for node in nodes:
        if len(node.keras_inputs) == 1:
            yield _source(node.keras_inputs[0]), node.layer


def _source(tensor: Tensor) -> keras.layers.Layer:
    return tensor._keras_history.layer


def _nodes(outputs: Iterable[Tensor]) -> list[Node]:
    """Every call of a layer that the tensors rest on, each before those that read it."""
    found: dict[int, Node] = {}
    waiting = [(tensor.node, False) for tensor in outputs]
    while waiting:
        node, ready = waiting.pop()
        if ready:
            found.setdefault(id(node), node)
        elif id(node) not in found:
            waiting += [(node, True), *((parent, False) for parent in node.parent_nodes)]
    return list(found.values())
