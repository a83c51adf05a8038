"""One request, read and answered: everything of it that may take time, in a thread of the pool."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass

from grpc import StatusCode
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from pipeline import console
from serving.errors import ServingError
from serving.local.core import Core
from serving.local.rest import answers
from serving.local.rest.body import unpacked
from serving.local.rest.requests import examples_of, predict_request
from serving.local.rest.routes import Route, UnansweredError, find_route
from serving.local.settings import ServerOptions

JSON = ((b"content-type", b"application/json"),)
PLAIN = ((b"content-type", b"text/plain"),)
STATUSES = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.ABORTED: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}
"""All others are 500."""


@dataclass(frozen=True)
class Request:
    """What came in.

    Args:
        method: GET, POST, ...
        target: the path as it was sent, with its query.
        body: as it was sent.
        gzip: whether the body is packed.
        arrived: when it was whole, by `time.monotonic()`.
    """

    method: str
    target: str
    body: bytes
    gzip: bool
    arrived: float


@dataclass(frozen=True)
class Answer:
    """What goes out."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = JSON


class Handler:
    """Answers requests to the API; thread-safe.

    Args:
        core: does the work.
        options: timeout and limits.
    """

    def __init__(self, core: Core, options: ServerOptions):
        self._core = core
        self._options = options

    def answer(self, request: Request) -> Answer:
        """The answer to one request; a ServingError becomes its status and message."""
        try:
            return Answer(200, self._body(request))
        except UnansweredError:
            return Answer(400, b"")
        except ServingError as error:
            return Answer(STATUSES.get(error.code, 500), answers.error(error.message))
        except Exception as error:  # a fault of this program: the next request may still be answered
            console.warn(f"{request.method} {request.target} failed:\n{traceback.format_exc()}")
            return Answer(500, answers.error(f"{type(error).__name__}: {error}"))

    def metrics(self, target: str, path: str) -> Answer:
        """The metrics; TF Serving takes no query there."""
        if target != path:
            return Answer(400, f"Unexpected path: {target}. Should be {path}".encode(), PLAIN)
        return Answer(200, self._core.metrics_text(), PLAIN)

    def _body(self, request: Request) -> bytes:
        route = find_route(request.method, request.target)
        model = ModelSpec(name=route.name)
        if route.version is not None:
            model.version.value = route.version
        if route.label is not None:
            model.version_label = route.label
        if route.verb == "status":
            return answers.status(self._core.status(GetModelStatusRequest(model_spec=model)))
        if route.verb == "metadata":
            asked = GetModelMetadataRequest(model_spec=model, metadata_field=["signature_def"])
            return answers.metadata(self._core.metadata(asked))
        return self._counted(route, model, request)

    def _counted(self, route: Route, model: ModelSpec, request: Request) -> bytes:
        code = StatusCode.UNKNOWN
        try:
            answer = self._inference(route, model, request)
            code = StatusCode.OK
        except ServingError as error:
            code = error.code
            raise
        finally:
            seconds = time.monotonic() - request.arrived
            self._core.observe(route.name, route.verb.capitalize(), "REST", code, seconds)
        return answer

    def _inference(self, route: Route, model: ModelSpec, request: Request) -> bytes:
        body = self._unpacked(request) if request.gzip else request.body
        deadline = request.arrived + self._options.rest_timeout_ms / 1000
        if route.verb == "predict":
            asked, form = predict_request(body, model, self._core.signature)
            return answers.predictions(self._core.predict(asked, deadline).outputs, form)
        examples = examples_of(body, model)
        if route.verb == "classify":
            classification = ClassificationRequest(model_spec=model, input=examples)
            return answers.classes(self._core.classify(classification, deadline).result)
        regression = RegressionRequest(model_spec=model, input=examples)
        return answers.regressions(self._core.regress(regression, deadline).result)

    def _unpacked(self, request: Request) -> bytes:
        """An unreadable gzip is an empty document to TF Serving."""
        if not request.body:
            return b""
        try:
            return unpacked(request.body, self._options.max_unpacked_bytes)
        except ValueError as error:
            console.warn(f"{request.method} {request.target}: {error}")
            message = f"JSON Parse error: The document is empty ({error})"
            raise ServingError(StatusCode.INVALID_ARGUMENT, message) from error
