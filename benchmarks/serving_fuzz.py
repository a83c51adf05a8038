"""Whether `convoy serve` survives anything: python -m benchmarks.serving_fuzz [--inputs N] [--seed N] [--json FILE]

Sends N inputs over REST and N over gRPC to a server in a process of its own: JSON by hypothesis, valid requests with
bytes changed, cut, doubled or swapped, and bytes at random, as bodies and as whole HTTP requests. Answers are counted
by status. A fault is an answer that blames the server (HTTP 500 and 503, UNKNOWN and INTERNAL), no answer at all, or a
server that answers a right request wrongly afterwards. The goals: 1 for inputs without a fault; at most 1.1 for the
memory at the end against that after a fifth of the inputs. The exit code is 1 where one is missed.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.serving_clients import NO_ANSWER, REFUSED, RestClient
from benchmarks.serving_fuzz_inputs import GRPC_METHODS, bodies, heads, messages, save_model, structured
from benchmarks.serving_processes import Server, served

FAULTS = ("500", "503", "UNKNOWN", "INTERNAL", "UNAVAILABLE", REFUSED, NO_ANSWER)
UNREADABLE = "Exception deserializing request!"
"""What gRPC itself says, as INTERNAL, of bytes that are no message: no fault of the server's."""
CLIENTS = 4
WARM = 0.2
"""Share of the inputs after which memory counts."""
MOST_GROWTH = 1.1
SECONDS = 60.0
RIGHT = (b'{"instances": [1.0, 2.5]}', [1.0, 2.5])
HEAD = b"POST /v1/models/echo:%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@dataclass
class Found:
    """What became of the inputs of one surface."""

    statuses: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Any] = field(default_factory=dict)

    def add(self, status: str, sent: Any) -> None:
        self.statuses[status] += 1
        self.examples.setdefault(status, sent)

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    @property
    def faults(self) -> int:
        return sum(self.statuses[status] for status in FAULTS)


class RestFuzzer(RestClient):
    """A client that sends anything."""

    def ask(self, request: bytes) -> str:
        """The status of the answer to a whole request; sent again where the server closed after the answer before."""
        status = super().ask(request)
        return super().ask(request) if status == NO_ANSWER else status

    def shout(self, data: bytes) -> str:
        """The status that bytes get which may be no whole request, `closed` where they get none."""
        with socket.create_connection(("127.0.0.1", self._port), SECONDS) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                received = b"".join(iter(lambda: sock.recv(65536), b""))
            except ConnectionError:
                return "closed"
            except TimeoutError:
                return NO_ANSWER
        return received[9:12].decode() or "closed"


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--inputs", type=int, default=100_000, help="for each of REST and gRPC (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    machine = measure.host()
    with echoing() as server:
        measures = [
            *judged("REST", server, arguments.inputs, lambda count, seed: rest(server, count, seed), arguments.seed),
            *judged("gRPC", server, arguments.inputs, lambda count, seed: grpc(server, count, seed), arguments.seed),
        ]
    measure.publish(measures, machine, arguments.json)
    if not all(one.met for one in measures):
        sys.exit("The server has faults.")


@contextmanager
def echoing() -> Iterator[Server]:
    """`convoy serve` with one model, `echo`."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder, "echo", "1"))
        with served(Path(folder, "echo"), "--model-name", "echo") as server:
            yield server


def judged(
    name: str, server: Server, inputs: int, fuzz: Callable[[int, int], Found], seed: int
) -> list[measure.Measure]:
    """Sends all inputs and looks at what they left behind."""
    began = time.perf_counter()
    first = fuzz(int(inputs * WARM), seed)
    before = server.memory
    second = fuzz(inputs - int(inputs * WARM), seed + 1)
    after, seconds = server.memory, time.perf_counter() - began
    statuses = first.statuses + second.statuses
    total, faults = first.total + second.total, first.faults + second.faults
    print(f"{name}: {total} inputs in {seconds:.0f} s: {dict(statuses.most_common())}", file=sys.stderr)
    for status in FAULTS:
        for found in (first, second):
            if status in found.examples:
                print(f"{name} {status}: {found.examples[status]!r}", file=sys.stderr)
    sound = total - faults if is_alive(server) else 0
    answered = measure.compare(f"{name}: answers without a fault / inputs", [sound], [total], "inputs")
    grown = measure.compare(f"{name}: memory after / before, in MiB", [after / 2**20], [before / 2**20], "MiB")
    return [measure.at_least(answered, 1.0), measure.at_most(grown, MOST_GROWTH)]


def is_alive(server: Server) -> bool:
    """Whether a right request has the right answer."""
    with socket.create_connection(("127.0.0.1", server.rest_port), SECONDS) as sock:
        body = RIGHT[0]
        sock.sendall(HEAD.replace(b"Host: x", b"Connection: close") % (b"predict", len(body)) + body)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return bool(json.loads(answer.partition(b"\r\n\r\n")[2]) == {"predictions": RIGHT[1]})


def rest(server: Server, count: int, seed: int) -> Found:
    """`count` inputs over REST."""
    found = Found()
    client = RestFuzzer(server.rest_port)
    by_hypothesis = count // 50  # which takes its time to think of them
    structured(by_hypothesis, seed, lambda verb, body: found.add(post(client, verb, body), (verb, body)))
    client.close()
    shares = [(count - by_hypothesis) // CLIENTS] * CLIENTS
    shares[0] += count - by_hypothesis - sum(shares)
    with ThreadPoolExecutor(CLIENTS) as threads:
        for statuses in threads.map(
            rest_at_random, [server] * CLIENTS, shares, range(seed * 100, seed * 100 + CLIENTS)
        ):
            for status, sent in statuses:
                found.add(status, sent)
    return found


def rest_at_random(server: Server, count: int, seed: int) -> list[tuple[str, Any]]:
    """Statuses, and what was sent, of changed requests and random bytes on one connection."""
    chance, client = random.Random(seed), RestFuzzer(server.rest_port)
    found: list[tuple[str, Any]] = []
    for _ in range(count):
        if chance.random() < 0.1:
            data = heads(chance)
            found.append((client.shout(data), data))
        else:
            verb, body = bodies(chance)
            found.append((post(client, verb, body), (verb, body)))
    client.close()
    return found


def post(client: RestFuzzer, verb: str, body: bytes) -> str:
    return client.ask(HEAD % (verb.encode(), len(body)) + body)


def grpc(server: Server, count: int, seed: int) -> Found:
    """`count` messages over gRPC."""
    import grpc as library

    chance, found = random.Random(seed), Found()
    with library.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        methods = {name: channel.unary_unary(name, bytes, bytes) for name in GRPC_METHODS}
        for _ in range(count):
            name, message = messages(chance)
            try:
                methods[name](message, timeout=SECONDS)
                status = "OK"
            except library.RpcError as error:
                is_unreadable = error.details() == UNREADABLE
                status = "unreadable" if is_unreadable else error.code().name
            found.add(status, (name, message))
    return found


if __name__ == "__main__":
    main()
