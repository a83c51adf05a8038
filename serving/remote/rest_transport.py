"""A server over REST: TF Serving's JSON, in its column form, which any shape fits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import numpy as np
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError, TimeoutError

from pipeline.errors import ServerError
from serving.remote import json_tensors
from serving.remote.address import Address
from serving.remote.errors import code_of_http, server_error
from serving.remote.features import values_of
from serving.remote.settings import ClientSettings
from serving.remote.tensors import BY_NAME
from serving.remote.transport import Arrays, Example
from serving.remote.values import OTHER, Metadata, ModelTarget, Signature, TensorSpec, VersionStatus

CHUNK = 2**18
SHOWN = 500
"""Characters of an answer that is no JSON, such as a proxy's page."""


class RestTransport:
    """Connections to one server, kept open; thread-safe.

    Raises:
        ConfigError: certificates that cannot be used.
    """

    def __init__(self, address: Address, settings: ClientSettings):
        self._address = address
        self._headers = {"content-type": "application/json", **settings.headers}
        self._pool = _pool(address, settings)

    def predict(
        self, target: ModelTarget, name: str, signature: Signature, inputs: Arrays, seconds: float
    ) -> dict[str, np.ndarray]:
        content = {key: json_tensors.to_json(value) for key, value in inputs.items()}
        answer = self._ask("predict", target, {"signature_name": name, "inputs": content}, seconds)
        with self._understood("predict", target):
            outputs = answer["outputs"]
            if len(signature.outputs) == 1:  # whose name is then left out
                outputs = dict.fromkeys(signature.outputs, outputs)
            return {key: json_tensors.from_json(outputs[key], spec) for key, spec in signature.outputs.items()}

    def classify(
        self, target: ModelTarget, name: str, examples: Sequence[Example], seconds: float
    ) -> list[list[tuple[str, float]]]:
        with self._understood("classify", target):
            found = self._results("classify", target, name, examples, seconds)
            return [[(str(label), _float32(score)) for label, score in one] for one in found]

    def regress(self, target: ModelTarget, name: str, examples: Sequence[Example], seconds: float) -> list[float]:
        with self._understood("regress", target):
            return [_float32(one) for one in self._results("regress", target, name, examples, seconds)]

    def status(self, target: ModelTarget, seconds: float) -> list[VersionStatus]:
        with self._understood("status", target):
            answer = self._ask("", ModelTarget(target.name, target.version), None, seconds)
            return sorted(map(_version_status, answer["model_version_status"]), key=lambda one: -one.version)

    def metadata(self, target: ModelTarget, seconds: float) -> Metadata:
        with self._understood("metadata", target):
            answer = self._ask("metadata", target, None, seconds)
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            found = {key: _signature(signatures[key]) for key in sorted(signatures)}
            return Metadata(int(answer["model_spec"]["version"]), found)

    def close(self) -> None:
        self._pool.close()

    def _results(
        self, verb: str, target: ModelTarget, name: str, examples: Sequence[Example], seconds: float
    ) -> list[Any]:
        content = {"signature_name": name, "examples": [_example(one) for one in examples]}
        found: list[Any] = self._ask(verb, target, content, seconds)["results"]
        return found

    def _ask(self, verb: str, target: ModelTarget, content: Any, seconds: float) -> Any:
        """The answer's JSON; GET where there is no content."""
        body = None if content is None else json.dumps(content).encode()
        status, answer = self._send(verb or "status", target, _path(self._address, target, verb), body, seconds)
        try:
            document = json_tensors.read(answer)
        except ValueError as error:
            if status != 200:
                raise self._error(verb or "status", target, code_of_http(status), _shown(answer)) from error
            raise self._unexpected(verb or "status", target, _shown(answer)) from error
        if status != 200:
            said = document.get("error") if isinstance(document, dict) else None
            raise self._error(verb or "status", target, code_of_http(status), said or _shown(answer))
        return document

    def _send(self, verb: str, target: ModelTarget, path: str, body: bytes | None, seconds: float) -> tuple[int, bytes]:
        if seconds <= 0:
            raise self._error(verb, target, "DEADLINE_EXCEEDED", "")
        deadline = time.monotonic() + seconds
        try:
            response = self._pool.urlopen(
                "GET" if body is None else "POST", path, body, self._headers, preload_content=False,
                retries=False, redirect=False, timeout=urllib3.Timeout(total=seconds),
            )  # fmt: skip
            with response:
                return response.status, _content(response, deadline, self._pool)
        except NewConnectionError as error:  # which is a TimeoutError in some versions of urllib3
            raise self._error(verb, target, "UNAVAILABLE", str(error)) from error
        except TimeoutError as error:
            raise self._error(verb, target, "DEADLINE_EXCEEDED", str(error)) from error
        except HTTPError as error:  # refused, no such host, no certificate, cut off: gRPC calls all of it UNAVAILABLE
            raise self._error(verb, target, "UNAVAILABLE", str(error)) from error

    @contextmanager
    def _understood(self, verb: str, target: ModelTarget) -> Iterator[None]:
        """Says so where an answer has not the form of TF Serving's."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._unexpected(verb, target, repr(error)) from error

    def _error(self, verb: str, target: ModelTarget, code: str, said: str) -> ServerError:
        return server_error(f"{verb.capitalize()} of {target} at {self._address}", code, said)

    def _unexpected(self, verb: str, target: ModelTarget, what: str) -> ServerError:
        return self._error(verb, target, "UNKNOWN", f"this is not TF Serving's answer: {what}")


def _pool(address: Address, settings: ClientSettings) -> urllib3.HTTPConnectionPool:
    if not address.secure:
        return urllib3.HTTPConnectionPool(address.host, address.port, maxsize=settings.concurrency)
    tls = settings.tls
    return urllib3.HTTPSConnectionPool(
        address.host,
        address.port,
        maxsize=settings.concurrency,
        ssl_context=tls.context(),
        server_hostname=tls.server_name,
        assert_hostname=tls.server_name,
    )


def _content(response: Any, deadline: float, pool: urllib3.HTTPConnectionPool) -> bytes:
    """The whole body, however slowly it comes, unless that takes too long."""
    parts = []
    for part in response.stream(CHUNK):
        parts.append(part)
        if time.monotonic() > deadline:
            raise ReadTimeoutError(pool, "", "the answer had not come to its end")
    return b"".join(parts)


def _path(address: Address, target: ModelTarget, verb: str) -> str:
    path = f"{address.prefix}/v1/models/{quote(target.name, safe='')}"
    if target.version is not None:
        path += f"/versions/{target.version}"
    elif target.label is not None:
        path += f"/labels/{quote(target.label, safe='')}"
    if verb == "metadata":
        return f"{path}/metadata"
    return f"{path}:{verb}" if verb else path


def _example(example: Example) -> dict[str, Any]:
    found = {}
    for name, value in example.items():
        field, values = values_of(name, value)
        found[name] = [json_tensors.in_base64(one) for one in values] if field == "bytes_list" else values
    return found


def _float32(number: float) -> float:
    """The number that the server had, of which JSON holds the shortest decimals."""
    return float(np.float32(number))


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
