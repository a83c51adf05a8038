"""The ranges of activations before any training, from calibration pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapper

from models.stack import keras, tf
from pipeline.compress.qat.graph import calls

CALIBRATION_BATCH = 16


def set_ranges(quantized: keras.Model, network: keras.Model, pictures: np.ndarray) -> None:
    """Sets each range of `quantized` before any training: of weights by themselves, of activations from `pictures`.

    tfmot starts every activation at -6..6 and moves a thousandth of the way with each step; a deep network never
    recovers from the clipping of the first steps.

    Args:
        network: what `quantized` was made of; its layers' outputs are what is measured.
        pictures: uint8 [n, H, W, C].
    """
    measured = activation_ranges(network, pictures)
    for layer in quantized.layers:
        if not isinstance(layer, QuantizeWrapper):
            continue
        for weight, quantizer, variables in layer._weight_vars:
            quantizer(weight, training=True, weights=variables)
        if layer.layer.name in measured:
            _assign(layer, measured[layer.layer.name])


def activation_ranges(network: keras.Model, pictures: np.ndarray) -> dict[str, tuple[float, float]]:
    """Layer name -> least and greatest value of its outputs: as tfmot's own average, the mean over batches."""
    outputs = defaultdict(list)
    for node in calls(network):
        outputs[node.layer.name].append(node.outputs)
    probe = keras.Model(network.inputs, dict(outputs))

    @tf.function
    def extremes(batch: tf.Tensor) -> list[tf.Tensor]:
        found = probe(batch, training=False)
        return [tf.stack([_least(found[name]), -_least([-value for value in found[name]])]) for name in outputs]

    means = np.mean([extremes(batch) for batch in _batches(pictures)], axis=0)
    return {name: (float(low), float(high)) for name, (low, high) in zip(outputs, means, strict=True)}


def _least(values: list[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_min([tf.reduce_min(value) for value in values])


def _batches(pictures: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(pictures), CALIBRATION_BATCH):
        yield pictures[start : start + CALIBRATION_BATCH].astype(np.float32)


def _assign(layer: keras.layers.Layer, measured: tuple[float, float]) -> None:
    """Sets the range of a layer's output, which tfmot keeps in variables of these names; it must contain 0."""
    values = {"min": min(measured[0], 0.0), "max": max(measured[1], 0.0)}
    for weight in layer.weights:
        name = weight.name.split(":")[0].split("/")[-1]
        owner, _, end = name.rpartition("_")
        if end in values and owner == "output":
            weight.assign(values[end])
