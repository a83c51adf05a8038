"""TF Serving's REST interface: paths and bodies of requests, in its column form, which any shape fits, and what answers
say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from serving.remote import json_tensors
from serving.remote.address import Address
from serving.remote.errors import code_of_http, not_of_tf_serving, server_error
from serving.remote.features import values_of
from serving.remote.tensors import BY_NAME
from serving.remote.transport import Answer, Arrays, Call, Example
from serving.remote.values import OTHER, Metadata, ModelTarget, Signature, TensorSpec, VersionStatus

SHOWN = 500
"""Characters of an answer that is no JSON, such as a proxy's page."""
OK = 200


class RestCalls:
    """The questions to one server; see `Calls`."""

    def __init__(self, address: Address):
        self._address = address

    def predict(
        self, target: ModelTarget, name: str, signature: Signature, inputs: Arrays
    ) -> Call[dict[str, np.ndarray]]:
        content = {key: json_tensors.to_json(value) for key, value in inputs.items()}

        def read(answer: Any) -> dict[str, np.ndarray]:
            outputs = answer["outputs"]
            if len(signature.outputs) == 1:  # whose name is then left out
                outputs = dict.fromkeys(signature.outputs, outputs)
            return {key: json_tensors.from_json(outputs[key], spec) for key, spec in signature.outputs.items()}

        return self._call("predict", target, {"signature_name": name, "inputs": content}, read)

    def classify(
        self, target: ModelTarget, name: str, examples: Sequence[Example]
    ) -> Call[list[list[tuple[str, float]]]]:
        return self._call("classify", target, _examples(name, examples), _classes)

    def regress(self, target: ModelTarget, name: str, examples: Sequence[Example]) -> Call[list[float]]:
        return self._call("regress", target, _examples(name, examples), _numbers)

    def status(self, target: ModelTarget) -> Call[list[VersionStatus]]:
        return self._call("", ModelTarget(target.name, target.version), None, _states)

    def metadata(self, target: ModelTarget) -> Call[Metadata]:
        return self._call("metadata", target, None, _described)

    def _call(self, verb: str, target: ModelTarget, content: Any, read: Callable[[Any], Answer]) -> Call[Answer]:
        asked = f"{(verb or 'status').capitalize()} of {target} at {self._address}"

        def understood(body: bytes) -> Answer:
            try:
                document = json_tensors.read(body)
            except ValueError as error:
                raise not_of_tf_serving(asked, _shown(body)) from error
            try:
                return read(document)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise not_of_tf_serving(asked, repr(error)) from error

        body = None if content is None else json.dumps(content).encode()
        return Call(asked, _path(self._address, target, verb), body, understood)


def headers_of(headers: Mapping[str, str]) -> dict[str, str]:
    """What is sent with each request."""
    return {"content-type": "application/json", **headers}


def require_ok(call: Call[Any], status: int, body: bytes) -> bytes:
    """The body; ServerError with the server's words where the HTTP status says that it is no answer."""
    if status == OK:
        return body
    try:
        document = json_tensors.read(body)
    except ValueError:
        document = None
    said = document.get("error") if isinstance(document, dict) else None
    raise server_error(call.asked, code_of_http(status), said or _shown(body))


def _path(address: Address, target: ModelTarget, verb: str) -> str:
    path = f"{address.prefix}/v1/models/{quote(target.name, safe='')}"
    if target.version is not None:
        path += f"/versions/{target.version}"
    elif target.label is not None:
        path += f"/labels/{quote(target.label, safe='')}"
    if verb == "metadata":
        return f"{path}/metadata"
    return f"{path}:{verb}" if verb else path


def _examples(name: str, examples: Sequence[Example]) -> dict[str, Any]:
    return {"signature_name": name, "examples": [_example(one) for one in examples]}


def _example(example: Example) -> dict[str, Any]:
    found = {}
    for name, value in example.items():
        field, values = values_of(name, value)
        found[name] = [json_tensors.in_base64(one) for one in values] if field == "bytes_list" else values
    return found


def _classes(answer: Any) -> list[list[tuple[str, float]]]:
    return [[(str(label), _float32(score)) for label, score in one] for one in answer["results"]]


def _numbers(answer: Any) -> list[float]:
    return [_float32(one) for one in answer["results"]]


def _float32(number: float) -> float:
    """The number that the server had, of which JSON holds the shortest decimals."""
    return float(np.float32(number))


def _states(answer: Any) -> list[VersionStatus]:
    return sorted(map(_version_status, answer["model_version_status"]), key=lambda one: -one.version)


def _described(answer: Any) -> Metadata:
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    found = {key: _signature(signatures[key]) for key in sorted(signatures)}
    return Metadata(int(answer["model_spec"]["version"]), found)


def _shown(answer: bytes) -> str:
    return " ".join(answer.decode("utf-8", "replace").split())[:SHOWN]


def _version_status(found: Mapping[str, Any]) -> VersionStatus:
    status = found.get("status", {})
    return VersionStatus(
        int(found["version"]), found["state"], status.get("error_code", "OK"), status.get("error_message", "")
    )


def _signature(definition: Mapping[str, Any]) -> Signature:
    inputs, outputs = [
        {key: _tensor_spec(infos[key]) for key in sorted(infos)}
        for infos in (definition["inputs"], definition["outputs"])
    ]
    return Signature(definition["method_name"], inputs, outputs)


def _tensor_spec(info: Mapping[str, Any]) -> TensorSpec:
    dtype = BY_NAME.get(info["dtype"], OTHER)
    shape = info.get("tensor_shape")
    if shape is None or shape.get("unknown_rank"):
        return TensorSpec(dtype, None)
    return TensorSpec(dtype, tuple(_axis(dim.get("size", "0")) for dim in shape.get("dim", ())))


def _axis(size: str) -> int | None:
    return None if int(size) < 0 else int(size)
