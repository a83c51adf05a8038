"""Tensors on the wire, against TensorFlow's own conversion."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.local.conversion import DTYPES, STRING, _warn_of_wrapping, array_of, tensor_of

VALUES: dict[str, Any] = {
    "object": [b"one", b"\xff\x00", b""],
    "bool": [True, False, True],
    "complex64": [1 + 2j, -0.5j, 3],
    "complex128": [1 + 2j, -0.5j, 3],
}


def array(dtype: Any) -> np.ndarray:
    return np.array(VALUES.get(dtype.name, [0, 1, 100]), dtype).reshape(3, 1)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("content", [False, True])
def test_what_is_written_is_what_tensorflow_reads(dtype: Any, content: bool) -> None:
    tensor = tensor_of(array(dtype), content=content)
    np.testing.assert_array_equal(tf.make_ndarray(tensor), array(dtype))
    assert bool(tensor.tensor_content) == (content and dtype != STRING)
    np.testing.assert_array_equal(array_of(tensor), array(dtype))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_what_tensorflow_writes_is_read(dtype: Any) -> None:
    read = array_of(tf.make_tensor_proto(array(dtype)))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array(dtype))


def test_a_scalar_stays_one() -> None:
    assert array_of(tensor_of(np.array(2.5, np.float32))).shape == ()
    assert array_of(tf.make_tensor_proto(b"text")).item() == b"text"
    assert tf.make_ndarray(tensor_of(np.array(7, np.int64))).item() == 7


@pytest.mark.parametrize(
    ("given", "expected"),
    [([1.0], [1, 1, 1]), ([1.0, 2.0], [1, 2, 2]), ([], [0, 0, 0]), ([1.0, 2.0, 3.0, 4.0], [1, 2, 3])],
)
def test_missing_values_repeat_the_last_and_more_are_left_out(given: list[float], expected: list[float]) -> None:
    tensor = tf.make_tensor_proto([0.0, 0.0, 0.0])
    tensor.ClearField("tensor_content")
    tensor.float_val.extend(given)
    assert array_of(tensor).tolist() == expected


def test_missing_strings_are_empty() -> None:
    tensor = TensorProto(dtype=tf.string.as_datatype_enum)
    tensor.tensor_shape.dim.add().size = 2
    assert array_of(tensor).tolist() == [b"", b""]


def test_halves_are_read_from_their_bits() -> None:
    tensor = TensorProto(dtype=tf.bfloat16.as_datatype_enum, half_val=[0x3FC0])
    assert array_of(tensor) == ml_dtypes.bfloat16(1.5)


@pytest.mark.parametrize("change", ["type", "negative", "unknown", "content", "huge", "variant"])
def test_what_is_no_tensor_is_refused(change: str) -> None:
    tensor = tensor_of(np.zeros((2, 2), np.float32), content=True)
    if change == "type":
        tensor.dtype = 0
    elif change == "variant":
        tensor.dtype = tf.variant.as_datatype_enum
    elif change == "negative":
        tensor.tensor_shape.dim[0].size = -1
    elif change == "unknown":
        tensor.tensor_shape.unknown_rank = True
    elif change == "content":
        tensor.tensor_content = b"12345"
    else:
        tensor.tensor_shape.dim[0].size = 2**40
    with pytest.raises(ValueError, match=r"tensor of|buffer|reshape|larger"):
        array_of(tensor)


def test_integers_wrap_around_with_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    _warn_of_wrapping.cache_clear()
    tensor = TensorProto(dtype=tf.uint8.as_datatype_enum, int_val=[300])
    assert [array_of(tensor).item() for _ in range(2)] == [44, 44]
    assert capsys.readouterr().err.count("values outside uint8: they wrap around") == 1
