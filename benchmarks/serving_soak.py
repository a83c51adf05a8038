"""Whether `convoy serve` holds out: python -m benchmarks.serving_soak [--minutes 30] [--share 0.7] [--json FILE]

The network of `benchmarks.serving` with batching, asked over gRPC and REST by clients that send at a fixed rate,
however long an answer takes: a share of what the server is first measured to answer. The goals: 1 for requests without
an error; at most 1.02 for the memory at the end against that after warm-up. Both are medians of some readings, since
freed memory goes back to the system in lumps. The exit code is 1 where a goal is missed.
"""

from __future__ import annotations

import statistics
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.serving import JUDGED, Bench, prepared, without_loss
from benchmarks.serving_clients import OK
from benchmarks.serving_processes import Helper, Server

WARM = 0.2
"""Share of the time after which memory counts."""
READINGS = 0.1
"""Share of the time whose readings of memory are one median."""
MOST_GROWTH = 1.02
SECONDS_BETWEEN_READINGS = 1.0
SECONDS_OF_CAPACITY = 10.0
CLIENTS = 32
"""Connections: enough for the rate to hold where answers take long for a while."""
LARGEST_PART = 60.0
"""Seconds of load between two lines of progress."""


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--minutes", type=float, default=30.0, help="of load, at least 0.5 (%(default)s)")
    parser.add_argument("--share", type=float, default=0.7, help="of the measured capacity (%(default)s)")
    arguments = parser.parse_args()
    if arguments.minutes < 0.5 or not 0 < arguments.share <= 1:
        parser.error("--minutes is at least 0.5, --share above 0 and at most 1")
    machine = measure.host()
    with prepared() as (folder, clients):
        measures = soaked(folder, clients, 60 * arguments.minutes, arguments.share)
    measure.publish(measures, machine, arguments.json)
    if not all(one.met for one in measures if one.goal is not None):
        sys.exit("A goal was missed.")


def soaked(folder: Path, clients: Helper, seconds: float, share: float) -> list[measure.Measure]:
    """The capacity, then the load."""
    bench = Bench(folder, clients, 1, SECONDS_OF_CAPACITY)
    with bench.batched() as server, Memory(server) as memory:
        capacity = bench.pictures(server.ports, JUDGED)
        memory.begin()
        found = [asked(server, clients, part, share * capacity) for part in parts(seconds)]
        memory.end()
    statuses: Counter[str] = sum((Counter(one["statuses"]) for one in found), Counter())
    rates = [one["rate"] for one in found]
    minutes = f"{seconds / 60:g} minutes at {share:.0%} load"
    held = measure.compare(f"{minutes}: answers / capacity at {JUDGED} clients", rates, [capacity] * len(rates), "1/s")
    late = [one["p99"] for one in found]
    tails = measure.compare("... p99 / p50", late, [one["p50"] for one in found], "ms")
    return [without_loss(f"{minutes}: answered / sent", statuses, (OK,)), memory.grown(), held, tails]


def parts(seconds: float) -> list[float]:
    """The time in equal parts, none longer than LARGEST_PART."""
    count = -int(-seconds // LARGEST_PART)
    return [seconds / count] * count


def asked(server: Server, clients: Helper, seconds: float, rate: float) -> dict[str, Any]:
    """One part of the load."""
    found: dict[str, Any] = clients.ask(ports=server.ports, clients=CLIENTS, seconds=seconds, lead=0.0, rate=rate)
    said = f"{found['rate']:.1f} a second, p50 {found['p50']:.0f} ms, p99 {found['p99']:.0f} ms, {found['statuses']}"
    print(f"{said}, {server.memory / 2**20:.1f} MiB", file=sys.stderr, flush=True)
    return found


class Memory:
    """Reads the server's memory while it works."""

    def __init__(self, server: Server):
        self._server = server
        self._readings: list[int] = []
        self._counted: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def begin(self) -> None:
        """From here on readings count."""
        self._readings.clear()

    def end(self) -> None:
        """Until here."""
        self._counted = list(self._readings)

    def grown(self) -> measure.Measure:
        """Memory in the last tenth of the time / in the tenth after warm-up."""
        size, first = max(int(len(self._counted) * READINGS), 1), int(len(self._counted) * WARM)
        before, after = (
            statistics.median(some) / 2**20 for some in (self._counted[first : first + size], self._counted[-size:])
        )
        return measure.at_most(
            measure.compare("memory at the end / after warm-up", [after], [before], "MiB"), MOST_GROWTH
        )

    def _watch(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_READINGS):
            self._readings.append(self._server.memory)


if __name__ == "__main__":
    main()
