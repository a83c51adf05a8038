from __future__ import annotations

import zlib

import numpy as np
import pytest

from models.stack import keras
from pipeline.compress import convert, flatbuffer
from pipeline.compress.convert import tflite_file
from pipeline.compress.inspect import inspect_content
from pipeline.compress.kernels import slow_operators
from pipeline.compress.post_training import DynamicInt8, Float16, Float32, Int8, Int16x8
from pipeline.compress.weights import unpacked_int4
from tests.compress.conftest import converted

KERNEL = np.array([[0.0, 0.5], [0.5, 0.0], [0.0, -1.0]], np.float32)


def dense_file(kernel: np.ndarray) -> bytes:
    numbers = keras.Input((kernel.shape[0],), name="image")
    dense = keras.layers.Dense(kernel.shape[1], use_bias=False, name="values")
    model = keras.Model(numbers, {"values": dense(numbers)})
    dense.set_weights([kernel])
    return tflite_file(model)


def test_zeros_distinct_values_and_bytes_of_a_float_kernel():
    content = dense_file(KERNEL)
    file = inspect_content(content)
    assert file.sparsity == 0.5
    assert file.distinct_values == 3
    assert file.weight_bytes["float32"] == 6 * 4
    assert file.zipped_bytes == len(zlib.compress(content))


def test_channels_with_scales_of_their_own_are_counted_alone():
    """1, 2 and 0 in one channel, a hundredth of it in the other: three values each, whatever the scales."""
    kernel = np.array([[1.0, 0.01], [2.0, 0.02], [0.0, 0.0], [1.0, 0.01]], np.float32)
    model = keras.Sequential([keras.layers.Dense(2, use_bias=False, input_shape=(4,), name="values")])
    image = keras.Input((4,), name="image")
    network = keras.Model(image, {"values": model.layers[0](image)})
    model.set_weights([kernel])
    pictures = np.arange(40, dtype=np.uint8).reshape(10, 4)
    file = inspect_content(convert.int8_file(network, pictures))
    assert file.distinct_values == 3
    assert file.sparsity == 0.25
    assert file.weight_bytes["int8"] == 8


@pytest.mark.parametrize("variant", [Float32(), Float16(), DynamicInt8(), Int8(), Int16x8()])
def test_weights_are_found_however_they_are_stored(classifier_job, variant):
    file = inspect_content(converted(variant, classifier_job))
    kernels = sum(int(np.prod(weight.shape)) for weight in classifier_job.model.weights if len(weight.shape) > 1)
    dtype, size = {"float32": ("float32", 4), "float16": ("float16", 2)}.get(variant.kind, ("int8", 1))
    small = file.weight_bytes.get("float32", 0) // 4 if variant.kind == "dynamic_int8" else 0  # kernels left in float
    assert kernels * size <= file.weight_bytes[dtype] + small <= 1.2 * kernels * size
    assert 0 < file.sparsity < 0.2
    assert file.zipped_bytes < file.bytes


def test_only_the_largest_kernel_counts_and_each_of_its_channels_alone():
    """Thirty-two values in each channel of the wide kernel, times a factor of the channel; a small kernel after it."""
    image = keras.Input((4, 4, 64), name="image")
    wide, small = keras.layers.Conv2D(16, 1, use_bias=False), keras.layers.Conv2D(2, 1, use_bias=False)
    model = keras.Model(image, {"values": small(keras.layers.ReLU()(wide(image)))})
    values = np.tile(np.arange(1.0, 33.0), 2)[:, np.newaxis] * np.linspace(0.5, 1.5, 16)
    wide.set_weights([values[np.newaxis, np.newaxis].astype(np.float32)])
    assert inspect_content(tflite_file(model)).distinct_values == 32


def test_four_bits_are_unpacked_lower_half_first():
    assert unpacked_int4(bytes([0x21, 0xF8])).tolist() == [1, 2, -8, -1]


def test_bytes_of_four_bit_weights_are_those_of_the_file(classifier_job):
    """A kernel of a file, said to be int4 and packed by hand."""
    model = flatbuffer.unpack(dense_file(KERNEL))
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.operators[0].inputs[1]]
    tensor.type = flatbuffer.schema().TensorType.INT4
    model.buffers[tensor.buffer].data = np.array([0x10, 0x02, 0xF0], np.uint8)
    file = inspect_content(flatbuffer.pack(model))
    assert file.weight_bytes["int4"] == 3
    assert (file.sparsity, file.distinct_values) == (0.5, 3)


def test_a_file_without_kernels():
    numbers = keras.Input((2,), name="image")
    file = inspect_content(tflite_file(keras.Model(numbers, {"values": numbers * 2.0})))
    assert (file.sparsity, file.distinct_values) == (None, None)


def test_operators_without_fast_kernels_are_named(classifier_job):
    """XNNPACK has kernels for all of these but for activations of 16 bits."""
    found = {
        variant.kind: slow_operators(converted(variant, classifier_job)) for variant in (Float32(), Float16(), Int8())
    }
    assert found == {"float32": {}, "float16": {}, "int8": {}}
    operators = inspect_content(converted(Int16x8(), classifier_job)).operators
    expected = {name: operators[name] for name in ("CONV_2D", "FULLY_CONNECTED")}
    assert slow_operators(converted(Int16x8(), classifier_job)) == expected
