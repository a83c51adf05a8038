"""JSON values as tensors: types, ranges, shapes, base64, and TF Serving's words for what does not fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2 as types
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.errors import ServingError
from serving.local.conversion import array_of
from serving.local.rest.json_reader import read
from serving.local.rest.requests import Form, examples_of, predict_request
from serving.local.rest.tensors import from_base64, scalars_of, shape_of, tensor, tensor_of_scalars, whole_tensor

LEAVES = st.integers(-3, 300) | st.floats(width=32) | st.booleans() | st.text(max_size=3) | st.none()
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=12)
DTYPES = st.sampled_from(
    [types.DT_FLOAT, types.DT_UINT8, types.DT_INT64, types.DT_BOOL, types.DT_STRING, types.DT_HALF]
)


def of_json(text: str, dtype: int) -> np.ndarray[Any, Any]:
    return array_of(tensor(read(text.encode()), dtype))


def parsed(body: str, **inputs: int) -> tuple[dict[str, Any], Form]:
    """Inputs as arrays, and the form, of a predict request to a signature with these inputs."""
    signature = SignatureDef(inputs={name: TensorInfo(dtype=dtype) for name, dtype in inputs.items()})
    request, form = predict_request(body.encode(), ModelSpec(name="m"), lambda spec: signature)
    return {name: array_of(one).tolist() for name, one in request.inputs.items()}, form


def refused(body: str, **inputs: int) -> str:
    with pytest.raises(ServingError) as caught:
        parsed(body, **inputs)
    return f"{caught.value.code.name}: {caught.value.message}"


@pytest.mark.parametrize(
    ("text", "dtype", "value"),
    [
        ("[1, 2.5, -0.0]", types.DT_FLOAT, np.array([1, 2.5, -0.0], np.float32)),
        ("[1e300, -1e300, 1e-300]", types.DT_FLOAT, np.array([np.inf, -np.inf, 0], np.float32)),
        ("16777217", types.DT_FLOAT, np.float32(16777216)),
        ("[[0.1], [36893488147419103232]]", types.DT_DOUBLE, np.array([[0.1], [2.0**65]])),
        ("[-2147483648, 2147483647]", types.DT_INT32, np.array([-(2**31), 2**31 - 1], np.int32)),
        ("[300, -1]", types.DT_UINT8, np.array([44, 255], np.uint8)),
        ("[200, 40000]", types.DT_INT8, np.array([-56, 64], np.int8)),
        ("[40000]", types.DT_INT16, np.array([-25536], np.int16)),
        ("9223372036854775807", types.DT_INT64, np.int64(2**63 - 1)),
        ("[4294967295]", types.DT_UINT32, np.array([2**32 - 1], np.uint32)),
        ("[18446744073709551615]", types.DT_UINT64, np.array([2**64 - 1], np.uint64)),
        ("[[true, false]]", types.DT_BOOL, np.array([[True, False]])),
        ("[]", types.DT_FLOAT, np.zeros([0], np.float32)),
        ("[[], []]", types.DT_INT64, np.zeros([2, 0], np.int64)),
        ("[]", types.DT_HALF, np.zeros([0], np.float16)),
    ],
)
def test_numbers(text: str, dtype: int, value: np.ndarray[Any, Any]) -> None:
    found = of_json(text, dtype)
    np.testing.assert_array_equal(found, value, strict=True)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(value)) if found.dtype.kind == "f" else None


def test_strings_are_bytes() -> None:
    found = of_json('["a", {"b64": "/w=="}, "\\u00e9"]', types.DT_STRING)
    assert found.tolist() == [b"a", b"\xff", b"\xc3\xa9"]
    assert array_of(tensor(read(b'["\xff"]'), types.DT_STRING)).tolist() == [b"\xff"]
    assert of_json('{"b64": "aGk="}', types.DT_STRING).item() == b"hi"


@pytest.mark.parametrize(
    ("text", "dtype", "message"),
    [
        ("1.0", types.DT_INT32, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ("2147483648", types.DT_UINT8, "JSON Value: 2147483648 Type: Number is not of expected type: uint8"),
        ("-1", types.DT_UINT64, "JSON Value: -1 Type: Number is not of expected type: uint64"),
        ("9223372036854775808", types.DT_INT64, "JSON Value: 9223372036854775808 Type: Number is not of expected type"),
        ("true", types.DT_FLOAT, "JSON Value: true Type: True is not of expected type: float"),
        ("1", types.DT_BOOL, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ("null", types.DT_STRING, "JSON Value: null Type: Null is not of expected type: string"),
        ('{"a": 1}', types.DT_INT32, 'JSON Value: {\n    "a": 1\n} Type: Object is not of expected type: int32'),
        ('{"b64": "AA==", "x": 1}', types.DT_STRING, "not formatted correctly for base64 data"),
        ('{"b64": 1}', types.DT_STRING, "not formatted correctly for base64 data"),
        ('{"b64": "_9j_4AAQ"}', types.DT_STRING, "Unable to base64 decode"),
        ("[[1, 2], [3]]", types.DT_INT32, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ("[1, [2]]", types.DT_INT32, "Encountered list at unexpected level: 1 expected < 1"),
        ("[[1], 2]", types.DT_INT32, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ("[1, [true]]", types.DT_INT32, "Encountered list at unexpected level: 1 expected < 1"),
        (f"{'[' * 300}1{']' * 300}", types.DT_INT32, "nested deeper than 254 levels"),
    ],
)
def test_what_does_not_fit_is_named(text: str, dtype: int, message: str) -> None:
    with pytest.raises(ServingError) as caught:
        of_json(text, dtype)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
    assert message in caught.value.message


@pytest.mark.parametrize(("dtype", "name"), [(types.DT_HALF, "half"), (types.DT_BFLOAT16, "bfloat16")])
def test_types_that_tf_serving_does_not_read_from_json(dtype: int, name: str) -> None:
    unknown = f"Conversion of JSON Value: 1.5 to type: {name}"
    assert refused('{"inputs": [1.5]}', x=dtype) == f"UNIMPLEMENTED: {unknown}"
    row = "Failed to process element: 0 of 'instances' list."
    assert refused('{"instances": [1.5]}', x=dtype) == f"INVALID_ARGUMENT: {row} Error: UNIMPLEMENTED: {unknown}"


@settings(deadline=None)
@given(NESTED, DTYPES)
def test_reading_as_a_whole_and_value_by_value_give_the_same(value: Any, dtype: int) -> None:
    whole = whole_tensor(value, dtype)
    try:
        shape = shape_of(value)
        single = tensor_of_scalars(scalars_of(value, dtype, shape), dtype, shape)
    except ServingError:
        assert whole is None
    else:
        assert whole == single


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("aGVsbG8=", b"hello"),
        ("aGVsbG8", b"hello"),
        (" aGVs\n bG8=\t", b"hello"),
        ("aGVsbG8.", b"hello"),
        ("", b""),
        ("/+8=", b"\xff\xef"),
        ("aGVsbG8==", None),
        ("aGVsb", None),
        ("aGVs=bG8=", None),
        ("_-8=", None),
        ("aGVsbG8=x", None),
        ("aGVsb\x00G8=", None),
        ("é", None),
    ],
)
def test_base64_is_abseils(text: str, data: bytes | None) -> None:
    assert from_base64(text) == from_base64(text.encode()) == data


def test_rows_and_columns() -> None:
    assert parsed('{"instances": [[1, 2], [3, 4]]}', x=types.DT_INT32) == ({"x": [[1, 2], [3, 4]]}, Form.ROWS)
    assert parsed('{"instances": [{"x": 1}, {"x": 2}]}', x=types.DT_INT32) == ({"x": [1, 2]}, Form.ROWS)
    assert parsed('{"inputs": [1, 2]}', x=types.DT_INT32) == ({"x": [1, 2]}, Form.COLUMNS)
    two = {"a": types.DT_INT32, "s": types.DT_STRING}
    rows = '{"instances": [{"a": 1, "s": {"b64": "AA=="}}, {"s": "x", "a": 2}]}'
    assert parsed(rows, **two) == ({"a": [1, 2], "s": [b"\0", b"x"]}, Form.ROWS)
    assert parsed('{"inputs": {"a": [[1]], "s": "x", "z": null}}', **two) == ({"a": [[1]], "s": b"x"}, Form.COLUMNS)
    assert parsed('{"instances": [{"b64": "AA=="}]}', x=types.DT_STRING) == ({"x": [b"\0"]}, Form.ROWS)
    assert parsed('{"inputs": 1, "inputs": 2}', x=types.DT_INT32) == ({"x": 1}, Form.COLUMNS)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"instances": [1]}', "instances is a plain list, but expecting list of objects"),
        ('{"instances": [{"a": 1, "s": "x"}, 5]}', "Expecting object but got list at item 1 of input list"),
        ('{"instances": [{"a": 1}]}', "Failed to process element: 0 of 'instances' list. JSON object: "),
        (
            '{"instances": [{"a": 1, "q": 2}]}',
            "element: 0 key: q of 'instances' list. Error: INVALID_ARGUMENT: JSON obj",
        ),
        ('{"instances": [{"a": [1], "s": "x"}, {"a": [1, 2], "s": "x"}]}', "Expecting tensor size: 1 but got: 2"),
        ('{"instances": [{"a": [1], "s": "x"}, {"a": [[1]], "s": "x"}]}', "Expecting shape [1] but got: [1,1]"),
        ('{"instances": [{"a": 1, "s": "x"}, {"a": "b", "s": "x"}]}', "element: 1 key: a of 'instances' list."),
        ('{"inputs": [1]}', "inputs is a plain value/list, but expecting an object"),
        ('{"inputs": {"a": 1}}', "Missing named input: s in 'inputs' object."),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": {}}', "Expecting 'instances' to be an list/array"),
        ('{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or 'instances' keys to exist "),
        ('{"signature_name": 5, "inputs": 1}', "'signature_name' key must be a string value."),
        ("{}", "Missing 'inputs' or 'instances' key"),
    ],
)
def test_requests_for_two_inputs_that_do_not_fit(body: str, message: str) -> None:
    assert message in refused(body, a=types.DT_INT32, s=types.DT_STRING)


def test_an_object_among_plain_values() -> None:
    found = refused('{"instances": ["x", {"s": "y"}]}', s=types.DT_STRING)
    assert found == "INVALID_ARGUMENT: Expecting value/list but got object at item 1 of input list"


def test_a_signature_without_inputs() -> None:
    assert refused('{"instances": [1]}') == "INVALID_ARGUMENT: Failed to get input map for signature: DEFAULT"


def test_examples() -> None:
    model = ModelSpec(name="m")
    body = b"""{"signature_name": "s", "context": {"q": "pizza"}, "examples": [
        {"names": ["foo", {"b64": "/w=="}], "ratings": [8.0, NaN, 1e300], "age": 20, "mix": [1, true, false], "no": []},
        {"age": [1], "age": 2}]}"""
    found = examples_of(body, model).example_list_with_context
    first, second = (example.features.feature for example in found.examples)
    assert model.signature_name == "s"
    assert list(found.context.features.feature["q"].bytes_list.value) == [b"pizza"]
    assert list(first["names"].bytes_list.value) == [b"foo", b"\xff"]
    ratings = list(first["ratings"].float_list.value)
    assert (ratings[0], math.isnan(ratings[1]), ratings[2]) == (8.0, True, math.inf)
    assert (list(first["age"].int64_list.value), list(first["mix"].int64_list.value)) == ([20], [1, 1, 0])
    assert first["no"].WhichOneof("kind") is None
    assert list(second["age"].int64_list.value) == [2]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"examples": [[]]}', "Example must be JSON object but got JSON Array"),
        ('{"context": 1, "examples": [{}]}', "Example must be JSON object but got JSON Number"),
        ('{"examples": []}', "'examples' value is an empty array"),
        ('{"examples": 1}', "Expecting 'examples' value to be an list/array"),
        ("{}", "When method is classify, key 'examples' is expected and was not found"),
        ('{"examples": [{"n": [10, null]}]}', "Feature: n has element with unexpected JSON type: Null"),
        ('{"examples": [{"n": {"x": 1}}]}', "Feature: n has element with unexpected JSON type: Object"),
        ('{"examples": [{"n": [[1]]}]}', "Feature: n has element with unexpected JSON type: Array"),
        ('{"examples": [{"n": [10, 10.0]}]}', "Unexpected element type in feature: n expecting type: int64"),
        ('{"examples": [{"n": ["a", 1]}]}', "Unexpected element type in feature: n expecting type: bytes"),
        ('{"examples": [{"n": 9223372036854775808}]}', "Feature: n has uint64_t element. Only int64_t is supported."),
        ('{"examples": [{"n": {"b64": "?"}}]}', "Unable to base64 decode"),
    ],
)
def test_examples_that_do_not_fit(body: str, message: str) -> None:
    with pytest.raises(ServingError) as caught:
        examples_of(body.encode(), ModelSpec(name="m"))
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
    assert message in caught.value.message
