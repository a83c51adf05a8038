"""TF Serving's gRPC services: PredictionService, ModelService, and grpc.health.v1."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from pipeline import console
from pipeline.errors import ConfigError
from serving.errors import ServingError, truncated
from serving.local.core import Core
from serving.local.gate import Gate
from serving.local.parsing import Parsing
from serving.local.settings import ServerOptions
from serving.local.tls import credentials

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
HEALTH_THREADS = 2


class PredictionService:
    """Predict, Classify, Regress, MultiInference, GetModelMetadata."""

    def __init__(self, core: Core, gate: Gate):
        self._core, self._gate = core, gate

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, the method's name in gRPC
        """Tensors to tensors."""
        return self._counted("Predict", self._core.predict, request, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """tf.Examples to labels and scores."""
        return self._counted("Classify", self._core.classify, request, context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """tf.Examples to numbers."""
        return self._counted("Regress", self._core.regress, request, context)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """tf.Examples to several results."""
        self._gate.enter(context)
        return _answer(self._core.multi_inference, context, request, _deadline(context))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The signatures of a version."""
        self._gate.enter(context)
        return _answer(self._core.metadata, context, request)

    def _counted(self, verb: str, method: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Any:
        self._gate.enter(context)
        begun, code = time.perf_counter(), grpc.StatusCode.INTERNAL
        try:
            answer = method(request, _deadline(context))
            code = grpc.StatusCode.OK
        except ServingError as error:
            code = error.code
            context.abort(error.code, truncated(error.message))
        finally:
            self._core.observe(request.model_spec.name, verb, "GRPC", code, time.perf_counter() - begun)
        return answer


class ModelService:
    """GetModelStatus, HandleReloadConfigRequest."""

    def __init__(self, core: Core, gate: Gate):
        self._core, self._gate = core, gate

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The states of a model's versions."""
        self._gate.enter(context)
        return _answer(self._core.status, context, request)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Another configuration."""
        self._gate.enter(context)
        return _answer(self._core.reload, context, request)


class GrpcServer:
    """The services on a port of their own."""

    def __init__(self, core: Core, options: ServerOptions):
        limits = [
            ("grpc.max_receive_message_length", options.max_message_bytes),
            ("grpc.max_send_message_length", options.max_message_bytes),
            # Otherwise a second server could listen on the same port, and each would get some of the requests.
            ("grpc.so_reuseport", 0),
        ]
        self._options, self._gate = options, Gate()
        threads = ThreadPoolExecutor(options.grpc_threads, "grpc")
        self._server = grpc.server(threads, interceptors=[Parsing()], options=limits)
        self._health = health.HealthServicer()
        self._add_services(core)

    def start(self) -> int:
        """Begins to listen, and gives the port.

        Raises:
            ConfigError: the port is taken, or the TLS files are wrong.
        """
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        address = f"{host}:{self._options.grpc_port}"
        identity = credentials(self._options)
        try:
            port = (
                self._server.add_insecure_port(address)
                if identity is None
                else self._server.add_secure_port(address, identity)
            )
        except RuntimeError as error:
            raise ConfigError(
                f"Cannot listen on {address} for gRPC: {error}. Is another server running there? "
                "Choose another port with --grpc-port (0: any free one)."
            ) from error
        self._server.start()
        self._tell_health(health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    def stop(self, grace: float) -> None:
        """Takes no more requests; returns when the running ones are answered, or after `grace` seconds."""
        self._health.enter_graceful_shutdown()
        self._gate.close()
        self._server.stop(grace).wait()

    def _add_services(self, core: Core) -> None:
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(core, self._gate), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core, self._gate), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def _tell_health(self, status: int) -> None:
        for service in ("", PREDICTION_SERVICE, MODEL_SERVICE):
            self._health.set(service, status)


def _answer(method: Callable[..., Any], context: grpc.ServicerContext, *arguments: Any) -> Any:
    try:
        return method(*arguments)
    except ServingError as error:
        context.abort(error.code, truncated(error.message))
    except Exception as error:
        console.warn(f"a fault in the server: {error!r}")
        raise


def _deadline(context: grpc.ServicerContext) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining
