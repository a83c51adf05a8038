"""TF Serving's own answers over gRPC, case by case, from the shared file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import pytest
import tensorflow as tf
from google.protobuf.json_format import MessageToDict, ParseDict
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tests.serving.conftest import conformance
from tests.serving.running import SECONDS, Running

REQUESTS: Mapping[str, Any] = {
    "Predict": predict_pb2.PredictRequest,
    "Classify": classification_pb2.ClassificationRequest,
    "Regress": regression_pb2.RegressionRequest,
    "MultiInference": inference_pb2.MultiInferenceRequest,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
}


def example(features: Mapping[str, list[Any]]) -> dict[str, Any]:
    """A tf.Example of lists of numbers, as protobuf's JSON."""
    made = tf.train.Example()
    for name, values in features.items():
        made.features.feature[name].float_list.value.extend(values)
    return MessageToDict(made)


def tensor(described: Mapping[str, Any]) -> dict[str, Any]:
    """A tensor of the cases (dtype, shape, values), as protobuf's JSON."""
    dtype = getattr(tf.dtypes, described["dtype"].removeprefix("DT_").lower().replace("float", "float32"))
    return MessageToDict(tf.make_tensor_proto(described["values"], dtype, described["shape"]))


def request(kind: Any, body: Mapping[str, Any]) -> Any:
    body = dict(body)
    if "inputs" in body:
        body["inputs"] = {name: tensor(one) for name, one in body["inputs"].items()}
    if "input" in body:
        examples = [example(one) for one in body["input"]["example_list"]["examples"]]
        body["input"] = {"example_list": {"examples": examples}}
    return ParseDict(body, kind())


def answered(value: Any) -> Any:
    """A reply in the form of the cases."""
    if isinstance(value, predict_pb2.PredictResponse):
        outputs = {name: as_described(one) for name, one in value.outputs.items()}
        return {"outputs": outputs, "model_spec": as_plain(value)["model_spec"]}
    return as_plain(value)


def as_plain(message: Any) -> Any:
    return whole(MessageToDict(message, preserving_proto_field_name=True))


def whole(value: Any) -> Any:
    """With the 64-bit numbers that protobuf writes as text."""
    if isinstance(value, dict):
        return {key: int(item) if key == "version" else whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


def as_described(proto: Any) -> dict[str, Any]:
    array = tf.make_ndarray(proto)
    return {
        "dtype": types_pb2.DataType.Name(proto.dtype),
        "shape": list(array.shape),
        "values": array.ravel().tolist(),
    }


def holds(actual: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(
            holds(actual.get(key, {} if item == {} else None), item) for key, item in expected.items()
        )
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(map(holds, actual, expected))
    return actual == expected


@pytest.mark.parametrize("case", conformance("grpc"))
def test_an_answer_is_the_one_of_tf_serving(case: Any, main_server: Running) -> None:
    service, method = case["method"].split("/")
    stub = main_server.prediction if service.endswith("PredictionService") else main_server.models
    call, asked = getattr(stub, method), request(REQUESTS[method], case["request_body"])
    expected = case["expected_body_or_error_contains"]
    if case["expected_status"] == "OK":
        reply = answered(call(asked, timeout=SECONDS))
        assert holds(reply, expected), reply
        return
    with pytest.raises(grpc.RpcError) as caught:
        call(asked, timeout=SECONDS)
    assert caught.value.code().name == case["expected_status"]
    assert expected in caught.value.details()
