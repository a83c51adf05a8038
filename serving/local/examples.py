"""Classify, Regress and MultiInference: tf.Examples in, labelled scores or numbers out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.classification_pb2 import (
    Class,
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
    Classifications,
)
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.regression_pb2 import (
    Regression,
    RegressionRequest,
    RegressionResponse,
    RegressionResult,
)

from serving.errors import ServingError
from serving.local.conversion import NUMBERS
from serving.local.inference import CLASSIFY, REGRESS, Setting, answered_spec, run, signature_name

INPUTS = "inputs"
CLASSES = "classes"
SCORES = "scores"
OUTPUTS = "outputs"

Outputs = Mapping[str, np.ndarray[Any, Any]]


def classify(setting: Setting, request: ClassificationRequest, deadline: float | None) -> ClassificationResponse:
    """Answers a Classify; ServingError as TF Serving words it."""
    signature = _signature(setting, request.model_spec, CLASSIFY, "classification")
    feed, fetches = _classify_tensors(setting, signature)
    outputs, count = _run(setting, request.model_spec.name, "Classify", request.input, feed, fetches, deadline)
    return ClassificationResponse(
        model_spec=answered_spec(setting, request.model_spec), result=_classified(signature, outputs, count)
    )


def regress(setting: Setting, request: RegressionRequest, deadline: float | None) -> RegressionResponse:
    """Answers a Regress; ServingError as TF Serving words it."""
    signature = _signature(setting, request.model_spec, REGRESS, "regression")
    feed, fetches = _regress_tensors(setting, signature)
    outputs, count = _run(setting, request.model_spec.name, "Regress", request.input, feed, fetches, deadline)
    return RegressionResponse(
        model_spec=answered_spec(setting, request.model_spec), result=_regressed(signature, outputs, count)
    )


def multi_inference(setting: Setting, request: MultiInferenceRequest, deadline: float | None) -> MultiInferenceResponse:
    """Answers a MultiInference: one run for all its tasks; ServingError as TF Serving words it."""
    signatures = _task_signatures(setting, request)
    feed, fetches = "", set[str]()
    for task, signature in zip(request.tasks, signatures, strict=True):
        task_feed, outputs = _task_tensors(setting, signature, task.method_name)
        feed = feed or task_feed
        if feed != task_feed:
            raise _invalid("Input tensor must be the same for all Signatures.")
        fetches.update(outputs)
    name = request.tasks[0].model_spec.name
    outputs_of, count = _run(setting, name, "MultiInference", request.input, feed, sorted(fetches), deadline)
    response = MultiInferenceResponse()
    for task, signature in zip(request.tasks, signatures, strict=True):
        result = response.results.add(model_spec=answered_spec(setting, task.model_spec))
        if task.method_name == CLASSIFY:
            result.classification_result.CopyFrom(_classified(signature, outputs_of, count))
        else:
            result.regression_result.CopyFrom(_regressed(signature, outputs_of, count))
    return response


def _task_signatures(setting: Setting, request: MultiInferenceRequest) -> list[SignatureDef]:
    seen: dict[str, SignatureDef] = {}
    for task in request.tasks:
        if not task.model_spec.name:
            raise _invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise _invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = signature_name(task.model_spec)
        if name in seen:
            raise _invalid(f"Duplicate evaluation of signature: {name}")
        if name not in setting.servable.signatures:
            raise _invalid(f"Requested signature not found in model graph: {name}")
        seen[name] = setting.servable.signatures[name]
        _task_tensors(setting, seen[name], task.method_name)
    return list(seen.values())


def _task_tensors(setting: Setting, signature: SignatureDef, method: str) -> tuple[str, list[str]]:
    if method == CLASSIFY:
        return _classify_tensors(setting, signature)
    if method == REGRESS:
        return _regress_tensors(setting, signature)
    raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")


def _signature(setting: Setting, model_spec: ModelSpec, method: str, what: str) -> SignatureDef:
    name = signature_name(model_spec)
    signature = setting.servable.signatures.get(name)
    if signature is None:
        raise _invalid(f"No signature was found with the name: {name}")
    _check_method(setting, signature, method, what)
    return signature


def _check_method(setting: Setting, signature: SignatureDef, method: str, what: str) -> None:
    if setting.check_method_names and signature.method_name != method:
        raise _invalid(f"Expected {what} signature method_name to be {method}. Was: {signature.method_name}")


def _classify_tensors(setting: Setting, signature: SignatureDef) -> tuple[str, list[str]]:
    """The tensor to feed, and those to fetch."""
    _check_method(setting, signature, CLASSIFY, "classification")
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise _invalid(f"No classification inputs found in SignatureDef: {signature}")
    fetches = [signature.outputs[name].name for name in (CLASSES, SCORES) if name in signature.outputs]
    if not fetches:
        raise _invalid(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {signature}"
        )
    return signature.inputs[INPUTS].name, fetches


def _regress_tensors(setting: Setting, signature: SignatureDef) -> tuple[str, list[str]]:
    _check_method(setting, signature, REGRESS, "regression")
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise _invalid(f"No regression inputs found in SignatureDef: {signature}")
    if OUTPUTS not in signature.outputs:
        raise _invalid(f"No regression outputs found in SignatureDef: {signature}")
    return signature.inputs[INPUTS].name, [signature.outputs[OUTPUTS].name]


def _run(
    setting: Setting, model: str, verb: str, given: Input, feed: str, fetches: list[str], deadline: float | None
) -> tuple[Outputs, int]:
    examples = serialized_examples(given)
    array = np.empty(len(examples), object)
    array[:] = examples
    return run(setting, model, verb, {feed: array}, fetches, deadline, len(examples)), len(examples)


def serialized_examples(given: Input) -> list[bytes]:
    """The tf.Examples of a request, its context merged into each (protobuf: later fields win)."""
    if given.WhichOneof("kind") == "example_list_with_context":
        context = given.example_list_with_context.context.SerializeToString()
        examples = [context + one.SerializeToString() for one in given.example_list_with_context.examples]
    else:
        examples = [one.SerializeToString() for one in given.example_list.examples]
    if not examples:
        raise _invalid("Input is empty.")
    return examples


def _classified(signature: SignatureDef, outputs: Outputs, count: int) -> ClassificationResult:
    classes = _checked(signature, outputs, CLASSES, np.dtype(object), count)
    scores = _checked(signature, outputs, SCORES, np.dtype(np.float32), count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise _invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    numbers = None if scores is None else scores.tolist()
    labels = [[""] * len(row) for row in numbers or ()] if classes is None else _texts(classes)
    numbers = numbers or [[0.0] * len(row) for row in labels]
    return ClassificationResult(
        classifications=[
            Classifications(classes=[Class(label=label, score=score) for label, score in zip(*row, strict=True)])
            for row in zip(labels, numbers, strict=True)
        ]
    )


def _texts(classes: np.ndarray[Any, Any]) -> list[list[str]]:
    """Labels as protobuf wants them, in UTF-8. TF Serving passes other bytes on, which few clients can read."""
    return [[label.decode(errors="replace") for label in row] for row in classes.tolist()]


def _checked(
    signature: SignatureDef, outputs: Outputs, name: str, dtype: np.dtype[Any], count: int
) -> np.ndarray[Any, Any] | None:
    if name not in signature.outputs:
        return None
    array = outputs[signature.outputs[name].name]
    if array.ndim != 2:
        raise _invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if array.dtype != dtype:
        raise _invalid(f"Expected {name} Tensor of {_dtype(dtype)}. Got: {_dtype(array.dtype)}")
    if array.shape[0] != count:
        raise _invalid(f"Expected {name} output batch size of {count}. Got: {array.shape[0]}")
    return array


def _regressed(signature: SignatureDef, outputs: Outputs, count: int) -> RegressionResult:
    array = outputs[signature.outputs[OUTPUTS].name]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise _invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if array.shape[0] != count:
        raise _invalid(f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}")
    if array.dtype != np.float32:
        raise _invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array.dtype)}")
    return RegressionResult(regressions=[Regression(value=value) for value in array.ravel().tolist()])


def _shape(array: np.ndarray[Any, Any]) -> str:
    return f"[{','.join(str(size) for size in array.shape)}]"


def _dtype(dtype: np.dtype[Any]) -> str:
    from tensorflow.core.framework import types_pb2

    return str(types_pb2.DataType.Name(NUMBERS[dtype]))


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
