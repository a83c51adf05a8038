"""Clients of the serving benchmarks, in a process of their own: they share the processor with the server, so they are
light. Requests are encoded before the clock runs; answers are not decoded.

Started as `python -m benchmarks.serving_clients FOLDER`, with the pictures to send in FOLDER. Each line on stdin names
the arguments of `Clients.run`. It imports no TensorFlow.
"""

from __future__ import annotations

import base64
import itertools
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np

from benchmarks.serving_processes import answer_lines
from serving.remote import tensors
from serving.remote.messages import message

SECONDS = 60.0
PREDICT = "/tensorflow.serving.PredictionService/Predict"
MODEL = "default"
HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
OK, REFUSED, NO_ANSWER = "OK", "refused", "no answer"
"""A request is refused where no connection is to be had, or the server says that it is stopping."""
REFUSALS = ("stopping", "refused", "failed to connect")


class Client(Protocol):
    """One connection."""

    def ask(self, request: bytes) -> str:
        """`OK`, or what became of the request."""

    def close(self) -> None:
        """Ends the connection."""


class RestClient:
    """A connection of HTTP, opened again whenever the server has closed it."""

    def __init__(self, port: int):
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> str:
        """The status of the answer to a whole request, such as `400`; `OK` for 200."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), SECONDS)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except ConnectionRefusedError:
            return REFUSED
        try:
            self._socket.sendall(request)
            status = self._read(self._socket)
        except OSError:
            status = ""
        if not status:
            self.close()
        return {"": NO_ANSWER, "200": OK}.get(status, status)

    def close(self) -> None:
        """Ends the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self, sock: socket.socket) -> str:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            part = sock.recv(65536)
            if not part:
                return ""
            data += part
        head = data[:end].lower()
        length = int(head.rpartition(b"content-length: ")[2].split(b"\r\n")[0])
        missing = length - (len(data) - end - 4)
        while missing > 0:
            part = sock.recv(missing)
            if not part:
                return ""
            missing -= len(part)
        if b"connection: close" in head:
            self.close()
        return data[9:12].decode()


class GrpcClient:
    """A channel with a connection of its own."""

    def __init__(self, port: int):
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.unary_unary(PREDICT, None, None)

    def ask(self, request: bytes) -> str:
        """`OK`, or the code's name."""
        try:
            self._call(request, timeout=SECONDS)
        except grpc.RpcError as error:
            said = (error.details() or "").lower()
            is_refused = error.code() is grpc.StatusCode.UNAVAILABLE and any(one in said for one in REFUSALS)
            return REFUSED if is_refused else str(error.code().name)
        return OK

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()


CLIENTS: Mapping[str, Callable[[int], Client]] = {"grpc": GrpcClient, "rest": RestClient, "peer": RestClient}


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent, when it was answered (`time.perf_counter`), and how."""

    begun: float
    ended: float
    status: str


class Clients:
    """All that can be sent: by the name of an API, whole requests of it.

    Args:
        folder: of JPEG files.
    """

    def __init__(self, folder: Path):
        pictures = [file.read_bytes() for file in sorted(folder.iterdir())]
        number = np.array(1.0, np.float32).reshape(1)
        self._requests: Mapping[str, Mapping[str, list[bytes]]] = {
            "pictures": {
                "grpc": [over_grpc("image_bytes", np.array([one], object)) for one in pictures],
                "rest": [over_rest({"b64": base64.b64encode(one).decode()}) for one in pictures],
                "peer": [HEAD % (b"/predict", len(one)) + one for one in pictures],
            },
            "scalar": {"grpc": [over_grpc("x", number)], "rest": [over_rest(1.0)]},
        }

    def run(
        self,
        ports: Mapping[str, int],
        clients: int,
        seconds: float,
        lead: float = 1.0,
        rate: float | None = None,
        kind: str = "pictures",
        until_refused: bool = False,
        until_file: str | None = None,
    ) -> dict[str, Any]:
        """What happened while clients asked.

        Args:
            ports: API -> port; clients take turns with the APIs.
            clients: connections, each with one request at a time.
            seconds: that are counted.
            lead: seconds before them.
            rate: requests a second of all clients together; None asks again as soon as an answer is there.
            kind: `pictures` or `scalar`.
            until_refused: ends a client at its first refusal, too.
            until_file: ends all clients once it exists, too.

        Returns:
            `rate` (right answers a second), `p50` and `p99` (milliseconds), and `statuses`: all of them with their
            number, those outside of the counted seconds included.
        """
        begin = time.perf_counter()
        end = begin + lead + seconds
        is_over = ending(end, None if until_file is None else Path(until_file), until_refused=until_refused)

        def work(number: int, name: str) -> list[Asked]:
            requests = rotated(self._requests[kind][name], 7 * number)
            times = None if rate is None else ticks(begin + number / rate, clients / rate)
            return drive(CLIENTS[name](ports[name]), requests, times, is_over)

        with ThreadPoolExecutor(clients) as threads:
            found = [one for some in threads.map(work, range(clients), itertools.cycle(ports)) for one in some]
        return summary(found, begin + lead, end)


def ending(end: float, file: Path | None, *, until_refused: bool) -> Callable[[str], bool]:
    """Whether a client asks no more, by the status of its last answer; see `Clients.run`."""

    def is_over(status: str) -> bool:
        late = time.perf_counter() >= end or (until_refused and status == REFUSED)
        return late or (file is not None and file.exists())

    return is_over


def drive(
    client: Client, requests: Iterator[bytes], times: Iterator[float] | None, is_over: Callable[[str], bool]
) -> list[Asked]:
    """Asks at the given times, or without a pause, until it is over."""
    found: list[Asked] = []
    while not is_over(found[-1].status if found else OK):
        if times is not None:
            time.sleep(max(next(times) - time.perf_counter(), 0))
        begun = time.perf_counter()
        status = client.ask(next(requests))
        found.append(Asked(begun, time.perf_counter(), status))
    client.close()
    return found


def summary(asked: Sequence[Asked], begin: float, end: float) -> dict[str, Any]:
    """See `Clients.run`."""
    right = [one for one in asked if one.status == OK and begin <= one.ended < end]
    milliseconds = [1000 * (one.ended - one.begun) for one in right]
    p50, p99 = np.percentile(milliseconds, [50, 99]).tolist() if milliseconds else (0.0, 0.0)
    statuses = Counter(one.status for one in asked)
    return {"rate": len(right) / (end - begin), "p50": p50, "p99": p99, "statuses": statuses}


def rotated(requests: Sequence[bytes], first: int) -> Iterator[bytes]:
    """The requests again and again, from another one on for each client."""
    return itertools.islice(itertools.cycle(requests), first % len(requests), None)


def ticks(first: float, period: float) -> Iterator[float]:
    """Times of a client that does not wait for its answers to plan the next request."""
    return (first + count * period for count in itertools.count())


def over_grpc(name: str, value: np.ndarray) -> bytes:
    """A PredictRequest."""
    request = message("PredictRequest")()
    request.model_spec.name = MODEL
    tensors.write(value, request.inputs[name])
    return bytes(request.SerializeToString())


def over_rest(row: Any) -> bytes:
    """A whole request of HTTP, with one row."""
    body = json.dumps({"instances": [row]}).encode()
    return HEAD % (f"/v1/models/{MODEL}:predict".encode(), len(body)) + body


if __name__ == "__main__":
    answer_lines(Clients(Path(sys.argv[1])).run)
