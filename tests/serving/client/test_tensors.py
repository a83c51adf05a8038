"""Arrays as TensorProtos and as JSON, against TensorFlow's own conversion."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework.tensor_pb2 import TensorProto as TheirProto

from models.stack import tf
from pipeline.errors import DataError
from serving.remote import json_tensors, tensors
from serving.remote.tensors import STRING, TYPES, TensorProto
from serving.remote.values import TensorSpec

SHAPES = [(), (0,), (1,), (3,), (2, 3), (2, 0, 3), (2, 1, 2, 3)]
NUMBERS = [name for name in TYPES if name != STRING]
IN_JSON = [name for name in TYPES if name not in json_tensors.NOT_IN_JSON]


def example(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random values over the whole range of a type, its extremes among them."""
    random = np.random.default_rng(seed)
    size = math.prod(shape)
    if name == STRING:
        values = np.empty(size, object)
        values[:] = [random.bytes(random.integers(0, 9)) for _ in range(size)]
        return values.reshape(shape)
    kind = np.dtype(name)
    values = np.frombuffer(random.bytes(size * kind.itemsize), kind).copy()
    if kind.kind == "b":
        values = random.integers(0, 2, size).astype(bool)
    if kind.kind in "fc":  # random bits hold NaNs whose payload a conversion may change
        values = (random.standard_normal(size) * 1000).astype(kind) + (
            random.standard_normal(size) * 1j if kind.kind == "c" else 0
        )
        values = values.astype(kind)
        values[: min(size, 3)] = [np.inf, -np.inf, -0.0][: min(size, 3)]
    elif kind.kind in "iu":
        values[: min(size, 2)] = [np.iinfo(kind).min, np.iinfo(kind).max][: min(size, 2)]
    return values.reshape(shape)


def tf_type(name: str) -> tf.DType:
    return tf.string if name == STRING else tf.as_dtype(name)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_tensorflow_reads_what_is_written_and_is_read(name: str, shape: tuple[int, ...]) -> None:
    array = example(name, shape)
    sent = tensors.to_proto(array).SerializeToString(deterministic=True)
    theirs = TheirProto.FromString(sent)
    assert theirs.SerializeToString(deterministic=True) == sent, "nothing in it is unknown to TensorFlow"
    same(tf.make_ndarray(theirs), array)
    same(np.asarray(tf.io.parse_tensor(sent, tf_type(name)).numpy(), array.dtype), array)
    answered = tf.make_tensor_proto(array, tf_type(name), shape).SerializeToString()
    same(tensors.from_proto(TensorProto.FromString(answered)), array)
    same(tensors.from_proto(tensors.to_proto(array)), array)


@pytest.mark.parametrize("name", TYPES)
def test_typed_fields_are_read(name: str) -> None:
    """As a server writes them by default: no `tensor_content`."""
    array = example(name, (2, 3))
    proto = TheirProto(dtype=tf_type(name).as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = array.ravel()
    parts = {
        "float16": lambda: flat.view(np.uint16),
        "complex64": lambda: flat.view(np.float32),
        "complex128": lambda: flat.view(np.float64),
    }
    getattr(proto, TYPES[name].field).extend(parts.get(name, lambda: flat)().tolist())
    same(tf.make_ndarray(proto), array)
    same(tensors.from_proto(TensorProto.FromString(proto.SerializeToString())), array)


@pytest.mark.parametrize("name", TYPES)
def test_the_last_value_stands_for_the_rest_and_none_for_zeros(name: str) -> None:
    one = example(name, (1,), seed=3)
    short = tensors.to_proto(one)
    short.tensor_shape.dim[0].size = 4
    if name != STRING:
        content, short.tensor_content = np.frombuffer(short.tensor_content, name), b""
        typed = content.view(tensors.STORED.get(name, name))
        getattr(short, TYPES[name].field).extend(typed.tolist())
    same(tensors.from_proto(short), np.repeat(one, 4))
    empty = TensorProto(dtype=TYPES[name].number, tensor_shape={"dim": [{"size": 2}]})
    same(tensors.from_proto(empty), np.full(2, b"", object) if name == STRING else np.zeros(2, name))


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tolist() == expected.tolist() or np.array_equal(found, expected, equal_nan=True)


def test_other_byte_orders_and_strides_are_sent_right() -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2]
    same(tf.make_ndarray(TheirProto.FromString(tensors.to_proto(array).SerializeToString())), array.astype("int32"))


def test_text_is_sent_as_utf_8() -> None:
    for array in (np.array(["ä", "b"]), np.array([["ä"], [b"b\0"]], object), np.array([b"x", b"yz"])):
        expected = [tensors.as_bytes(value) for value in array.ravel().tolist()]
        assert tensors.from_proto(tensors.to_proto(array)).ravel().tolist() == expected


def test_answers_may_be_written_to() -> None:
    found = tensors.from_proto(tensors.to_proto(np.arange(3)))
    found += 1
    assert found.tolist() == [1, 2, 3]


def test_what_cannot_be_sent_or_read_is_said() -> None:
    with pytest.raises(DataError, match=r"An array of datetime64.* cannot be sent\. TF Serving takes float32"):
        tensors.to_proto(np.array(["2026-01-01"], "datetime64[D]"))
    with pytest.raises(DataError, match="holds a int, expected bytes or text"):
        tensors.to_proto(np.array([b"a", 1], object))
    with pytest.raises(DataError, match="type 20, which the client does not read"):
        tensors.from_proto(TensorProto(dtype=20))
    with pytest.raises(DataError, match=r"holds 3 values for the shape \[2\]"):
        tensors.from_proto(TensorProto(dtype=1, tensor_shape={"dim": [{"size": 2}]}, float_val=[1, 2, 3]))
    with pytest.raises(DataError, match="complex64 cannot be sent over REST; use gRPC"):
        json_tensors.to_json(np.zeros(2, np.complex64))


@pytest.mark.parametrize("name", IN_JSON)
@pytest.mark.parametrize("shape", SHAPES)
def test_json_gives_back_what_it_was_given(name: str, shape: tuple[int, ...]) -> None:
    array = example(name, shape)
    text = json.dumps(json_tensors.to_json(array)).encode()
    same(json_tensors.from_json(json_tensors.read(text), TensorSpec(name, shape)), array)


def test_json_as_tf_serving_writes_it() -> None:
    read = json_tensors.read(b'{"a": [1.0, NaN, -Infinity, 9e+06], "b": ["\xff\xfex", {"b64": "AAE="}, "\xc3\xa4\\n"]}')
    found = json_tensors.from_json(read["a"], TensorSpec("float32", (None,)))
    np.testing.assert_array_equal(found, np.array([1, np.nan, -np.inf, 9e6], np.float32))
    strings = json_tensors.from_json(read["b"], TensorSpec(STRING, (None,)))
    assert strings.tolist() == [b"\xff\xfex", b"\0\1", "ä\n".encode()]
    assert json_tensors.from_json([], TensorSpec("int64", (None, 4))).shape == (0, 4)
    assert json_tensors.from_json(3.0, TensorSpec("float32", ())).shape == ()
    for wrong, dtype in (
        ([[1], [2, 3]], "int32"),
        (["a"], "float32"),
        ([1], STRING),
        ([None], "uint8"),
        ([300], "uint8"),
    ):
        with pytest.raises(DataError, match="The server's answer is no array of"):
            json_tensors.from_json(wrong, TensorSpec(dtype, None))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NUMBERS).flatmap(
        lambda name: arrays.arrays(name, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    )
)
def test_any_array_of_numbers(array: np.ndarray) -> None:
    sent = tensors.to_proto(array).SerializeToString()
    np.testing.assert_array_equal(tf.make_ndarray(TheirProto.FromString(sent)), array)
    np.testing.assert_array_equal(tensors.from_proto(TensorProto.FromString(sent)), array)
