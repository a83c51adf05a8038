"""Weights of four bits, two a byte in the file: an eighth of the size of float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.compress.base import Compression, CompressionJob

if TYPE_CHECKING:
    from pipeline.compress.low_bit import Shipped

BITS = 4


class FourBit(Compression):
    """What variants with weights of four bits share."""

    block: int | None = Field(default=None, ge=2)
    """How many weights share a scale, such as 32 or 64; none = all of an output channel. Must divide the weights that
    an output channel of each such layer has. Only for float32 activations: no int8 kernel of LiteRT has blocks."""
    keep: tuple[str, ...] = ("first", "last")
    """Layers whose weights keep eight bits: `first` and `last` (those next to the picture and to the outputs), layers'
    names, or patterns such as `attention_*`."""
    depthwise_bits: Literal[4, 8] = 8
    """Bits of the weights of depthwise convolutions: they are few, and lose most."""
    activations: Literal["float32", "int8"] = "float32"
    """What the file computes in. `int8`: multiplies int8 activations with int4 weights, no float operator inside."""
    input_output: Literal["uint8", "int8", "float32"] = "uint8"
    """Type of the input and output of a file with int8 activations; with float32 activations both are float32."""

    @model_validator(mode="after")
    def _kernels_exist(self) -> FourBit:
        if self.block is not None and self.activations == "int8":
            raise ValueError(
                "no int8 kernel of LiteRT takes blocks of weights: set `activations: float32`, or no block"
            )
        return self

    @property
    def bits_by_class(self) -> dict[str, int]:
        """Class of a layer -> bits of its weights, where they are not four."""
        # LiteRT has no kernel for int8 activations and int4 weights of a transposed convolution.
        transposed = 8 if self.activations == "int8" else BITS
        return {"DepthwiseConv2D": self.depthwise_bits, "Conv2DTranspose": transposed}

    def ready(self, job: CompressionJob, epochs: int = 0, learning_rate: float = 0.0) -> Shipped:
        """The network with weights of few bits, trained on with them for some epochs."""
        from pipeline.compress import low_bit
        from pipeline.compress.shipping import fine_tuned

        trunk = job.trunk()
        bits = low_bit.chosen_bits(trunk, self.keep, BITS, self.bits_by_class)
        network = low_bit.low_bit_network(trunk, bits, self.block)
        return low_bit.shipped(fine_tuned(job, network, epochs, learning_rate) if epochs else network, bits)

    def file(self, job: CompressionJob, ready: Shipped) -> bytes:
        """The `.tflite` of a network with weights of few bits."""
        from pipeline.compress import low_bit

        if self.activations == "int8":
            return low_bit.packed_int8_file(job, ready, self.input_output)
        return low_bit.packed_file(job, ready)


class Int4(FourBit):
    """Weights of four bits without any training: each scale is the one with the least squared error."""

    kind: Literal["int4"] = "int4"
    """Weights in int4."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` with weights of four bits.

        Raises:
            ConfigError: an entry of `keep` matches no layer.
            ExportError: no layer is left for four bits, or `block` does not divide a layer's weights.
        """
        return self.file(job, self.ready(job))


class Int4Qat(FourBit):
    """Weights of four bits after some epochs of training with them, where `int4` loses too much.

    The scales are trained too (Esser et al. 2020, "Learned Step Size Quantization"), and are the ones that ship.
    BatchNormalization goes on learning meanwhile, and is folded into the scales at the end.
    """

    kind: Literal["int4_qat"] = "int4_qat"
    """Weights in int4, rounded while training."""
    epochs: int = Field(default=3, ge=0)
    """Passes over the training data with rounded weights; 0 is the same as `int4`."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak of Adam's learning rate in these epochs."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` with weights of four bits; the trained model stays as it is.

        Raises:
            ConfigError: an entry of `keep` matches no layer.
            ExportError: no layer is left for four bits, or `block` does not divide a layer's weights.
        """
        return self.file(job, self.fine_tuned(job))

    def fine_tuned(self, job: CompressionJob) -> Shipped:
        """The fine-tuned network, which computes with exactly the weights of the file."""
        return self.ready(job, self.epochs, self.learning_rate)
