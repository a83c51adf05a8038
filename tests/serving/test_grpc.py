"""The gRPC services beyond the shared cases: every refusal in TF Serving's words, labels, reloads, health."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    regression_pb2,
)

from serving.errors import ServingError
from tests.serving.running import SECONDS, Running, floats, predict_request

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
Code = grpc.StatusCode


def refused(call: Callable[..., Any], request: Any, code: grpc.StatusCode) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=SECONDS)
    assert caught.value.code() is code, caught.value
    return str(caught.value.details())


def examples(x: float) -> Any:
    """An Input of one tf.Example."""
    one = tf.train.Example()
    one.features.feature["x"].float_list.value.append(x)
    made = classification_pb2.ClassificationRequest().input
    made.example_list.examples.append(one)
    return made


def tasks(*described: tuple[str, str, str]) -> Any:
    """A MultiInferenceRequest; each task is a model, a signature and a method."""
    request = inference_pb2.MultiInferenceRequest(input=examples(2))
    for model, signature, method in described:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = model, signature
    return request


@pytest.mark.parametrize(
    ("model", "version", "label", "code", "message"),
    [
        ("nope", None, None, Code.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        ("scale", 99, None, Code.NOT_FOUND, "Servable not found for request: Specific(scale, 99)"),
        ("scale", None, "nope", Code.INVALID_ARGUMENT, "Unrecognized servable version label: nope"),
        ("nope", None, "stable", Code.INVALID_ARGUMENT, "Unrecognized servable version label: stable"),
        ("", 1, None, Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    ],
)
def test_a_version_that_is_not_there(
    main_server: Running, model: str, version: int | None, label: str | None, code: Code, message: str
) -> None:
    request = predict_request(model, version=version, x=floats(1))
    if label is not None:
        request.model_spec.version_label = label
    assert refused(main_server.prediction.Predict, request, code) == message


@pytest.mark.parametrize(("label", "version", "answer"), [("stable", 1, 3.0), ("canary", 10, 30.0)])
def test_a_label_stands_for_its_version(main_server: Running, label: str, version: int, answer: float) -> None:
    request = predict_request("scale", x=floats(3))
    request.model_spec.version_label = label
    reply = main_server.prediction.Predict(request, timeout=SECONDS)
    assert tf.make_ndarray(reply.outputs["y"]).tolist() == [answer]
    assert reply.model_spec.version.value == version and not reply.model_spec.version_label


def test_versions_are_numbers_and_the_highest_is_the_latest(main_server: Running) -> None:
    assert list(main_server.states("scale")) == [10, 2, 1]
    assert main_server.predict("scale", x=floats(3))["y"].tolist() == [30]
    assert main_server.predict("scale", version=2, x=floats(3))["y"].tolist() == [6]


def test_an_unknown_signature(main_server: Running) -> None:
    request = predict_request("scale", "nope", x=floats(1))
    message = refused(main_server.prediction.Predict, request, Code.FAILED_PRECONDITION)
    assert message == 'Serving signature key "nope" not found.'


@pytest.mark.parametrize("verb", ["Classify", "Regress"])
def test_an_unknown_signature_of_examples(main_server: Running, verb: str) -> None:
    kind = {"Classify": classification_pb2.ClassificationRequest, "Regress": regression_pb2.RegressionRequest}[verb]
    request = kind(input=examples(2))
    request.model_spec.name, request.model_spec.signature_name = "default", "nope"
    message = refused(getattr(main_server.prediction, verb), request, Code.INVALID_ARGUMENT)
    assert message == "No signature was found with the name: nope"


@pytest.mark.parametrize("verb", ["Predict", "Classify", "Regress", "GetModelMetadata"])
def test_a_request_without_model_spec(main_server: Running, verb: str) -> None:
    kinds = {
        "Predict": predict_request("").__class__,
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    }
    call = getattr(main_server.prediction, verb)
    assert refused(call, kinds[verb](), Code.INVALID_ARGUMENT) == "Missing ModelSpec"


def test_an_input_of_another_name(main_server: Running) -> None:
    message = refused(main_server.prediction.Predict, predict_request("scale", q=floats(1)), Code.INVALID_ARGUMENT)
    assert message == (
        "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {q}, or default input alias set: "
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1], np.int32), "Expects arg[0] to be float but int32 is provided"),
        (np.array([b"1"], object), "Expects arg[0] to be float but string is provided"),
        (np.array([1], np.float64), "Expects arg[0] to be float but double is provided"),
    ],
)
def test_an_input_of_another_type(main_server: Running, value: np.ndarray, message: str) -> None:
    assert refused(main_server.prediction.Predict, predict_request("scale", x=value), Code.INVALID_ARGUMENT) == message


def test_an_input_that_is_no_tensor(main_server: Running) -> None:
    request = predict_request("scale", x=floats(1, 2))
    request.inputs["x"].tensor_content = b"123"
    message = refused(main_server.prediction.Predict, request, Code.INVALID_ARGUMENT)
    assert message == "tensor parsing error: x"


def test_a_long_message_is_cut(main_server: Running) -> None:
    message = refused(main_server.prediction.Predict, predict_request("m" * 2000, x=floats(1)), Code.NOT_FOUND)
    assert message == f"Servable not found for request: Latest({'m' * 2000})"[:1024] + "...TRUNCATED"


def test_a_deadline_that_has_passed(main_server: Running) -> None:
    with pytest.raises(ServingError) as caught:
        main_server.server._core.predict(predict_request("scale", x=floats(1)), deadline=0.0)
    assert caught.value.code is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("described", "code", "message"),
    [
        ([], Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ([("nope", "", REGRESS)], Code.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (
            [("default", "regress_x_to_y", REGRESS), ("", "classify_x_to_y", CLASSIFY)],
            Code.INVALID_ARGUMENT,
            "Found ModelSpec with an empty model name.",
        ),
        (
            [("default", "regress_x_to_y", REGRESS), ("scale", "classify_x_to_y", CLASSIFY)],
            Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("default", "nope", REGRESS)],
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: nope",
        ),
        (
            [("default", "serving_default", "tensorflow/serving/predict")],
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            [("default", "regress_x_to_y", REGRESS), ("default", "regress_x2_to_y3", REGRESS)],
            Code.INVALID_ARGUMENT,
            "Input tensor must be the same for all Signatures.",
        ),
    ],
)
def test_tasks_that_do_not_fit(
    main_server: Running, described: list[tuple[str, str, str]], code: Code, message: str
) -> None:
    assert refused(main_server.prediction.MultiInference, tasks(*described), code) == message


def test_every_task_says_what_answered(main_server: Running) -> None:
    request = tasks(("default", "regress_x_to_y", REGRESS), ("default", "regress_x_to_y2", REGRESS))
    results = main_server.prediction.MultiInference(request, timeout=SECONDS).results
    assert [one.model_spec.signature_name for one in results] == ["regress_x_to_y", "regress_x_to_y2"]
    assert [one.regression_result.regressions[0].value for one in results] == [3.0, 4.0]
    assert {one.model_spec.version.value for one in results} == {123}


def test_examples_with_a_context(main_server: Running) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "default", "regress_x_to_y"
    both = request.input.example_list_with_context
    both.context.features.feature["x"].float_list.value.append(2)
    both.examples.add()
    both.examples.add().features.feature["x"].float_list.value.append(4)
    values = [one.value for one in main_server.prediction.Regress(request, timeout=SECONDS).result.regressions]
    assert values == [3.0, 4.0]


def test_examples_that_are_missing(main_server: Running) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "default", "regress_x_to_y"
    assert refused(main_server.prediction.Regress, request, Code.INVALID_ARGUMENT) == "Input is empty."


def test_a_signature_of_another_form(main_server: Running) -> None:
    request = classification_pb2.ClassificationRequest(input=examples(2))
    request.model_spec.name = "scale"
    message = refused(main_server.prediction.Classify, request, Code.INVALID_ARGUMENT)
    assert message.startswith("No classification inputs found in SignatureDef: ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def", "weights"], "Metadata field %s is not supportedweights"),
    ],
)
def test_metadata_that_there_is_not(main_server: Running, fields: list[str], message: str) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "scale"
    assert refused(main_server.prediction.GetModelMetadata, request, Code.INVALID_ARGUMENT) == message


def test_metadata_holds_the_signatures(main_server: Running) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name, request.model_spec.version_label = "scale", "stable"
    reply = main_server.prediction.GetModelMetadata(request, timeout=SECONDS)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert reply.metadata["signature_def"].Unpack(signatures)
    assert sorted(signatures.signature_def) == ["__saved_model_init_op", "serving_default"]
    assert reply.model_spec.version.value == 1


def test_status_of_one_version(main_server: Running) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name, request.model_spec.version.value = "scale", 2
    (one,) = main_server.models.GetModelStatus(request, timeout=SECONDS).model_version_status
    assert (one.version, one.state, one.status.error_code) == (2, 30, 0) and one.HasField("status")
    request.model_spec.version.value = 99
    message = refused(main_server.models.GetModelStatus, request, Code.NOT_FOUND)
    assert message == "Could not find version 99 of model scale"


def test_status_does_not_look_at_labels(main_server: Running) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name, request.model_spec.version_label = "scale", "nope"
    assert len(main_server.models.GetModelStatus(request, timeout=SECONDS).model_version_status) == 3


def test_health_tells_that_it_serves(main_server: Running) -> None:
    health = health_pb2_grpc.HealthStub(main_server.channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def request_counts(running: Running) -> dict[str, int]:
    """Status -> how many requests for id_int64 ended so; other tests may have asked the same server."""
    text = running.server._core.metrics_text().decode()
    found = re.findall(r'^:tensorflow:serving:request_count{model_name="id_int64",status="(\w+)"} (\d+)', text, re.M)
    return {status: int(count) for status, count in found}


def test_requests_are_counted(main_server: Running) -> None:
    before = request_counts(main_server)
    main_server.predict("id_int64", default=np.array([1], np.int64))
    refused(main_server.prediction.Predict, predict_request("id_int64", "nope"), Code.FAILED_PRECONDITION)
    after = request_counts(main_server)
    assert {status: after[status] - before.get(status, 0) for status in after} == {"OK": 1, "FAILED_PRECONDITION": 1}
    text = main_server.server._core.metrics_text().decode()
    labels = 'API="Predict",entrypoint="GRPC",le="10.0",model_name="id_int64"'
    assert f":tensorflow:serving:request_latency_bucket{{{labels}}}" in text
    assert "_created" not in text and "request_count_total" not in text


def test_every_type_comes_back_as_it_was(main_server: Running, serving_models: Path) -> None:
    for folder in sorted(serving_models.glob("id_*")):
        dtype = {"string": object, "bytes": object}.get(folder.name[3:], folder.name[3:])
        value = np.array([b"a\x00", b""], object) if dtype is object else np.array([0, 1], dtype)
        (name,) = main_server.server._core.signature(predict_request(folder.name).model_spec).inputs
        (answer,) = main_server.predict(folder.name, **{name: value}).values()
        np.testing.assert_array_equal(answer, value)
