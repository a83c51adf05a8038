"""Weights of +1 and -1 with a scale for each output channel: one bit a weight in the file.

After Rastegari et al. 2016, "XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks", section 3.1
(binary weight networks; activations stay float32), with the first and the last layer kept as theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.compress.base import Compression, CompressionJob

if TYPE_CHECKING:
    from pipeline.compress.low_bit import Shipped

BITS = 1
BITS_BY_CLASS = {"DepthwiseConv2D": 8}
"""Depthwise convolutions are few weights, and would lose most."""


class Binary(Compression):
    """Weights of one bit, trained with the training data: a thirtieth of the size, and a few points lost.

    The network hardens by and by from its float weights to binary ones, while gradients pass the signs straight through
    and BatchNormalization goes on learning; that is folded into the scales at the end. The file unpacks its weights in
    every run and computes in float32: it is small, not fast. Depthwise convolutions keep eight bits.
    """

    kind: Literal["binary"] = "binary"
    """Weights +1 and -1."""
    keep: tuple[str, ...] = ("first", "last")
    """Layers whose weights keep eight bits: `first` and `last` (those next to the picture and to the outputs), layers'
    names, or patterns such as `attention_*`."""
    epochs: int = Field(default=10, ge=0)
    """Passes over the training data; 0 takes the signs of the float network, which is of use only to see what training
    gains."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak of Adam's learning rate in these epochs; higher than elsewhere, as weights must change their signs."""
    hardening: float = Field(default=0.5, ge=0, le=1)
    """Share of the training in which the weights go over from float to binary; 0 = binary from the first step."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` with weights of one bit; the trained model stays as it is.

        Raises:
            ConfigError: an entry of `keep` matches no layer.
            ExportError: no layer is left for one bit.
        """
        from pipeline.compress import low_bit

        return low_bit.packed_file(job, self.fine_tuned(job))

    def fine_tuned(self, job: CompressionJob) -> Shipped:
        """The fine-tuned network, which computes with exactly the weights of the file."""
        from pipeline.compress import low_bit
        from pipeline.compress.hardening import Hardening
        from pipeline.compress.shipping import fine_tuned

        trunk = job.trunk()
        bits = low_bit.chosen_bits(trunk, self.keep, BITS, BITS_BY_CLASS)
        network = low_bit.low_bit_network(trunk, bits)
        low_bit.set_statistics(network, job.calibration)
        if self.epochs:
            network = fine_tuned(job, network, self.epochs, self.learning_rate, [Hardening(self.hardening)])
        return low_bit.shipped(network, bits)
