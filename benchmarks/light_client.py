"""What the light client costs, beside `tensorflow-serving-api`: python -m benchmarks.light_client [--json FILE]

Importing it has to take less than 0.2 seconds, and a picture of 224 x 224 x 3 bytes has to be encoded as a request and
decoded from one in less than a millisecond. `goal` is the ratio that this would be on this host.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks import measure
from models.stack import tf
from serving.remote import tensors
from serving.remote.messages import message

IMPORT_SECONDS = 0.2
CODEC_MILLISECONDS = 1.0
REPEATS = 50
PEER = "import tensorflow_serving.apis.prediction_service_pb2_grpc"
FIRST_USE = "from serving.client import connect; connect('grpc://localhost:1'); import serving.remote.inputs"


def main() -> None:
    arguments = measure.arguments(__doc__, rounds=7).parse_args()
    machine = measure.host()
    measure.publish([*imports(arguments.rounds), codec(arguments.rounds)], machine, arguments.json)


def imports(rounds: int) -> list[measure.Measure]:
    """Seconds of importing the client, and of all that it loads until it can send, over those of Python alone."""
    sides: dict[str, Callable[[], float]] = {
        name: lambda code=code: seconds(code)  # type: ignore[misc]
        for name, code in (
            ("python", "pass"),
            ("client", "import serving.client"),
            ("first use", FIRST_USE),
            ("peer", PEER),
        )
    }
    found = measure.interleave(sides, rounds)
    ours, ready, theirs = [
        [one - bare for one, bare in zip(found[name], found["python"], strict=True)]
        for name in ("client", "first use", "peer")
    ]
    goal = IMPORT_SECONDS / statistics.median(theirs)
    imported = measure.compare("import of the client / tensorflow-serving-api", ours, theirs, "s")
    used = measure.compare("... until it can send over gRPC / tensorflow-serving-api", ready, theirs, "s")
    return [replace(imported, goal=goal, met=imported.value < IMPORT_SECONDS), used]


def codec(rounds: int) -> measure.Measure:
    """Milliseconds of a picture of 224 px into the bytes of a request and back, over those of TensorFlow's classes."""
    picture = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    found = measure.interleave(
        {"ours": lambda: milliseconds(ours, picture), "theirs": lambda: milliseconds(theirs, picture)}, rounds
    )
    compared = measure.compare(
        "picture of 224 px, encoded and decoded / TensorFlow", found["ours"], found["theirs"], "ms"
    )
    goal = CODEC_MILLISECONDS / statistics.median(found["theirs"])
    return replace(compared, goal=goal, met=compared.value < CODEC_MILLISECONDS)


def ours(picture: np.ndarray) -> np.ndarray:
    """There and back with the client's messages."""
    request = message("PredictRequest")()
    tensors.write(picture, request.inputs["image"])
    received = message("PredictRequest").FromString(request.SerializeToString())
    return tensors.from_proto(received.inputs["image"])


def theirs(picture: np.ndarray) -> np.ndarray:
    """There and back with `tensorflow-serving-api`."""
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    request = PredictRequest()
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(picture))
    found: np.ndarray = tf.make_ndarray(PredictRequest.FromString(request.SerializeToString()).inputs["image"])
    return found


def milliseconds(function: Callable[[np.ndarray], np.ndarray], picture: np.ndarray) -> float:
    """The median of several calls."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function(picture)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def seconds(code: str) -> float:
    """Wall time of a Python that runs this."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=measure.ROOT, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
