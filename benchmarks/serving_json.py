"""REST bodies as tensors and back, against json and numpy: python -m benchmarks.serving_json [--json FILE]

The yardstick reads with `json.loads`, `base64.b64decode` and `np.array`, and writes with `json.dumps`: without any of
TF Serving's rules about types, shapes and digits. `ratio` is how many times as many requests a second Convoy reads, or
answers it writes.
"""

from __future__ import annotations

import base64
import gc
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import measure
from serving.local.conversion import tensor_of
from serving.local.rest import answers
from serving.local.rest.json_reader import read_object
from serving.local.rest.requests import Form
from serving.local.rest.rows import tensors_of_rows

FLOAT, UINT8, STRING = 1, 4, 7
LEAST_SECONDS = 0.2
GOAL = 1.0

Work = Callable[[], Any]


def main() -> None:
    arguments = measure.arguments(__doc__, rounds=9).parse_args()
    machine = measure.host()
    gc.freeze()  # as `convoy serve` does: or else all of TensorFlow is looked through whenever lists are made
    measures = [compared(name, *sides, arguments.rounds) for name, sides in cases().items()]
    measure.publish(measures, machine, arguments.json)


def cases() -> Mapping[str, tuple[Work, Work]]:
    """Name -> ours and the yardstick."""
    chance = np.random.default_rng(0)
    picture = chance.integers(0, 256, [1, 224, 224, 3])
    jpegs = [{"b64": base64.b64encode(chance.bytes(20_000)).decode()}] * 8
    pixels, encoded = body(picture.tolist()), body(jpegs)
    floats = body((picture / 256).round(6).tolist())
    scores = chance.random([32, 1000]).astype(np.float32)
    proto = {"scores": tensor_of(scores)}
    return {
        "8 JPEGs of 20 kB in base64": (lambda: read(encoded, STRING), lambda: plain_strings(encoded)),
        "224x224x3 floats": (lambda: read(floats, FLOAT), lambda: plain(floats, np.float32)),
        "224x224x3 integers as uint8": (lambda: read(pixels, UINT8), lambda: plain(pixels, np.uint8)),
        "write 32x1000 floats": (
            lambda: answers.predictions(proto, Form.ROWS),
            lambda: json.dumps({"predictions": scores.tolist()}),
        ),
    }


def body(rows: Any) -> bytes:
    return json.dumps({"instances": rows}).encode()


def read(text: bytes, dtype: int) -> Any:
    """As `convoy serve` reads it."""
    return tensors_of_rows(read_object(text)["instances"], {"x": dtype})


def plain(text: bytes, dtype: Any) -> Any:
    """As a few lines of Python would."""
    return np.array(json.loads(text)["instances"], dtype)


def plain_strings(text: bytes) -> list[bytes]:
    """As a few lines of Python would."""
    return [base64.b64decode(one["b64"]) for one in json.loads(text)["instances"]]


def compared(name: str, ours: Work, yardstick: Work, rounds: int) -> measure.Measure:
    sides = {"ours": lambda: per_second(ours), "yardstick": lambda: per_second(yardstick)}
    found = measure.interleave(sides, rounds)
    return measure.at_least(measure.compare(name, found["ours"], found["yardstick"], "1/s"), GOAL)


def per_second(work: Work) -> float:
    """How often in a second, over at least LEAST_SECONDS."""
    began, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < LEAST_SECONDS:
        work()
        count += 1
    return count / seconds


if __name__ == "__main__":
    main()
