"""What the request log costs a server: python -m benchmarks.request_log [--json FILE]

Eight clients ask two servers in turns over gRPC for the mean of a JPEG of 224 x 224 pixels; one of them has a request
log. The model does next to nothing besides decoding, so that whatever the log takes is seen. `ratio` is requests a
second with a log by those without.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

import models as models  # chooses Keras 2 before the protos import TensorFlow
from benchmarks import measure
from models.stack import tf
from pipeline.data.requests.writer import LogLimits, RequestWriter
from serving.local.conversion import tensor_of
from serving.local.model_config import one_model
from serving.local.server import Server
from serving.local.settings import ServerOptions
from serving.request_log.recorder import Recorder, Sampling

CLIENTS = 8
SIDE = 224
LEAST_SECONDS = 2.0
GOALS = {0.01: 0.95, 1.0: None}
"""Share that is logged -> least ratio: that of every hundredth request, the default, must not show."""

Ask = Callable[[], Any]


def main() -> None:
    arguments = measure.arguments(__doc__, rounds=7).parse_args()
    machine = measure.host()
    with tempfile.TemporaryDirectory() as folder:
        model = saved(Path(folder) / "model")
        measures = [compared(model, share, goal, arguments.rounds) for share, goal in GOALS.items()]
    measure.publish(measures, machine, arguments.json)


def saved(folder: Path) -> Path:
    """A model that decodes, and takes the mean."""

    def mean(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        def one(data: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(data), tf.float32))

        return {"mean": tf.map_fn(one, image_bytes, fn_output_signature=tf.float32)}

    signature = tf.function(mean, input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    module = tf.Module()
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": signature})
    return folder


def compared(model: Path, share: float, goal: float | None, rounds: int) -> measure.Measure:
    with tempfile.TemporaryDirectory() as folder, serving(model, None) as plain:
        log = Recorder(RequestWriter(Path(folder), LogLimits(limit_gib=0.5)), Sampling(share=share, seed=0))
        with serving(model, log) as logged:
            sides = {"logged": lambda: per_second(logged), "plain": lambda: per_second(plain)}
            found = measure.interleave(sides, rounds)
        print(f"share {share:g}: {dict(log.counts())}")
    line = measure.compare(f"{share:.0%} of the requests logged", found["logged"], found["plain"], "requests/s")
    return line if goal is None else measure.at_least(line, goal)


@contextmanager
def serving(model: Path, log: Recorder | None) -> Iterator[Ask]:
    """What asks a server once."""
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    server = Server(one_model(str(model), "mean"), ServerOptions(grpc_port=0, rest_port=None), log)
    try:
        ports = server.start()
        if ports is None:
            raise RuntimeError("the server was stopped before it was ready")
        with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            predict, request = PredictionServiceStub(channel).Predict, asked()
            yield lambda: predict(request, timeout=60)
    finally:
        server.stop()


def asked() -> Any:
    """The PredictRequest of one picture of about 20 kB."""
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    coarse = np.random.default_rng(0).integers(0, 256, (SIDE // 8, SIDE // 8, 3)).astype(np.uint8)
    picture = tf.io.encode_jpeg(np.kron(coarse, np.ones((8, 8, 1), np.uint8)), quality=90).numpy()
    request = PredictRequest()
    request.model_spec.name = "mean"
    request.inputs["image_bytes"].CopyFrom(tensor_of(np.array([picture], object)))
    return request


def per_second(ask: Ask) -> float:
    """Requests a second of all clients, over at least LEAST_SECONDS."""
    until = time.perf_counter() + LEAST_SECONDS

    def one_client(_: int) -> int:
        count = 0
        while time.perf_counter() < until:
            ask()
            count += 1
        return count

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        total = sum(clients.map(one_client, range(CLIENTS)))
    return total / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
