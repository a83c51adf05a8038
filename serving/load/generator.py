"""The generator: sends each request when it is due, and notes when it was sent and answered."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.console import Progress
from pipeline.errors import ServerError

if TYPE_CHECKING:
    from serving.async_client import AsyncClient
    from serving.remote.transport import Call

OK = "OK"
NOT_SENT = "NOT_SENT"
"""The status of a request that was not sent: its time was over before its turn came."""
WITHDRAWN = "WITHDRAWN"
"""Of one that still waited when the generator was told that it is enough; it is in no recording."""
HEAD_START = 0.05
"""Seconds between the beginning and the first due time, so that it can be kept."""
WARM_UP = 3
"""Requests that are sent before, one by one, and not counted: a connection's first request takes longer."""
BETWEEN_REPORTS = 0.5
Watch = Callable[[float, bool], bool]
"""Told of each answer its latency in seconds and whether it is one; whether that is enough, and no more is sent."""


@dataclass(frozen=True)
class Recording:
    """What became of N requests. Times are seconds from the beginning.

    Args:
        due: float64 [N], when they should have been sent.
        sent: float64 [N], when they were; NaN where they were not.
        done: float64 [N], when the answer was there, or the error; NaN where they were not sent.
        status: [N], `OK`, gRPC's name of an error, or NOT_SENT.
        held: bool [N], had to wait because `most_in_flight` were under way.
        call: int [N], which of the different requests.
    """

    due: np.ndarray
    sent: np.ndarray
    done: np.ndarray
    status: np.ndarray
    held: np.ndarray
    call: np.ndarray

    @property
    def latency(self) -> np.ndarray:
        """Seconds from when they should have been sent: what a user waits, whoever is to blame."""
        return self.done - self.due

    @property
    def service(self) -> np.ndarray:
        """Seconds from when they were sent."""
        return self.done - self.sent

    @property
    def ok(self) -> np.ndarray:
        """Whether they were answered."""
        return self.status == OK


class Generator:
    """Offers requests to a model.

    Args:
        client: of the model.
        timeout: seconds for a request, from when it is due.
        most_in_flight: under way at once; further ones wait, and their latency counts all the same.
    """

    def __init__(self, client: AsyncClient, timeout: float, most_in_flight: int):
        self._client, self._timeout, self._most_in_flight = client, timeout, most_in_flight

    async def warm_up(self, calls: Sequence[Call[Any]]) -> None:
        """Sends a few requests that are not counted; ServerError where one fails."""
        for number in range(WARM_UP):
            await self._client.send(calls[number % len(calls)], self._timeout)

    async def run(
        self, calls: Sequence[Call[Any]], due: np.ndarray, progress: Progress | None = None, watch: Watch | None = None
    ) -> Recording:
        """Sends `calls` in turns, one at each time of `due`, and waits for the answers.

        It ends `timeout` seconds after the last due time at the latest. What an error in an answer is, is noted, not
        raised.
        """
        # The generator's own pauses would be taken for the server's.
        gc.collect()
        gc.freeze()
        try:
            flight = _Flight(self._client, calls, due.tolist(), self._timeout, self._most_in_flight, watch)
            return await flight.fly(progress)
        finally:
            gc.unfreeze()


class _Flight:
    """One run of a Generator."""

    def __init__(
        self,
        client: AsyncClient,
        calls: Sequence[Call[Any]],
        due: list[float],
        timeout: float,
        most_in_flight: int,
        watch: Watch | None,
    ):
        self._client, self._calls, self._due, self._timeout, self._watch = client, calls, due, timeout, watch
        self._sent, self._done = [float("nan")] * len(due), [float("nan")] * len(due)
        self._status, self._held = [NOT_SENT] * len(due), [False] * len(due)
        self._gate = asyncio.Semaphore(most_in_flight)
        self._stop, self._all_begun = threading.Event(), asyncio.Event()
        self._begun = self._ended = 0

    async def fly(self, progress: Progress | None) -> Recording:
        self._begin = time.monotonic() + HEAD_START
        clock = threading.Thread(target=self._keep_time, args=(asyncio.get_running_loop(),), name="clock", daemon=True)
        reports = asyncio.ensure_future(self._report(progress)) if progress else None
        try:
            async with asyncio.TaskGroup() as self._group:
                clock.start()
                await self._until_all_begun()
        finally:
            self._stop.set()
            clock.join()
            if reports:
                reports.cancel()
        return self._recording()

    async def _until_all_begun(self) -> None:
        try:
            await self._all_begun.wait()
        except asyncio.CancelledError:  # before the group aborts, which takes no further task then
            self._stop.set()
            raise

    def _keep_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wakes the loop whenever requests are due: a thread, because the loop's own clock ticks in milliseconds."""
        number = 0
        while number < len(self._due) and not self._stop.wait(
            max(self._begin + self._due[number] - time.monotonic(), 0)
        ):
            until = bisect_right(self._due, max(time.monotonic() - self._begin, self._due[number]))
            loop.call_soon_threadsafe(self._start, number, until)
            number = until
        loop.call_soon_threadsafe(self._all_begun.set)

    def _start(self, first: int, end: int) -> None:
        if self._stop.is_set():
            return
        for number in range(first, end):
            self._group.create_task(self._ask(number))
        self._begun = end

    async def _ask(self, number: int) -> None:
        self._held[number] = self._gate.locked()
        async with self._gate:
            if self._stop.is_set():
                self._status[number] = WITHDRAWN
                return
            now = time.monotonic() - self._begin
            seconds = self._due[number] + self._timeout - now
            if seconds > 0:
                self._sent[number] = now
                self._status[number] = await self._status_of(self._calls[number % len(self._calls)], seconds)
                self._done[number] = time.monotonic() - self._begin
        self._ended += 1
        if self._watch is not None and self._watch(
            time.monotonic() - self._begin - self._due[number], self._status[number] == OK
        ):
            self._stop.set()

    async def _status_of(self, call: Call[Any], seconds: float) -> str:
        try:
            await self._client.send(call, seconds)
        except ServerError as error:
            return error.code
        except BaseException:  # the group is about to abort
            self._stop.set()
            raise
        return OK

    async def _report(self, progress: Progress) -> None:
        while True:
            await asyncio.sleep(BETWEEN_REPORTS)
            progress(self._ended, len(self._due), in_flight=str(self._begun - self._ended))

    def _recording(self) -> Recording:
        status = np.array(self._status[: self._begun], object)
        number = np.flatnonzero(status != WITHDRAWN)
        return Recording(
            np.array(self._due)[number],
            np.array(self._sent)[number],
            np.array(self._done)[number],
            status[number],
            np.array(self._held, bool)[number],
            number % len(self._calls),
        )
