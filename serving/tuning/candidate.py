"""Batching settings that are tried: which ones at first, and which ones near a good one."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.wording import quantity
from serving import configs
from serving.local.settings import ServerOptions

LARGEST = 64
"""Pictures in a batch at the most."""
SHARE_OF_WAIT = 0.25
"""Of the wanted latency that a request may wait for others."""
LEAST_QUEUE = 4
"""Batches a thread that may wait; as `convoy deploy` has it."""
MOST_IN_FLIGHT = 500
"""Requests that are under way at once."""
Costs = Mapping[int, float]
"""Pictures in a request -> milliseconds until its answer, with nothing else on the server."""


@dataclass(frozen=True)
class Candidate:
    """Settings of one server.

    Args:
        batch: pictures in a batch at most, a power of two.
        wait_micros: that its first request waits for others.
        threads: that run batches.
        queue: batches that may wait.
    """

    batch: int
    wait_micros: int
    threads: int
    queue: int

    @classmethod
    def of(cls, parameters: Any) -> Candidate:
        """From a BatchingParameters message of `configs.batching`."""
        return cls(
            parameters.max_batch_size.value,
            parameters.batch_timeout_micros.value,
            parameters.num_batch_threads.value,
            parameters.max_enqueued_batches.value,
        )

    def parameters(self) -> Any:
        """As a BatchingParameters message."""
        return configs.batching(self.batch, self.wait_micros, self.threads, self.queue)

    def serve_options(self) -> list[str]:
        """Of `convoy serve`: a thread for each request that batches and queue hold, or batches would not get full."""
        held = min(MOST_IN_FLIGHT, self.batch * (self.threads + self.queue))
        usual = ServerOptions()
        return [
            *("--grpc-threads", str(max(held, usual.grpc_threads))),
            *("--rest-threads", str(max(held, usual.rest_threads))),
        ]

    def __str__(self) -> str:
        threads = quantity(self.threads, "thread")
        return f"batches of {self.batch}, {self.wait_micros} us, {threads}"


@dataclass(frozen=True)
class Space:
    """What may be tried for one model.

    Args:
        costs: measured, of 1, 2, 4, ... pictures.
        latency_ms: wanted.
        cpus: of the server.
    """

    costs: Costs
    latency_ms: float
    cpus: int

    @property
    def batches(self) -> list[int]:
        """Sizes whose batch alone is computed in time; 1 in any case."""
        return [size for size, cost in self.costs.items() if size == 1 or cost <= self.latency_ms]

    def first(self) -> list[Candidate]:
        """Coarse: every size with a thread a processor, at once and after half a picture's time; the sizes that promise
        most first."""
        promising = sorted(self.batches, key=lambda size: (-size / self.costs[size], size))
        half = self._wait(500 * self.costs[1])
        found = [self.candidate(size, wait, self.cpus) for wait in (0, half) for size in promising]
        return list(dict.fromkeys(found))

    def near(self, best: Candidate, tried: Collection[Candidate]) -> list[Candidate]:
        """Fine: one setting of a good candidate is doubled or halved."""
        longer = self._wait(2 * best.wait_micros or 250 * self.costs[1])
        found = [
            self.candidate(best.batch, best.wait_micros, 2 * best.threads),
            self.candidate(best.batch, best.wait_micros, max(best.threads // 2, 1)),
            self.candidate(best.batch, longer, best.threads),
            self.candidate(best.batch, best.wait_micros // 2, best.threads),
            self.candidate(2 * best.batch, best.wait_micros, best.threads),
            self.candidate(max(best.batch // 2, 1), best.wait_micros, best.threads),
        ]
        sizes = {*self.batches, best.batch}  # whose size the costs may not reach, where it is the default one
        return [one for one in dict.fromkeys(found) if one not in tried and one.batch in sizes]

    def candidate(self, batch: int, wait_micros: int, threads: int) -> Candidate:
        """With a queue that can be worked off within the wanted latency; a picture alone waits for nothing."""
        cost = self.costs.get(batch, self.latency_ms)
        queue = threads * max(LEAST_QUEUE, math.ceil(self.latency_ms / cost))
        return Candidate(batch, wait_micros if batch > 1 else 0, threads, min(queue, 1000))

    def guess(self, candidate: Candidate) -> float:
        """Requests a second to begin with."""
        size = max((size for size in self.costs if size <= candidate.batch), default=1)
        return 1000 * size / self.costs[size]

    @property
    def floor(self) -> float:
        """Requests a second at which they hardly ever meet."""
        return 100 / self.costs[1]

    def _wait(self, micros: float) -> int:
        return round(min(micros, SHARE_OF_WAIT * 1000 * self.latency_ms))
