"""The peer of `benchmarks.serving`: FastAPI and uvicorn around `model(x)`, as tutorials have it, with the same network.

Started as `python -m benchmarks.serving_peer PACKAGES`, where PACKAGES is the folder of the peers' environment in which
FastAPI lies; TensorFlow is that of the main one. It takes a JPEG as the body of POST /predict, which spares it base64,
and decodes, resizes and answers in a thread of the pool. The port is printed as a line of JSON.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import uvicorn

from benchmarks.serving_network import SIZE, network
from models.stack import leave_kernels_to_tensorflow, tf


def main() -> None:
    leave_kernels_to_tensorflow()
    sys.path.append(sys.argv[1])
    _, model = network()
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps(listener.getsockname()[1]), flush=True)
    uvicorn.Server(uvicorn.Config(application(model), log_level="error")).run(sockets=[listener])


def application(model: Any) -> Any:
    """POST /predict."""
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool

    app = FastAPI()

    def scores(jpeg: bytes) -> list[float]:
        picture = tf.image.resize(tf.io.decode_jpeg(jpeg, channels=3), [SIZE, SIZE])
        answer = model({"image": tf.cast(picture, tf.uint8)[None]})
        found: list[float] = next(iter(answer.values())).numpy()[0].tolist()
        return found

    async def predict(request: Any) -> dict[str, list[float]]:
        return {"scores": await run_in_threadpool(scores, await request.body())}

    predict.__annotations__["request"] = Request  # the module itself imports without FastAPI
    app.post("/predict")(predict)
    return app


if __name__ == "__main__":
    main()
