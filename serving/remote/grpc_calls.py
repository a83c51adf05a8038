"""TF Serving's gRPC: the bytes of requests, and what answers say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from serving.remote import tensors
from serving.remote.address import Address
from serving.remote.errors import not_of_tf_serving
from serving.remote.features import fill_feature
from serving.remote.messages import message
from serving.remote.transport import Answer, Arrays, Call, Example
from serving.remote.values import OTHER, Metadata, ModelTarget, Signature, TensorSpec, VersionStatus

PREDICTION, MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
SIGNATURES = "signature_def"
STATES = {10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
CODES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


class GrpcCalls:
    """The questions to one server; see `Calls`."""

    def __init__(self, address: Address):
        self._address = address

    def predict(
        self, target: ModelTarget, name: str, signature: Signature, inputs: Arrays
    ) -> Call[dict[str, np.ndarray]]:
        request = message("PredictRequest")(model_spec=_model_spec(target, name))
        for key, value in inputs.items():
            tensors.write(value, request.inputs[key])
        return self._call(PREDICTION, "Predict", target, request, "PredictResponse", _arrays)

    def classify(
        self, target: ModelTarget, name: str, examples: Sequence[Example]
    ) -> Call[list[list[tuple[str, float]]]]:
        request = _examples_request(target, name, examples)
        return self._call(PREDICTION, "Classify", target, request, "ClassificationResponse", _classes)

    def regress(self, target: ModelTarget, name: str, examples: Sequence[Example]) -> Call[list[float]]:
        request = _examples_request(target, name, examples)
        return self._call(PREDICTION, "Regress", target, request, "RegressionResponse", _numbers)

    def status(self, target: ModelTarget) -> Call[list[VersionStatus]]:
        # As over REST, where a label is passed over.
        request = message("GetModelStatusRequest")(model_spec=_model_spec(ModelTarget(target.name, target.version)))
        return self._call(MODEL, "GetModelStatus", target, request, "GetModelStatusResponse", _states)

    def metadata(self, target: ModelTarget) -> Call[Metadata]:
        request = message("GetModelMetadataRequest")(model_spec=_model_spec(target), metadata_field=[SIGNATURES])
        return self._call(PREDICTION, "GetModelMetadata", target, request, "GetModelMetadataResponse", _described)

    def _call(
        self,
        service: str,
        verb: str,
        target: ModelTarget,
        request: Any,
        response: str,
        read: Callable[[Any], Answer],
    ) -> Call[Answer]:
        asked = f"{verb.removeprefix('GetModel')} of {target} at {self._address}"

        def understood(content: bytes) -> Answer:
            try:
                return read(message(response).FromString(content))
            except DecodeError as error:
                raise not_of_tf_serving(asked, repr(error)) from error

        return Call(asked, f"/{service}/{verb}", request.SerializeToString(), understood)


def _model_spec(target: ModelTarget, signature: str = "") -> Any:
    spec = message("ModelSpec")(name=target.name, signature_name=signature)
    if target.version is not None:
        spec.version.value = target.version
    if target.label is not None:
        spec.version_label = target.label
    return spec


def _examples_request(target: ModelTarget, name: str, examples: Sequence[Example]) -> Any:
    request = message("ExamplesRequest")(model_spec=_model_spec(target, name))
    for example in examples:
        features = request.input.example_list.examples.add().features
        for key, value in example.items():
            fill_feature(key, value, features.feature[key])
    return request


def _arrays(answer: Any) -> dict[str, np.ndarray]:
    return {key: tensors.from_proto(value) for key, value in answer.outputs.items()}


def _classes(answer: Any) -> list[list[tuple[str, float]]]:
    return [[(entry.label, entry.score) for entry in one.classes] for one in answer.result.classifications]


def _numbers(answer: Any) -> list[float]:
    return [one.value for one in answer.result.regressions]


def _states(answer: Any) -> list[VersionStatus]:
    return sorted(map(_version_status, answer.model_version_status), key=lambda one: -one.version)


def _described(answer: Any) -> Metadata:
    signatures = message("SignatureDefMap").FromString(answer.metadata[SIGNATURES].value).signature_def
    version = answer.model_spec.version.value
    return Metadata(version, {key: _signature(signatures[key]) for key in sorted(signatures)})


def _version_status(found: Any) -> VersionStatus:
    state, code = STATES.get(found.state, "UNKNOWN"), CODES.get(found.status.error_code, "UNKNOWN")
    return VersionStatus(found.version, state, code, found.status.error_message)


def _signature(definition: Any) -> Signature:
    inputs, outputs = [
        {key: _tensor_spec(infos[key]) for key in sorted(infos)} for infos in (definition.inputs, definition.outputs)
    ]
    return Signature(definition.method_name, inputs, outputs)


def _tensor_spec(info: Any) -> TensorSpec:
    dtype = tensors.BY_NUMBER.get(info.dtype, OTHER)
    if not info.HasField("tensor_shape") or info.tensor_shape.unknown_rank:
        return TensorSpec(dtype, None)
    return TensorSpec(dtype, tuple(_axis(dim.size) for dim in info.tensor_shape.dim))


def _axis(size: int) -> int | None:
    return None if size < 0 else size
