"""Variants made from the trained weights alone: float, and post-training quantization."""

from __future__ import annotations

from typing import Any, Literal

from models.stack import tf
from pipeline.compress import convert
from pipeline.compress.base import Compression, CompressionJob


class Float32(Compression):
    """The trained model as it is, in float32: the measure for all other variants. Takes float32 pictures."""

    kind: Literal["float32"] = "float32"
    """Weights and arithmetic in float32."""

    def convert(self, job: CompressionJob) -> bytes:
        """A float32 `.tflite`."""
        return convert.tflite_file(job.serving())


class Float16(Compression):
    """Weights stored in float16, half the size; arithmetic in float32 on CPUs, float16 on GPUs."""

    kind: Literal["float16"] = "float16"
    """Weights in float16."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` with float16 weights."""

        def prepare(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]

        return convert.with_decoding(job.trunk(), job.task, lambda model: convert.tflite_file(model, prepare))


class DynamicInt8(Compression):
    """Weights in int8, a quarter of the size; activations are quantized on the fly. Needs no calibration."""

    kind: Literal["dynamic_int8"] = "dynamic_int8"
    """Weights in int8, activations in float32 between operators."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` with int8 weights and float32 input and output."""

        def prepare(converter: Any) -> None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]

        return convert.with_decoding(job.trunk(), job.task, lambda model: convert.tflite_file(model, prepare))


class Int8(Compression):
    """Weights and activations in int8: no float operator inside, for phones, DSPs and microcontrollers."""

    kind: Literal["int8"] = "int8"
    """Weights and activations in int8."""
    input_output: Literal["uint8", "int8", "float32"] = "uint8"
    """Type of the file's input and output. With uint8 a picture's bytes go in unchanged (scale 1, zero point 0).
    Outputs that are not between 0 and 1, such as a regression's, are float32 always."""

    def convert(self, job: CompressionJob) -> bytes:
        """A fully quantized `.tflite`."""
        content = convert.with_decoding(job.trunk(), job.task, lambda model: convert.int8_file(model, job.calibration))
        return convert.with_input_output(content, self.input_output)


class Int16x8(Compression):
    """Weights in int8, activations in int16: nearly float accuracy at the size of int8, slower than int8."""

    kind: Literal["int16x8"] = "int16x8"
    """Weights in int8, activations in int16."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` with int8 weights, int16 activations, float32 input and output."""
        return convert.with_decoding(job.trunk(), job.task, lambda model: convert.int16x8_file(model, job.calibration))
