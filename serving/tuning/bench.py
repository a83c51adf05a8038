"""A server under trial: started with settings, loaded by open-loop arrivals."""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConvoyError, ServerError
from serving import configs
from serving.async_client import ClientSettings, connect
from serving.load.arrivals import Poisson
from serving.load.generator import Generator
from serving.load.profiles import Steady
from serving.load.result import LoadResult
from serving.load.run import Requests
from serving.remote.transport import Call
from serving.tuning.candidate import LARGEST, MOST_IN_FLIGHT, Candidate, Costs

PORTS = re.compile(r"gRPC at (\S+), REST at http://(\S+)")
COMMAND = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve"]
TIMES = 4.0
"""Of the wanted latency, after which an answer is no longer waited for."""
LEAST_TIMEOUT = 1.0
ALONE = 5
"""Requests of each size to know what it costs."""
SHARE_SLOW = 0.01
QUICK, PAUSE = 3, 0.05
"""Quick requests in a row after which a server is taken to be idle; seconds before another one is asked."""
SHOWN_LINES = 15
START_SECONDS = 600.0


@dataclass(frozen=True)
class Trial:
    """A steady rate, offered for a while.

    Args:
        rate: requests a second.
        requests: that were sent; fewer than planned where it was clear before that they are too slow.
        p50_ms, p99_ms: of all requests, a failed one never being answered; infinite where too many failed.
        failed: share of the requests.
        passed: whether p99 is within the wanted latency.
        kept_up: whether the generator sent nearly all in time.
    """

    rate: float
    requests: int
    p50_ms: float
    p99_ms: float
    failed: float
    passed: bool
    kept_up: bool


class Bench:
    """Offers load to one server. Not thread-safe; `close` ends it.

    Args:
        url: of the server.
        model: its name.
        requests: for a number of pictures in each of them.
        latency_ms: wanted.
        batch: pictures that the server joins at most.
    """

    def __init__(self, url: str, model: str, requests: Callable[[int], Requests], latency_ms: float, batch: int = 1):
        self._latency_ms, self._requests, self._batch = latency_ms, requests, batch
        self._timeout = max(TIMES * latency_ms / 1000, LEAST_TIMEOUT)
        self._client = connect(url, model, settings=ClientSettings(concurrency=MOST_IN_FLIGHT))
        self._generator = Generator(self._client, self._timeout, MOST_IN_FLIGHT)
        self._runner = asyncio.Runner()
        self._calls: Sequence[Call[Any]] = ()

    def close(self) -> None:
        """Ends all connections."""
        self._runner.run(self._client.close())
        self._runner.close()

    def trial(self, rate: float, seconds: float, seed: int) -> Trial:
        """Offers a rate, and ends early where too many requests are too slow already."""
        return self._runner.run(self._offer(rate, seconds, seed))

    def costs(self) -> Costs:
        """Milliseconds of a request with 1, 2, 4, ... pictures, up to the first that takes too long."""
        found: dict[int, float] = {}
        size = 1
        while size <= LARGEST and (not found or max(found.values()) <= self._latency_ms):
            found[size] = self._runner.run(self._alone(size))
            size *= 2
        return found

    async def _offer(self, rate: float, seconds: float, seed: int) -> Trial:
        if not self._calls:
            self._calls = await self._prepared(1)
            await self._warm_up()
        await self._settle()
        profile = Steady(rate=rate, seconds=seconds)
        due = Poisson(seed).times(profile)
        due = due if len(due) else np.zeros(1)
        recording = await self._generator.run(self._calls, due, watch=_TooSlow(len(due), self._latency_ms))
        result = LoadResult("", "", seconds, 1, recording)
        slow = result.percentile(99.0)
        return Trial(
            rate,
            result.requests,
            result.percentile(50.0),
            slow,
            result.error_share,
            slow <= self._latency_ms,
            result.kept_up,
        )

    async def _warm_up(self) -> None:
        """Has the server meet batches of each size, the first of which takes longer."""
        for power in range(self._batch.bit_length()):
            sent = [self._client.send(self._calls[0], START_SECONDS) for _ in range(2**power)]
            await asyncio.gather(*sent, return_exceptions=True)  # a short queue refuses some of them

    async def _settle(self) -> None:
        """Lets the server get rid of what an earlier trial left: until single requests are quick again, or time is
        over."""
        give_up = time.monotonic() + 2 * self._timeout
        quick = 0
        while quick < QUICK and time.monotonic() < give_up:
            try:
                quick = quick + 1 if await self._timed(self._calls[0], self._timeout) <= self._latency_ms else 0
            except ServerError:  # its queue is still full
                quick = 0
                await asyncio.sleep(PAUSE)

    async def _alone(self, size: int) -> float:
        calls = await self._prepared(size)
        await self._timed(calls[0], START_SECONDS)  # the first one of a shape is traced
        return statistics.median(
            [await self._timed(calls[number % len(calls)], START_SECONDS) for number in range(ALONE)]
        )

    async def _timed(self, call: Call[Any], timeout: float) -> float:
        """Milliseconds of one request."""
        begin = time.perf_counter()
        await self._client.send(call, timeout)
        return 1000 * (time.perf_counter() - begin)

    async def _prepared(self, size: int) -> list[Call[Any]]:
        inputs = self._requests(size)(await self._client.signature())
        return [await self._client.prepared(one) for one in inputs]


class _TooSlow:
    """Says when more requests are too slow than may be."""

    def __init__(self, planned: int, latency_ms: float):
        self._allowed, self._seconds, self._slow = SHARE_SLOW * planned, latency_ms / 1000, 0

    def __call__(self, seconds: float, ok: bool) -> bool:
        self._slow += not ok or seconds > self._seconds
        return self._slow > self._allowed


Servers = Callable[[Candidate | None], AbstractContextManager[str]]
"""Runs a server with settings (None: without batching), and gives its URL."""


def processes(base_path: Path, version: int | None, name: str, scheme: str) -> Servers:
    """Servers that are `convoy serve` in processes of their own.

    Args:
        base_path: of the model's versions.
        version: that one; the newest where it is None.
        name: of the model.
        scheme: `grpc` or `http`, of the URL.
    """

    @contextmanager
    def served(candidate: Candidate | None) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="convoy-tune-") as scratch:
            folder = Path(scratch)
            command = [*COMMAND, str(_write_config(folder, base_path, version, name)), "--grpc-port", "0"]
            command += ["--rest-port", "0"]
            if candidate is not None:
                configs.write_text(folder / "batching.config", candidate.parameters())
                command += ["--batching", str(folder / "batching.config"), *candidate.serve_options()]
            with _running(command, folder / "log") as (grpc_address, rest_address):
                yield f"grpc://{grpc_address}" if scheme == "grpc" else f"http://{rest_address}"

    return served


def _write_config(folder: Path, base_path: Path, version: int | None, name: str) -> Path:
    from serving.local.model_config import one_model

    config = one_model(str(base_path.resolve()), name)
    if version is not None:
        config.model_config_list.config[0].model_version_policy.specific.versions.append(version)
    configs.write_text(folder / "models.config", config)
    return folder / "models.config"


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[tuple[str, str]]:
    """(gRPC, REST) addresses of a server that is ready; stopped by SIGTERM.

    Raises:
        ConvoyError: it does not start.
    """
    here = str(Path(__file__).parent.parent.parent)
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    with log.open("w", encoding="utf-8") as told:
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=told, text=True
        )
    try:
        found = next((found for line in process.stdout or () if (found := PORTS.search(line))), None)
        if found is None:
            lines = log.read_text(encoding="utf-8").splitlines()[-SHOWN_LINES:]
            raise ConvoyError("The server does not start. It said:\n" + "\n".join(lines))
        yield found[1], found[2]
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        finally:
            process.kill()
            process.communicate()
