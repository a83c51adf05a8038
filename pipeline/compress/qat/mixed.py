"""Files of a fake-quantized network in which some layers compute in float32.

The converter takes fake quantization as an order to quantize, and knows no exceptions from it. So the float network of
the same weights is converted, with the ranges that were learned in the place of calibrated ones: scales come out the
same, and single operators can be left in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapper

from models import rewire
from models.stack import keras
from pipeline.compress import convert, flatbuffer
from pipeline.compress.qat.layout import PREFIX

Range = tuple[float, float]


def mixed_file(model: keras.Model, pictures: np.ndarray, learned: Mapping[str, Range], skip: Set[str]) -> bytes:
    """A `.tflite` in int8 but for the layers `skip`, float32 at its input and outputs.

    Args:
        model: float32; `unquantized` of a fake-quantized network, and perhaps a decoding behind it.
        pictures: uint8 [n, H, W, C], for the ranges that were not learned.
        learned: `learned_ranges` of the fake-quantized network.
    """
    calibrated = with_ranges(convert.calibrated_file(model, pictures), learned)
    kept = [name for name in flatbuffer.output_names(calibrated) if not skip.isdisjoint(layers_of(name))]
    return convert.quantized(calibrated, kept)


def unquantized(network: keras.Model, quantized: keras.Model) -> keras.Model:
    """A copy of the float network that was fake-quantized, with the weights that have been trained since."""
    weights = {name: value for layer in quantized.layers for name, value in _weights(layer).items()}
    copy = rewire.rewired_model(network, rewire.copy)
    for layer in copy.layers:
        layer.set_weights([weights[name] for name in _names(layer)])
    return copy


def learned_ranges(quantized: keras.Model) -> dict[str, Range]:
    """Layer -> the range that its output is rounded in, where that was learned."""
    found = {}
    for layer in quantized.layers:
        values = {_end(weight): weight.numpy() for weight in layer.weights}
        if "output_min" in values:
            found[layer.name.removeprefix(PREFIX)] = (float(values["output_min"]), float(values["output_max"]))
    return found


def with_ranges(content: bytes, learned: Mapping[str, Range]) -> bytes:
    """A calibrated file with learned ranges: of the layers that an operator does, one at most has its output's."""
    model = flatbuffer.unpack(content)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        tensor = graph.tensors[operator.outputs[0]]
        for low, high in (learned[name] for name in layers_of(tensor.name.decode()) if name in learned):
            tensor.quantization.min, tensor.quantization.max = [low], [high]
    return flatbuffer.pack(model)


def layers_of(operator: str) -> set[str]:
    """The float network's layers that an operator does, of its name in the file."""
    return {name.removeprefix(PREFIX) for name in flatbuffer.layers_of(operator)}


def _weights(layer: keras.layers.Layer) -> dict[tuple[str, str], np.ndarray]:
    inner = layer.layer if isinstance(layer, QuantizeWrapper) else layer
    return {(inner.name, _end(weight)): weight.numpy() for weight in layer.weights}


def _names(layer: keras.layers.Layer) -> list[tuple[str, str]]:
    return [(layer.name, _end(weight)) for weight in layer.weights]


def _end(weight: Any) -> str:
    return str(weight.name.split(":")[0].split("/")[-1])
