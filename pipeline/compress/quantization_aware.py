"""Quantization-aware training: the network is fine-tuned while it feels the rounding of int8.

After Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
and Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference", section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from pydantic import Field

from models.stack import keras, require_legacy_keras, tf
from pipeline.compress import convert
from pipeline.compress.base import Compression, CompressionJob
from pipeline.errors import ExportError

CALIBRATION_BATCH = 16
WRAPPER_PREFIX = "quant_"


class Int8Qat(Compression):
    """Full int8 after some epochs of quantization-aware training, where post-training quantization loses too much."""

    kind: Literal["int8_qat"] = "int8_qat"
    """Weights and activations in int8, ranges learned while training."""
    input_output: Literal["uint8", "int8", "float32"] = "uint8"
    """Type of the file's input and output. With uint8 a picture's bytes go in unchanged (scale 1, zero point 0).
    Outputs that are not between 0 and 1, such as a regression's, are float32 always."""
    epochs: int = Field(default=2, ge=0)
    """Passes over the training data with simulated quantization; 0 only calibrates."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Learning rate of these epochs; a hundredth of the training's own is a good start."""

    def convert(self, job: CompressionJob) -> bytes:
        """A fully quantized `.tflite` of the fine-tuned network; the trained model stays as it is.

        Raises:
            ExportError: tfmot cannot quantize a layer of the network; it is named.
        """
        content = convert.with_decoding(
            self.fine_tuned(job), job.task, lambda model: convert.int8_file(model, job.calibration)
        )
        return convert.with_input_output(content, self.input_output)

    def fine_tuned(self, job: CompressionJob) -> keras.Model:
        """The network with simulated quantization, calibrated and fine-tuned, which computes what the file will.

        Returns:
            `image` float32 [B, H, W, C] 0..255 in, raw outputs under their own names out.
        """
        network = with_fixed_statistics(job.trunk())
        quantized = quantization_aware(network)
        set_ranges(quantized, network, job.calibration)
        if self.epochs:
            with job.scope(), quantize_scope():
                student = with_output_names(keep_frozen(keras.models.clone_model(quantized)), network.output_names)
                student.set_weights(quantized.get_weights())
            job.fine_tune(student, self.epochs, self.learning_rate)
            # The copy out of the strategy's scope leaves plain variables, which the converter can freeze.
            quantized.set_weights(student.get_weights())
        return with_output_names(quantized, network.output_names)


def with_fixed_statistics(network: keras.Model) -> keras.Model:
    """A copy whose BatchNormalization keeps its trained statistics, scale and offset.

    Thus the graph that is fine-tuned is the one that is converted, where BatchNormalization is folded into the
    convolutions; batch statistics would make its ranges jump from step to step (Krishnamoorthi 2018, section 3.2.2).
    """
    normalisations = keras.layers.BatchNormalization
    return convert.clone(network, lambda layer: {"trainable": False} if isinstance(layer, normalisations) else {})


def quantization_aware(network: keras.Model) -> keras.Model:
    """The network with fake quantization of weights and activations, after tfmot's scheme for TFLite's int8 kernels.

    Raises:
        ExportError: tfmot has no way to quantize a layer.
    """
    try:
        quantized = _tfmot().quantization.keras.quantize_model(network)
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            f"Quantization-aware training cannot quantize this network: {str(error).split(' You can ')[0]} "
            "It works for mobilenet, mobilenet_v2, resnet50 and small_resnet with average or max pooling. "
            "For others leave int8_qat out of compress.variants and use int8, or int16x8 where that loses too much."
        ) from error
    return keep_frozen(quantized)


def keep_frozen(quantized: keras.Model) -> keras.Model:
    """tfmot's wrappers train the kernels of frozen layers too; moves them to the weights that are not trained."""
    for layer in quantized.layers:
        if layer.name.startswith(WRAPPER_PREFIX) and not layer.trainable:
            layer._non_trainable_weights = [*layer._trainable_weights, *layer._non_trainable_weights]
            layer._trainable_weights = []
    return quantized


def quantize_scope() -> Any:
    """The context in which quantization-aware models are cloned and loaded."""
    return _tfmot().quantization.keras.quantize_scope()


def with_output_names(model: keras.Model, names: list[str]) -> keras.Model:
    """The same network with its outputs under these names, by identity layers: tfmot prefixes each layer's name, but
    losses, metrics and decodings go by name."""
    identities = [
        keras.layers.Activation("linear", name=name)(output) for name, output in zip(names, model.outputs, strict=True)
    ]
    return keras.Model(model.inputs, dict(zip(names, identities, strict=True)), name=model.name)


def set_ranges(quantized: keras.Model, network: keras.Model, pictures: np.ndarray) -> None:
    """Sets each range of `quantized` before any training: of weights by themselves, of activations from `pictures`.

    tfmot starts every activation at -6..6 and moves a thousandth of the way with each step; a deep network never
    recovers from the clipping of the first steps.

    Args:
        network: what `quantized` was made of; its layers' outputs are what is measured.
        pictures: uint8 [n, H, W, C].
    """
    quantized(pictures[:1].astype(np.float32), training=True)  # sets the ranges of weights; activations follow here
    measured = activation_ranges(network, pictures)
    for layer in quantized.layers:
        ranges = measured.get(layer.name.removeprefix(WRAPPER_PREFIX))
        if layer.__class__.__name__ == "QuantizeLayer":
            _assign(layer, (0.0, 255.0))
        elif ranges is not None:
            _assign(layer, ranges)


def activation_ranges(network: keras.Model, pictures: np.ndarray) -> dict[str, tuple[float, float]]:
    """Layer name -> least and greatest value of its output: as tfmot's own average, the mean over batches."""
    layers = [layer for layer in network.layers if keras.backend.is_keras_tensor(layer.output)]
    probe = keras.Model(network.inputs, [layer.output for layer in layers])

    @tf.function
    def extremes(batch: tf.Tensor) -> tf.Tensor:
        return tf.stack([[tf.reduce_min(output), tf.reduce_max(output)] for output in probe(batch, training=False)])

    means = np.mean([extremes(batch).numpy() for batch in _batches(pictures)], axis=0)
    return {layer.name: (low, high) for layer, (low, high) in zip(layers, means.tolist(), strict=True)}


def _batches(pictures: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(pictures), CALIBRATION_BATCH):
        yield pictures[start : start + CALIBRATION_BATCH].astype(np.float32)


def _assign(layer: keras.layers.Layer, measured: tuple[float, float]) -> None:
    """Sets the range of a layer's output, which tfmot keeps in variables of these names; it must contain 0."""
    values = {"min": min(measured[0], 0.0), "max": max(measured[1], 0.0)}
    for weight in layer.weights:
        name = weight.name.split(":")[0].split("/")[-1]
        owner, _, end = name.rpartition("_")
        if end in values and owner in {"output", "post_activation", layer.name}:
            weight.assign(values[end])


def _tfmot() -> Any:
    require_legacy_keras()
    import tensorflow_model_optimization

    return tensorflow_model_optimization
