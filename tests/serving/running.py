"""A server of `convoy serve` in this process, and what asks it over both of its fronts."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc as prediction
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.local.server import Server
from serving.local.settings import ServerOptions

SECONDS = 60.0
"""For a condition to come true, on a machine that may be busy with something else."""
STATES = get_model_status_pb2.ModelVersionStatus.State


class Running:
    """A server that runs, and its clients."""

    def __init__(self, server: Server, grpc_port: int, rest_port: int | None):
        self.server, self.grpc_port, self.rest_port = server, grpc_port, rest_port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
        self.prediction = prediction.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, model: str, signature: str = "", version: int | None = None, **inputs: Any) -> dict[str, Any]:
        """Output name -> array; raises grpc.RpcError."""
        request = predict_request(model, signature, version, **inputs)
        response = self.prediction.Predict(request, timeout=SECONDS)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def states(self, model: str) -> dict[int, str]:
        """Version -> name of its state, in the answer's order; {} where the model is unknown."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        try:
            response = self.models.GetModelStatus(request, timeout=SECONDS)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
            return {}
        return {one.version: STATES.Name(one.state) for one in response.model_version_status}

    def rest(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status and parsed body of a GET, or of a POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest_port}{path}", data)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


def predict_request(model: str, signature: str = "", version: int | None = None, **inputs: Any) -> Any:
    """A PredictRequest; inputs become tensors of numpy's type for them."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


@contextmanager
def running(config: ModelServerConfig, **options: Any) -> Iterator[Running]:
    """A server on free ports; without REST unless `rest_port` says otherwise."""
    server = Server(config, ServerOptions(**{"grpc_port": 0, "rest_port": None, "file_poll_seconds": 0.1, **options}))
    try:
        ports = server.start()
        assert ports is not None
        client = Running(server, ports.grpc, ports.rest)
        yield client
        client.channel.close()
    finally:
        server.stop()


def config_of(models: Mapping[str, Path | str], **labels: int) -> ModelServerConfig:
    """A configuration of models by name and base path; the labels are those of the first."""
    config = ModelServerConfig()
    for name, path in models.items():
        config.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
    for label, version in labels.items():
        config.model_config_list.config[0].version_labels[label] = version
    return config


def eventually(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit, "it did not come true in time"
        time.sleep(0.02)


def put_version(source: Path, base: Path, number: int | str) -> Path:
    """Copies a version beside its place and renames it, so that a server never sees half of it."""
    base.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, base / f"copying-{number}")
    return (base / f"copying-{number}").rename(base / str(number))


def write_warm_up(version: Path, records: Sequence[bytes]) -> None:
    """The warm-up file of a version."""
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def floats(*values: float) -> np.ndarray[Any, Any]:
    """A float32 vector."""
    return np.array(values, np.float32)
