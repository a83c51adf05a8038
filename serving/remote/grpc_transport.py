"""A server over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np

from pipeline.errors import ServerError
from serving.remote import tensors
from serving.remote.address import Address
from serving.remote.errors import server_error
from serving.remote.features import fill_feature
from serving.remote.messages import message
from serving.remote.settings import ClientSettings
from serving.remote.transport import Arrays, Example
from serving.remote.values import OTHER, Metadata, ModelTarget, Signature, TensorSpec, VersionStatus

OPTIONS: tuple[tuple[str, int | str], ...] = (
    # Without these, an answer above 4 MB is refused by the client's own side.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # By default a channel that failed to connect refuses calls for a second, then longer, whatever the client's waits.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
PREDICTION, MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
SIGNATURES = "signature_def"
STATES = {10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
CODES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


class GrpcTransport:
    """A channel to one server; thread-safe.

    Raises:
        ConfigError: certificates that cannot be used.
    """

    def __init__(self, address: Address, settings: ClientSettings):
        self._address = address
        self._metadata = [(name.lower(), value) for name, value in settings.headers.items()]
        self._channel = _channel(address, settings)
        self._predict = self._call(PREDICTION, "Predict", "PredictRequest", "PredictResponse")
        self._classify = self._call(PREDICTION, "Classify", "ExamplesRequest", "ClassificationResponse")
        self._regress = self._call(PREDICTION, "Regress", "ExamplesRequest", "RegressionResponse")
        self._describe = self._call(
            PREDICTION, "GetModelMetadata", "GetModelMetadataRequest", "GetModelMetadataResponse"
        )
        self._status = self._call(MODEL, "GetModelStatus", "GetModelStatusRequest", "GetModelStatusResponse")

    def predict(
        self, target: ModelTarget, name: str, signature: Signature, inputs: Arrays, seconds: float
    ) -> dict[str, np.ndarray]:
        request = message("PredictRequest")(model_spec=_model_spec(target, name))
        for key, value in inputs.items():
            tensors.write(value, request.inputs[key])
        answer = self._predict(request, target, seconds)
        return {key: tensors.from_proto(value) for key, value in answer.outputs.items()}

    def classify(
        self, target: ModelTarget, name: str, examples: Sequence[Example], seconds: float
    ) -> list[list[tuple[str, float]]]:
        answer = self._classify(_examples_request(target, name, examples), target, seconds)
        found = answer.result.classifications
        return [[(entry.label, entry.score) for entry in one.classes] for one in found]

    def regress(self, target: ModelTarget, name: str, examples: Sequence[Example], seconds: float) -> list[float]:
        answer = self._regress(_examples_request(target, name, examples), target, seconds)
        return [one.value for one in answer.result.regressions]

    def status(self, target: ModelTarget, seconds: float) -> list[VersionStatus]:
        # As over REST, where a label is passed over.
        request = message("GetModelStatusRequest")(model_spec=_model_spec(ModelTarget(target.name, target.version)))
        found = self._status(request, target, seconds).model_version_status
        return sorted(map(_version_status, found), key=lambda one: -one.version)

    def metadata(self, target: ModelTarget, seconds: float) -> Metadata:
        request = message("GetModelMetadataRequest")(model_spec=_model_spec(target), metadata_field=[SIGNATURES])
        answer = self._describe(request, target, seconds)
        signatures = message("SignatureDefMap").FromString(answer.metadata[SIGNATURES].value).signature_def
        version = answer.model_spec.version.value
        return Metadata(version, {key: _signature(signatures[key]) for key in sorted(signatures)})

    def close(self) -> None:
        self._channel.close()

    def _call(self, service: str, verb: str, request: str, response: str) -> Callable[[Any, ModelTarget, float], Any]:
        remote = self._channel.unary_unary(
            f"/{service}/{verb}", message(request).SerializeToString, message(response).FromString
        )

        def call(content: Any, target: ModelTarget, seconds: float) -> Any:
            try:
                return remote(content, timeout=seconds, metadata=self._metadata)
            except grpc.RpcError as error:
                raise self._error(verb, target, error) from error

        return call

    def _error(self, verb: str, target: ModelTarget, error: Any) -> ServerError:
        asked = f"{verb.removeprefix('GetModel')} of {target} at {self._address}"
        return server_error(asked, error.code().name, error.details() or "")


def _channel(address: Address, settings: ClientSettings) -> grpc.Channel:
    if not address.secure:
        return grpc.insecure_channel(address.authority, OPTIONS)
    tls = settings.tls
    tls.context()  # gRPC itself only logs what is wrong with a file
    content = [file.read_bytes() if file else None for file in (tls.authority, tls.key, tls.certificate)]
    options = OPTIONS if tls.server_name is None else (*OPTIONS, ("grpc.ssl_target_name_override", tls.server_name))
    return grpc.secure_channel(address.authority, grpc.ssl_channel_credentials(*content), options)


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
