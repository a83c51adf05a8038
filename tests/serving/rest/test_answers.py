"""Protos as JSON: the text of numbers and strings, and TF Serving's own layout to the byte."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse, ModelVersionStatus
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from serving.errors import ServingError
from serving.local.conversion import tensor_of
from serving.local.rest import answers
from serving.local.rest.decimals import decimal, decimals
from serving.local.rest.requests import Form


def written(form: Form, **outputs: Any) -> str:
    return answers.predictions({name: tensor_of(np.array(one)) for name, one in outputs.items()}, form).decode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(9_000_000), "9e+06"),
        (np.float32(999_999), "999999.0"),
        (np.float32(0.5), "0.5"),
        (np.float32(0.0003), "0.0003"),
        (np.float32(0.00003), "3e-05"),
        (np.float32(555557.5), "555557.5"),
        (np.float32(0.1), "0.1"),
        (np.float32(1 / 3), "0.333333343"),
        (np.float32(16777216), "16777216.0"),
        (np.float32(-0.0), "-0.0"),
        (np.float32(1e-45), "1.4013e-45"),
        (np.float32(np.nan), "NaN"),
        (np.float64(-np.inf), "-Infinity"),
        (np.float64(0.662), "0.662"),
        (np.float64(1 / 3), "0.33333333333333331"),
        (np.float64(123456789), "123456789.0"),
        (np.float64(1e100), "1e+100"),
    ],
)
def test_floats_have_six_digits_or_all(value: Any, text: str) -> None:
    assert decimal(value) == text
    assert decimals(np.full(100, value)) == [text] * 100


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(33, 60), elements=st.floats(width=32))
    | hnp.arrays(np.float64, st.integers(33, 60), elements=st.floats())
)
def test_many_floats_are_written_like_one(values: np.ndarray[Any, Any]) -> None:
    texts = decimals(values)
    assert texts == [decimal(value) for value in values]
    back = np.array([float(text.replace("Infinity", "inf")) for text in texts]).astype(values.dtype)
    np.testing.assert_array_equal(back, values)


def test_rows_of_one_output() -> None:
    assert written(Form.ROWS, y=[2.5, 3.0]) == '{\n    "predictions": [2.5, 3.0\n    ]\n}'
    assert written(Form.ROWS, y=[[[1, 2]], [[3, 4]]]) == '{\n    "predictions": [[[1, 2]], [[3, 4]]\n    ]\n}'
    assert written(Form.ROWS, y_bytes=[b"\xff"]) == (
        '{\n    "predictions": [{\n            "b64": "/w=="\n        }\n    ]\n}'
    )


def test_rows_of_several_outputs() -> None:
    assert written(Form.ROWS, b=[True, False], a=[[1], [2]]) == (
        '{\n    "predictions": [\n        {\n            "a": [1],\n            "b": true\n        },\n'
        '        {\n            "a": [2],\n            "b": false\n        }\n    ]\n}'
    )


def test_columns() -> None:
    assert written(Form.COLUMNS, y=3.0) == '{\n    "outputs": 3.0\n}'
    assert written(Form.COLUMNS, y=[[1], [2]]) == (
        '{\n    "outputs": [\n        [\n            1\n        ],\n        [\n            2\n        ]\n    ]\n}'
    )
    assert written(Form.COLUMNS, b=[], a=[b"x"]) == (
        '{\n    "outputs": {\n        "a": [\n            "x"\n        ],\n        "b": []\n    }\n}'
    )


@settings(deadline=None)
@given(
    hnp.arrays(st.sampled_from([np.int8, np.uint64, np.bool_, np.float32]), hnp.array_shapes(max_dims=4, max_side=4)),
    st.sampled_from(Form),
)
def test_answers_hold_what_the_model_gave(array: np.ndarray[Any, Any], form: Form) -> None:
    found = json.loads(written(form, y=array))[form.value]
    np.testing.assert_array_equal(np.array(found, array.dtype), array)
    several = json.loads(written(form, y=array, z=array))[form.value]
    column = several["y"] if form is Form.COLUMNS else [row["y"] for row in several]
    np.testing.assert_array_equal(np.array(column, array.dtype), array)


@settings(deadline=None)
@given(st.lists(st.binary(), min_size=1))
def test_strings_pass_as_bytes(values: list[bytes]) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    body = answers.predictions({"y": tensor_of(array)}, Form.ROWS)
    found = json.loads(body.decode(errors="surrogateescape"))["predictions"]
    assert [text.encode(errors="surrogateescape") for text in found] == values


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"y": 1.0}, "Tensor name: y has no shape information "),
        ({"y": np.zeros([0, 2])}, "Tensor name: y has invalid batch size: 0"),
        ({"a": [1, 2], "y": [1]}, "Tensor name: y has inconsistent batch size: 1 expecting: 2"),
        ({"y": np.zeros([1], np.float16)}, "Failed to write JSON value for tensor type: half"),
        ({"y": np.zeros([1], np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
    ],
)
def test_what_rows_cannot_hold(outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ServingError, match=message):
        written(Form.ROWS, **outputs)


def test_classes_and_regressions() -> None:
    result = ClassificationResult()
    for label, score in (("car", 0.5), ("bike", 1 / 3)):
        result.classifications.add().classes.add(label=label, score=score)
    assert answers.classes(result) == (b'{\n    "results": [[["car", 0.5]], [["bike", 0.333333343]]\n    ]\n}')
    regression = RegressionResult()
    regression.regressions.add(value=0.2)
    regression.regressions.add(value=float("inf"))
    assert answers.regressions(regression) == b'{\n    "results": [0.2, Infinity]\n}'
    with pytest.raises(ServingError, match="Cannot convert empty ClassificationResults to JSON"):
        answers.classes(ClassificationResult())
    with pytest.raises(ServingError, match="Cannot convert empty RegressionResults to JSON"):
        answers.regressions(RegressionResult())


def test_errors_and_states() -> None:
    assert answers.error('a "b"\n\x01') == b'{\n    "error": "a \\"b\\"\\n\\u0001"\n}'
    response = GetModelStatusResponse()
    one = response.model_version_status.add(version=7, state=ModelVersionStatus.LOADING)
    one.status.SetInParent()
    assert answers.status(response).decode() == (
        '{\n "model_version_status": [\n  {\n   "version": "7",\n   "state": "LOADING",\n   "status": {\n'
        '    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}'
    )
