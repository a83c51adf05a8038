"""Float variants, and post-training quantization, which needs nothing but the trained weights and some pictures."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from models.stack import keras, tf
from pipeline.compress import convert
from pipeline.compress.base import Compression, CompressionJob, PartCompression, PartJob
from pipeline.compress.calibration import AnyRanges
from pipeline.compress.quantization_aware import with_fixed_statistics


class Float32(PartCompression):
    """The trained model as it is, in float32: the measure for all other variants. Takes float32 pictures."""

    same_function: ClassVar[bool] = True
    kind: Literal["float32"] = "float32"
    """Weights and arithmetic in float32."""

    def convert(self, job: CompressionJob) -> bytes:
        """A float32 `.tflite`."""
        return convert.tflite_file(job.serving())

    def convert_part(self, job: PartJob) -> bytes:
        """A float32 `.tflite`."""
        return convert.tflite_file(job.model)


class Float32FineTuned(Compression):
    """The trained model in float32 after the extra training that quantization-aware training and pruning get too: what
    those have to be held against, so that the gain of more training is not taken for theirs."""

    kind: Literal["float32_fine_tuned"] = "float32_fine_tuned"
    """Weights and arithmetic in float32, after some more epochs."""
    epochs: int = Field(default=2, ge=1)
    """Passes over the training data: as many as the variants that it is compared with get."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak of the learning rate: that of the variants that it is compared with."""

    def convert(self, job: CompressionJob) -> bytes:
        """A float32 `.tflite`; the trained model stays as it is."""
        network = job.trunk()
        with job.scope():
            student = with_fixed_statistics(network)
        job.fine_tune(student, self.epochs, self.learning_rate)
        # The copy out of the strategy's scope leaves plain variables, which the converter can freeze.
        tuned = with_fixed_statistics(network)
        tuned.set_weights(student.get_weights())
        return convert.tflite_file(job.task.serving_model(tuned))


class Float16(PartCompression):
    """Weights stored in float16, half the size; arithmetic in float32 on CPUs, float16 on GPUs."""

    kind: Literal["float16"] = "float16"
    """Weights in float16."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` with float16 weights."""
        return convert.with_decoding(job.trunk(), job.task, _float16_file)

    def convert_part(self, job: PartJob) -> bytes:
        """A `.tflite` with float16 weights."""
        return _float16_file(job.model)


class DynamicInt8(PartCompression):
    """Weights in int8, a quarter of the size; activations are quantized on the fly. Needs no calibration."""

    kind: Literal["dynamic_int8"] = "dynamic_int8"
    """Weights in int8, activations in float32 between operators."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` with int8 weights and float32 input and output."""
        return convert.with_decoding(job.trunk(), job.task, _dynamic_file)

    def convert_part(self, job: PartJob) -> bytes:
        """A `.tflite` with int8 weights and float32 inputs and outputs."""
        return _dynamic_file(job.model)


class Int8(PartCompression):
    """Weights and activations in int8: no float operator inside, for phones, DSPs and microcontrollers."""

    kind: Literal["int8"] = "int8"
    """Weights and activations in int8."""
    input_output: Literal["uint8", "int8", "float32"] = "uint8"
    """Type of the file's input and output. With uint8 a picture's bytes go in unchanged (scale 1, zero point 0).
    Outputs that are not between 0 and 1, such as a regression's, are float32 always."""
    range: AnyRanges | None = None
    """How the ranges of activations follow from the calibration pictures; by default as `compress.calibration` says."""

    def convert(self, job: CompressionJob) -> bytes:
        """A fully quantized `.tflite`."""
        ranges = self.range or job.ranges
        content = convert.with_decoding(
            job.trunk(), job.task, lambda model: convert.int8_file(model, job.calibration, ranges)
        )
        return convert.with_input_output(content, self.input_output)

    def convert_part(self, job: PartJob) -> bytes:
        """A fully quantized `.tflite`, but for its inputs and outputs."""
        return convert.quantized(convert.calibrated_on(job.model, job.inputs(), self.range or job.ranges))


class Int16x8(PartCompression):
    """Weights in int8, activations in int16: nearly float accuracy at the size of int8, slower than int8."""

    kind: Literal["int16x8"] = "int16x8"
    """Weights in int8, activations in int16."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` with int8 weights, int16 activations, float32 input and output."""
        return convert.with_decoding(job.trunk(), job.task, lambda model: convert.int16x8_file(model, job.calibration))

    def convert_part(self, job: PartJob) -> bytes:
        """The same of a part."""
        return convert.int16x8_on(job.model, job.inputs())


def _float16_file(model: keras.Model) -> bytes:
    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return convert.tflite_file(model, prepare)


def _dynamic_file(model: keras.Model) -> bytes:
    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    return convert.tflite_file(model, prepare)
