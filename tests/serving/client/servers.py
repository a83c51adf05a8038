"""Small real servers whose behaviour a test chooses: gRPC on TF Serving's own stubs, REST on `http.server`.

Both serve the model `letters`: `image_bytes` string [B] -> `scores` float32 [B, 3] and `length` int64 [B].
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from models.stack import tf

HTTP = {"UNAVAILABLE": 503, "INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "INTERNAL": 500}
OTHER_ANSWERS = {"PAGE": 502, "OTHER": 200}
GENEROUS = 60.0
BAD = b"undecodable"


def scores(data: bytes) -> list[float]:
    """Something that depends on every byte, and has no short decimals."""
    total = sum(data)
    return [total / 7, -len(data) / 3, 1 / (1 + total)]


@dataclass
class Script:
    """What a server does, and what it has seen.

    Args:
        failures: (code, words) of the next answers, in this order; None is a good one.
        seconds: that every answer takes at least.
        together: how many requests have to be there at once before the first is answered.
        came: sizes of the Predict requests that came, noted before anything can hold them up.
        batches: the same once they are worked on, failed ones included.
        headers: of the last request.
    """

    failures: list[tuple[str, str] | None] = field(default_factory=list)
    seconds: float = 0.0
    together: int = 1
    came: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Condition = field(default_factory=threading.Condition)

    def take(self, size: int | None = None) -> tuple[str, str] | None:
        """Notes a request; the failure that it meets, or None."""
        if size is not None:
            self.came.append(size)
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            if size is not None:
                self.batches.append(size)
            failure = self.failures.pop(0) if self.failures else None
            self.lock.notify_all()
            self.lock.wait_for(lambda: self.most_at_once >= self.together, GENEROUS)
        time.sleep(self.seconds)
        with self.lock:
            self.at_once -= 1
        return failure


def signatures() -> dict[str, SignatureDef]:
    """Those of `letters`."""
    predict = SignatureDef(method_name="tensorflow/serving/predict")
    for infos, name, dtype, shape in (
        (predict.inputs, "image_bytes", tf.string, [-1]),
        (predict.outputs, "scores", tf.float32, [-1, 3]),
        (predict.outputs, "length", tf.int64, [-1]),
    ):
        infos[name].dtype = dtype.as_datatype_enum
        for size in shape:
            infos[name].tensor_shape.dim.add(size=size)
    unknown = SignatureDef(method_name="tensorflow/serving/predict")
    unknown.inputs["anything"].dtype = tf.resource.as_datatype_enum
    unknown.inputs["anything"].tensor_shape.unknown_rank = True
    return {"serving_default": predict, "odd": unknown}


def metadata() -> get_model_metadata_pb2.GetModelMetadataResponse:
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.model_spec.name = "letters"
    answer.model_spec.version.value = 7
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in signatures().items():
        found.signature_def[name].CopyFrom(definition)
    answer.metadata["signature_def"].Pack(found)
    return answer


def status() -> get_model_status_pb2.GetModelStatusResponse:
    answer = get_model_status_pb2.GetModelStatusResponse()
    answer.model_version_status.add(version=6, state=50, status={"error_code": 3, "error_message": "bad file"})
    answer.model_version_status.add(version=7, state=30)
    return answer


class GrpcLetters(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """`letters` over gRPC."""

    def __init__(self, script: Script):
        self.script = script

    def _begin(self, context: grpc.ServicerContext, size: int | None = None) -> None:
        self.script.headers = dict(context.invocation_metadata())
        failure = self.script.take(size)
        if failure:
            context.abort(grpc.StatusCode[failure[0]], failure[1])

    def Predict(self, request: Any, context: Any) -> predict_pb2.PredictResponse:  # noqa: N802
        data = list(request.inputs["image_bytes"].string_val)
        self._begin(context, len(data))
        if any(BAD in one for one in data):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "cannot decode")
        answer = predict_pb2.PredictResponse()
        answer.outputs["scores"].CopyFrom(tf.make_tensor_proto(np.array([scores(one) for one in data], np.float32)))
        answer.outputs["length"].CopyFrom(tf.make_tensor_proto(np.array([len(one) for one in data], np.int64)))
        return answer

    def Classify(self, request: Any, context: Any) -> classification_pb2.ClassificationResponse:  # noqa: N802
        self._begin(context)
        answer = classification_pb2.ClassificationResponse()
        for example in request.input.example_list.examples:
            one = answer.result.classifications.add()
            for name, feature in sorted(example.features.feature.items()):
                one.classes.add(label=f"{name} {feature.WhichOneof('kind')}", score=0.3)
        return answer

    def Regress(self, request: Any, context: Any) -> regression_pb2.RegressionResponse:  # noqa: N802
        self._begin(context)
        answer = regression_pb2.RegressionResponse()
        for example in request.input.example_list.examples:
            answer.result.regressions.add(value=sum(example.features.feature["x"].float_list.value))
        return answer

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._begin(context)
        return metadata()

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._begin(context)
        return status()


@contextmanager
def grpc_letters(script: Script, credentials: grpc.ServerCredentials | None = None, port: int = 0) -> Iterator[str]:
    """Serves `letters` and gives its URL."""
    # Not more than one server on a port, so that a test which brings one back finds the port as it left it.
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    servicer = GrpcLetters(script)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    address = f"127.0.0.1:{port}"
    bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield f"{'grpcs' if credentials else 'grpc'}://127.0.0.1:{bound}"
    finally:
        server.stop(0).wait()


class RestLetters(BaseHTTPRequestHandler):
    """`letters` over REST."""

    protocol_version = "HTTP/1.1"
    script: Script

    def do_GET(self) -> None:
        content: Any = json_format.MessageToDict(
            status(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        if self.path.endswith("/metadata"):
            content = json.loads(
                json_format.MessageToJson(
                    metadata(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
                )
            )
        self._answer(self.script.take(), content)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.endswith(":classify"):
            self._answer(self.script.take(), {"results": [_classes(one) for one in request["examples"]]})
        elif self.path.endswith(":regress"):
            self._answer(self.script.take(), {"results": [sum(one["x"]) for one in request["examples"]]})
        else:
            data = [base64.b64decode(one["b64"]) for one in request["inputs"]["image_bytes"]]
            failure = self.script.take(len(data))
            if failure is None and any(BAD in one for one in data):
                failure = ("INVALID_ARGUMENT", "cannot decode")
            outputs = {
                "scores": [[float(np.float32(value)) for value in scores(one)] for one in data],
                "length": [len(one) for one in data],
            }
            self._answer(failure, {"outputs": outputs})

    def _answer(self, failure: tuple[str, str] | None, content: Any) -> None:
        self.script.headers = {name.lower(): value for name, value in self.headers.items()}
        if failure and failure[0] == "CUT":
            self.close_connection = True
            self.connection.shutdown(2)
            return
        if failure and failure[0] in OTHER_ANSWERS:
            body, code = failure[1].encode(), OTHER_ANSWERS[failure[0]]
        elif failure:
            body, code = json.dumps({"error": failure[1]}).encode(), HTTP[failure[0]]
        else:
            body, code = json.dumps(content).encode(), 200
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


def _classes(example: dict[str, list[Any]]) -> list[list[Any]]:
    kinds = {dict: "bytes_list", int: "int64_list", float: "float_list"}
    return [[f"{name} {kinds[type(values[0])]}", 0.3] for name, values in sorted(example.items())]


@contextmanager
def rest_letters(script: Script, tls: Any = None, port: int = 0) -> Iterator[str]:
    """Serves `letters` and gives its URL."""
    handler = type("Handler", (RestLetters,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


SERVERS = {"grpc": grpc_letters, "rest": rest_letters}
