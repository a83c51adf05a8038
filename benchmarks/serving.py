"""What `convoy serve` costs and withstands: python -m benchmarks.serving [--parts PART ...] [--json FILE] [--rounds N]

MobileNetV2 at 224 px (random weights take as long as trained ones), JPEG photographs, batching on. Server, clients and
in-process computing are processes of their own on the same cores; only one side is at work at a time.

    throughput  pictures a second at 1, 8 and 32 clients, over gRPC and REST / computed in batches in a process
    scalar      one number there and back: p50 / a call in the process, p99 / p50
    peer        pictures a second at 8 clients / FastAPI around `model(x)`
    reload      requests answered during version switches / all of them
    sigterm     requests answered or refused when the server is stopped under load / all of them

The peer needs CONVOY_PEERS_PYTHON (`make bench` sets it up). All parts take a quarter of an hour, `reload` half of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.latency import PEERS
from benchmarks.serving_clients import OK, REFUSED
from benchmarks.serving_processes import SECONDS, Helper, Server, helper, served

CLIENTS = (1, 8, 32)
JUDGED = 8
"""Clients at which the goals are set."""
BATCH, THREADS = 4, 2
BATCHING = f"""max_batch_size {{ value: {BATCH} }}
batch_timeout_micros {{ value: 2000 }}
num_batch_threads {{ value: {THREADS} }}
max_enqueued_batches {{ value: 100 }}
"""
OF_IN_PROCESS, OF_PEER = 0.8, 1.5
SWITCHES = 20
STOPS = 3


def main() -> None:
    parser = measure.arguments(__doc__, rounds=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn (%(default)s)")
    arguments = parser.parse_args()
    machine = measure.host()
    with prepared() as (folder, clients):
        bench = Bench(folder, clients, arguments.rounds, arguments.seconds)
        measures = [line for part in arguments.parts for line in PARTS[part](bench)]
    measure.publish(measures, machine, arguments.json)


@contextmanager
def prepared() -> Iterator[tuple[Path, Helper]]:
    """A folder with models, pictures and `batching.config`, and the clients."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, "-m", "benchmarks.serving_network", name], cwd=measure.ROOT, check=True)
        (Path(name) / "batching.config").write_text(BATCHING, encoding="utf-8")
        with helper("serving_clients", str(Path(name) / "pictures")) as clients:
            yield Path(name), clients


class Bench:
    """What the parts share.

    Args:
        folder: as `benchmarks.serving_network` fills it, with `batching.config`.
        clients: `benchmarks.serving_clients`.
        rounds: of each ratio.
        seconds: of each turn.
    """

    def __init__(self, folder: Path, clients: Helper, rounds: int, seconds: float):
        self.folder, self.clients, self.rounds, self.seconds = folder, clients, rounds, seconds

    def batched(self, *options: str) -> AbstractContextManager[Server]:
        """The network behind `convoy serve` with batching."""
        return served(self.folder / "network", "--batching", str(self.folder / "batching.config"), *options)

    def pictures(self, ports: Mapping[str, int], clients: int) -> float:
        """Pictures a second; RuntimeError where a request failed."""
        found = self.clients.ask(ports=ports, clients=clients, seconds=self.seconds)
        if set(found["statuses"]) - {OK}:
            raise RuntimeError(f"requests failed: {found['statuses']}")
        return float(found["rate"])


def throughput(bench: Bench) -> list[measure.Measure]:
    """Pictures a second served / computed in the process, for each number of clients."""
    with bench.batched() as server, helper("serving_compute", str(bench.folder)) as compute:
        sides: dict[str, Callable[[], float]] = {}
        for clients in CLIENTS:
            batch = min(clients, BATCH)
            asked = {"batch": batch, "threads": min(-(-clients // batch), THREADS), "seconds": bench.seconds}
            sides[f"compute {clients}"] = partial(compute.ask, question="rate", **asked)
            for api, port in server.ports.items():
                sides[f"{api} {clients}"] = partial(bench.pictures, {api: port}, clients)
        found = measure.interleave(sides, bench.rounds)
    return [beside_compute(api, clients, found) for api in server.ports for clients in CLIENTS]


def beside_compute(api: str, clients: int, found: Mapping[str, Sequence[float]]) -> measure.Measure:
    """One line of `throughput`."""
    name = f"{api}, {clients} client{'s' * (clients > 1)} / in process, batches of {min(clients, BATCH)}"
    compared = measure.compare(name, found[f"{api} {clients}"], found[f"compute {clients}"], "pictures/s")
    return measure.at_least(compared, OF_IN_PROCESS) if clients == JUDGED else compared


def scalar(bench: Bench) -> list[measure.Measure]:
    """Round trips of one number on one connection, without batching."""
    trips: dict[str, list[dict[str, float]]] = {"grpc": [], "rest": []}

    def trip(api: str, port: int) -> float:
        ports = {api: port}
        found = bench.clients.ask(ports=ports, clients=1, seconds=bench.seconds, lead=0.5, kind="scalar")
        trips[api].append(found)
        return float(found["p50"])

    with served(bench.folder / "scalar") as server, helper("serving_compute", str(bench.folder)) as compute:
        sides: dict[str, Callable[[], float]] = {api: partial(trip, api, port) for api, port in server.ports.items()}
        calls = partial(compute.ask, question="scalar")
        found = measure.interleave({**sides, "call": calls}, bench.rounds)
    measures = []
    for api, all_trips in trips.items():
        counted = all_trips[1:]  # as `interleave` leaves out the first
        tails = [one["p99"] for one in counted]
        measures += [
            measure.compare(f"scalar over {api}, p50 / a call in the process", found[api], found["call"], "ms"),
            measure.compare(f"scalar over {api}, p99 / p50", tails, [one["p50"] for one in counted], "ms"),
        ]
    return measures


def peer(bench: Bench) -> list[measure.Measure]:
    """Pictures a second served / by a web framework around `model(x)`."""
    python = os.environ.get(PEERS)
    if not python:
        print(f"{PEERS} is not set: no FastAPI to compare with (`make bench` sets it up).", file=sys.stderr)
        return []
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
    with bench.batched() as server, helper("serving_peer", packages) as process:
        ports = {**server.ports, "peer": int(process.answer())}
        sides = {api: partial(bench.pictures, {api: port}, JUDGED) for api, port in ports.items()}
        found = measure.interleave(sides, bench.rounds)
    return [
        measure.at_least(
            measure.compare(f"{api}, {JUDGED} clients / FastAPI", found[api], found["peer"], "pictures/s"), OF_PEER
        )
        for api in server.ports
    ]


def reload(bench: Bench) -> list[measure.Measure]:
    """Requests without an error through version switches under load."""
    first = bench.folder / "network" / "1"
    with bench.batched("--file-system-poll-wait-seconds", "0.2") as server:
        bench.clients.tell(ports=server.ports, clients=JUDGED, seconds=3600.0, until_file=str(bench.folder / "done"))
        for number in range(2, 2 + SWITCHES):
            copied = shutil.copytree(first, bench.folder / "network" / f"copying-{number}")
            copied.rename(bench.folder / "network" / str(number))
            wait_for(server, number)
        (bench.folder / "done").touch()
        found = bench.clients.answer()
    return [without_loss(f"answered through {SWITCHES} version switches / sent", Counter(found["statuses"]), (OK,))]


def wait_for(server: Server, version: int) -> None:
    """Until this version serves, and no other."""
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/default"
    limit = time.monotonic() + SECONDS
    while True:
        with urllib.request.urlopen(url, timeout=SECONDS) as reply:
            states = {one["version"]: one["state"] for one in json.loads(reply.read())["model_version_status"]}
        serving = [number for number, state in states.items() if state not in ("END", "START")]
        if serving == [str(version)] and states[str(version)] == "AVAILABLE":
            return
        if time.monotonic() > limit:
            raise RuntimeError(f"version {version} does not serve alone after {SECONDS:g} s: {states}")
        time.sleep(0.1)


def sigterm(bench: Bench) -> list[measure.Measure]:
    """Requests that got an answer, or were refused before they were accepted, when the server is stopped under load."""
    statuses: Counter[str] = Counter()
    for _ in range(STOPS):
        with bench.batched() as server:
            bench.clients.tell(ports=server.ports, clients=JUDGED, seconds=SECONDS, lead=0.0, until_refused=True)
            time.sleep(bench.seconds)
            server.process.terminate()
            statuses += Counter(bench.clients.answer()["statuses"])
            if server.process.wait(SECONDS):
                raise RuntimeError(f"convoy serve ended with exit code {server.process.returncode}")
    name = f"answered or refused through {STOPS} stops / sent"
    return [without_loss(name, statuses, (OK, REFUSED))]


def without_loss(name: str, statuses: Counter[str], right: Sequence[str]) -> measure.Measure:
    """The share of requests with one of the statuses that are `right`; the goal is all of them."""
    print(f"{name}: {dict(statuses)}", file=sys.stderr)
    sound = sum(statuses[status] for status in right)
    return measure.at_least(measure.compare(name, [sound], [statuses.total()], "requests"), 1.0)


PARTS: Mapping[str, Callable[[Bench], list[measure.Measure]]] = {
    "throughput": throughput,
    "scalar": scalar,
    "peer": peer,
    "reload": reload,
    "sigterm": sigterm,
}

if __name__ == "__main__":
    main()
