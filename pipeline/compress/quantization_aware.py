"""Quantization-aware training: the network is fine-tuned while it feels the rounding of int8.

After Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
and Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference", section 3.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from models.stack import keras, require_legacy_keras
from pipeline.compress import convert
from pipeline.compress.base import Compression, CompressionJob
from pipeline.compress.self_distillation import taught_by_itself
from pipeline.errors import ConfigError, ExportError, nearest
from pipeline.learners.distilled import Lessons

SHOWN = 8
"""How many layers an error names."""


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
    distillation: Lessons | None = None
    """What is learned from the trained float model in these epochs, such as `{transfers: [soft_targets]}`; left out,
    the variant learns as the trained model did."""
    batch_normalization: Literal["frozen", "folded"] = "frozen"
    """What becomes of BatchNormalization behind convolutions while training: `frozen` keeps its statistics, scale and
    offset, and trains the kernels before it; `folded` joins it with the kernels first, and trains these and a bias."""
    skip: tuple[str, ...] = ()
    """Layers with weights that stay in float32, such as `[logits]`; `convoy compress --check` lists the names. A
    Dequantize before and a Quantize behind them join them to the rest."""

    def convert(self, job: CompressionJob) -> bytes:
        """A fully quantized `.tflite` of the fine-tuned network; the trained model stays as it is.

        Raises:
            ConfigError: `skip` names a layer that the network does not have.
            ExportError: a layer of the network cannot be quantized; it is named.
        """
        simple, quantized = self._trained(job)
        if self.skip:
            content = self._mixed(job, simple, quantized)
        else:
            content = convert.with_decoding(
                with_output_names(quantized), job.task, lambda model: convert.int8_file(model, job.calibration)
            )
        return convert.with_input_output(content, self.input_output)

    def fine_tuned(self, job: CompressionJob) -> keras.Model:
        """The network with simulated quantization, calibrated and fine-tuned, which computes what the file will.

        Returns:
            `image` float32 [B, H, W, C] 0..255 in, raw outputs under their own names out.
        """
        return with_output_names(self._trained(job)[1])

    def skipped(self, network: keras.Model) -> tuple[str, ...]:
        """`skip`, once it is sure that the network has these layers; ConfigError with the nearest name."""
        weighted = [layer.name for layer in network.layers if layer.weights]
        for name in self.skip:
            if name not in weighted:
                raise ConfigError(f"{self.variant_name}: skip names {name!r}. {nearest(name, weighted)}")
        return self.skip

    def _trained(self, job: CompressionJob) -> tuple[keras.Model, keras.Model]:
        from models.folding import fold_batch_normalization

        job, network = taught_by_itself(job, self.distillation), job.trunk()
        skip = self.skipped(network)
        if self.batch_normalization == "folded":
            network = fold_batch_normalization(network)
        return _trained(job, network, self.epochs, self.learning_rate, skip=skip)

    def _mixed(self, job: CompressionJob, simple: keras.Model, quantized: keras.Model) -> bytes:
        from pipeline.compress.qat import mixed

        learned, skip = mixed.learned_ranges(quantized), set(self.skip)
        return convert.with_decoding(
            mixed.unquantized(simple, quantized),
            job.task,
            lambda model: mixed.mixed_file(model, job.calibration, learned, skip),
        )


def quantized_training(
    job: CompressionJob, network: keras.Model, epochs: int, learning_rate: float, scheme: Any = None
) -> keras.Model:
    """A float network -> the same with simulated quantization, calibrated and fine-tuned.

    Args:
        network: `image` float32 [B, H, W, C] 0..255 in, raw outputs by name; flat. It is left as it is.
        epochs: passes over the training data; 0 only calibrates.
        scheme: a tfmot QuantizeScheme; by default eight bits. Those that preserve sparsity or clusters fit as well.

    Returns:
        What computes the same as the file that `convert.int8_file` makes of it; inputs and outputs as of `network`.

    Raises:
        ExportError: a layer cannot be quantized; it is named.
    """
    return with_output_names(_trained(job, network, epochs, learning_rate, scheme)[1])


def _trained(
    job: CompressionJob,
    network: keras.Model,
    epochs: int,
    learning_rate: float,
    scheme: Any = None,
    skip: Collection[str] = (),
) -> tuple[keras.Model, keras.Model]:
    """The network in simple layers, and the same with simulated quantization, trained."""
    from pipeline.compress.qat.layout import fake_quantized
    from pipeline.compress.qat.ranges import set_ranges

    simple = prepared(network)
    quantized = fake_quantized(simple, scheme, skip)
    set_ranges(quantized, simple, job.calibration)
    if epochs:
        with job.scope():
            student = with_output_names(fake_quantized(simple, scheme, skip))
            student.set_weights(quantized.get_weights())
        job.fine_tune(student, epochs, learning_rate)
        # The copy out of the strategy's scope leaves plain variables, which the converter can freeze.
        quantized.set_weights(student.get_weights())
    return simple, quantized


def quantization_aware(network: keras.Model, scheme: Any = None) -> keras.Model:
    """The network with fake quantization of weights and activations, wherever the int8 file will round.

    Args:
        network: functional, float32 in and out; it is left as it is.
        scheme: a tfmot QuantizeScheme, which says how weights are quantized; by default eight bits.

    Raises:
        ExportError: a layer cannot be quantized; it is named.
    """
    from pipeline.compress.qat.layout import fake_quantized

    return fake_quantized(prepared(network), scheme)


def prepared(network: keras.Model) -> keras.Model:
    """A copy of the network in layers that int8 has operators for; what `fake_quantized` and `set_ranges` work on.

    Raises:
        ExportError: a layer cannot be quantized; it is named.
    """
    from pipeline.compress.qat import check, graph, simplify

    refused = [
        f"{layer.name} ({check.described(layer)})" for layer in graph.layers(network) if not simplify.is_known(layer)
    ]
    if refused:
        raise ExportError(refusal(refused))
    return simplify.simplified(network)


def refusal(layers: Sequence[str]) -> str:
    """What is said about layers that nobody knows how to quantize, and what to do about them."""
    more = f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else ""
    return (
        f"{len(layers)} layer{'s' if len(layers) > 1 else ''} cannot be trained with quantization: "
        f"{', '.join(layers[:SHOWN])}{more}; `convoy compress CONFIG --check` lists every layer. "
        "Use layers that it knows, or leave int8_qat and what builds on it out of compress.variants: int8 needs no "
        "training, int16x8 is closer to float. (docs/quantization_aware.md says how a layer is made known.)"
    )


def with_fixed_statistics(network: keras.Model) -> keras.Model:
    """A copy whose BatchNormalization keeps its trained statistics, scale and offset: what is fine-tuned in float
    beside quantization-aware training, to compare with it."""
    return convert.clone(network, convert.fixed_statistics)


def quantize_scope() -> Any:
    """The context in which quantization-aware models are cloned and loaded."""
    return _tfmot().quantization.keras.quantize_scope()


def load(file: Path) -> keras.Model:
    """A fake-quantized network from its `.keras` file, to go on training or to convert; equal to what was saved."""
    from pipeline.compress.qat import layers, layout

    with quantize_scope(), keras.saving.custom_object_scope(vars(layers)):
        return layout.with_frozen_kernels(keras.models.load_model(file, compile=False))


def with_output_names(model: keras.Model) -> keras.Model:
    """The same network whose outputs are given by layers of the names that they have in its dict of outputs: losses,
    metrics and decodings go by these, and fake quantization has changed them."""
    outputs = {}
    for name, output in model.output.items():
        is_named = output._keras_history.layer.name == name
        outputs[name] = output if is_named else keras.layers.Activation("linear", name=name)(output)
    return keras.Model(model.inputs, outputs, name=model.name)


def _tfmot() -> Any:
    require_legacy_keras()
    import tensorflow_model_optimization

    return tensorflow_model_optimization
