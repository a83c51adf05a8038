"""Predict, Classify, Regress and MultiInference on one loaded version: the checks, the run, the answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.errors import ServingError
from serving.local.conversion import NUMBERS, array_of, dtype_name, tensor_of
from serving.local.metrics import Metrics
from serving.local.servable import Question, Servable

DEFAULT_SIGNATURE = "serving_default"
METHODS = tuple(f"tensorflow/serving/{verb}" for verb in ("predict", "classify", "regress"))
PREDICT, CLASSIFY, REGRESS = METHODS


@dataclass(frozen=True)
class Setting:
    """How requests to one version are answered.

    Args:
        servable: the version.
        version: its number, for `model_spec` of the answer; None while it warms up.
        metrics: to count runs in.
        tensor_content: answers of Predict hold `tensor_content` in place of the typed fields.
        check_method_names: refuses signatures whose `method_name` is not the verb's.
    """

    servable: Servable
    version: int | None
    metrics: Metrics = field(default_factory=Metrics)
    tensor_content: bool = False
    check_method_names: bool = False


def predict(setting: Setting, request: PredictRequest, deadline: float | None = None) -> PredictResponse:
    """Answers a Predict; ServingError as TF Serving words it."""
    name = signature_name(request.model_spec)
    signature = setting.servable.signatures.get(name)
    if signature is None:
        raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    _check_predict(setting, signature, request)
    feeds = _feeds(signature, request)
    aliases = _fetched_aliases(signature, request.output_filter)
    fetches = [signature.outputs[alias].name for alias in aliases]
    outputs = run(setting, request.model_spec.name, "Predict", feeds, fetches, deadline)
    response = PredictResponse(model_spec=answered_spec(setting, request.model_spec))
    for alias, fetch in zip(aliases, fetches, strict=True):
        response.outputs[alias].CopyFrom(tensor_of(outputs[fetch], content=setting.tensor_content))
    return response


def signature_name(model_spec: ModelSpec) -> str:
    """The name that a request means: `serving_default` where it gives none."""
    return model_spec.signature_name or DEFAULT_SIGNATURE


def answered_spec(setting: Setting, asked: ModelSpec) -> ModelSpec:
    """The `model_spec` of an answer: version and signature as they were resolved."""
    answered = ModelSpec(name=asked.name, signature_name=signature_name(asked))
    if setting.version is not None:
        answered.version.value = setting.version
    return answered


def run(
    setting: Setting,
    model: str,
    verb: str,
    feeds: Mapping[str, np.ndarray[Any, Any]],
    fetches: Sequence[str],
    deadline: float | None,
    examples: int | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Tensor name -> array of the `fetches`; sorted names both ways, so that requests of one kind share a batch."""
    if deadline is not None and time.monotonic() > deadline:
        raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded before the model was run")
    names, wanted = tuple(sorted(feeds)), tuple(sorted(set(fetches)))
    begun = time.perf_counter()
    question = Question(names, [feeds[name] for name in names], wanted, deadline)
    outputs = setting.servable.run(question)
    setting.metrics.observe_run(model, verb, time.perf_counter() - begun, examples)
    return dict(zip(wanted, outputs, strict=True))


def _check_predict(setting: Setting, signature: SignatureDef, request: PredictRequest) -> None:
    if setting.check_method_names and signature.method_name not in METHODS:
        raise ServingError(
            grpc.StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(METHODS)}}}. "
            f"Was: {signature.method_name}",
        )
    given, known = len(request.inputs), len(signature.inputs)
    if given > known or (given < known and not signature.defaults):
        inputs, names = set(request.inputs), set(signature.inputs)
        raise _invalid(
            f"input size does not match signature: {given}!={known} len({{{_joined(inputs)}}}) != "
            f"len({{{_joined(names)}}}). Sent extra: {{{_joined(inputs - names)}}}. "
            f"Missing but required: {{{_joined(names - inputs)}}}."
        )


def _feeds(signature: SignatureDef, request: PredictRequest) -> dict[str, np.ndarray[Any, Any]]:
    """Tensor name -> array; inputs that are left out take the signature's default."""
    arrays = {alias: _input(signature, request, alias) for alias in sorted(signature.inputs)}
    if unknown := set(request.inputs) - set(arrays):
        raise _invalid(
            f"Inputs contains invalid name. Used request inputs: {_joined(set(request.inputs) - unknown)}, "
            f"request input: {_joined(request.inputs)}"
        )
    feeds = {signature.inputs[alias].name: array for alias, array in arrays.items()}
    _check_types({signature.inputs[alias].name: signature.inputs[alias].dtype for alias in arrays}, feeds)
    return feeds


def _input(signature: SignatureDef, request: PredictRequest, alias: str) -> np.ndarray[Any, Any]:
    if alias in request.inputs:
        tensor = request.inputs[alias]
    elif alias in signature.defaults:
        tensor = signature.defaults[alias]
    else:
        raise _invalid(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and no "
            f"default value provided. Inputs expected to be in the request {{{_joined(request.inputs)}}}, or default "
            f"input alias set: {_joined(signature.defaults)}"
        )
    try:
        return array_of(tensor)
    except ValueError as error:
        raise _invalid(f"tensor parsing error: {alias}") from error


def _check_types(expected: Mapping[str, int], feeds: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """As a session checks its feeds, before TensorFlow logs a failed kernel."""
    for place, name in enumerate(sorted(feeds)):
        given = NUMBERS[feeds[name].dtype]
        if given != expected[name]:
            raise _invalid(
                f"Expects arg[{place}] to be {dtype_name(expected[name])} but {dtype_name(given)} is provided"
            )


def _fetched_aliases(signature: SignatureDef, asked: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    for alias in asked:
        if alias not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_joined(signature.outputs)}}}."
            )
        if alias in seen:
            raise _invalid(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return list(asked) or sorted(signature.outputs)


def _joined(names: Any) -> str:
    return ",".join(sorted(names))


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
