"""Takes samples of what a server answers and hands them to a writer, without a request ever waiting for it or failing.

A request is drawn, put into a bounded queue, and forgotten; one thread writes. Where the queue is full, requests are
dropped and counted. Where the disk is full, or the folder vanishes, logging ends with a warning and serving goes on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from pydantic import Field

from models.settings import Settings
from models.stack import tf
from pipeline import console
from pipeline.data.pictures import BadPicture
from pipeline.data.requests.picture import LoggedPicture
from pipeline.errors import ConvoyError
from pipeline.wording import quantity
from serving.request_log.pictures import NoPictureError, pictures_of

TEND_SECONDS = 1.0
"""Between two flushes: what a kill may lose."""
CLOSE_SECONDS = 30.0
"""For what waits when the server stops."""
REMIND_SECONDS = 60.0
"""Between two warnings that requests are dropped."""
LOGGED, DROPPED, UNSUPPORTED, STOPPED = "logged", "dropped", "unsupported", "stopped"
OUTCOMES = (LOGGED, DROPPED, UNSUPPORTED, STOPPED)


class Sampling(Settings):
    """Which requests are logged."""

    share: float = Field(default=0.01, ge=0, le=1)
    """Of all requests."""
    seed: int | None = None
    """Of the draw; None draws others each time."""
    waiting_mib: float = Field(default=64.0, gt=0)
    """Of requests that wait to be written; what comes on top of it is dropped."""


class Writer(Protocol):
    """Where pictures go, such as `pipeline.data.requests.writer.RequestWriter`; used by one thread."""

    def write(self, picture: LoggedPicture) -> None:
        """Adds a picture; BadPicture where it is none."""

    def tend(self) -> None:
        """Flushes; called about every second."""

    def close(self) -> None:
        """Finishes what was written."""

    def abandon(self) -> None:
        """Lets go of everything after an error."""


class Log(Protocol):
    """What a server tells of its requests."""

    def offer(self, request: Any, response: Any) -> None:
        """Of each that it has answered; neither raises nor waits."""

    def counts(self) -> Mapping[str, int]:
        """What became of the requests that were drawn."""

    def close(self) -> None:
        """After the last."""


class NoLog:
    """Nothing is logged."""

    def offer(self, request: Any, response: Any) -> None:
        """Forgets it."""

    def counts(self) -> Mapping[str, int]:
        """Nothing to count."""
        return {}

    def close(self) -> None:
        """Nothing to finish."""


class _Waiting(NamedTuple):
    request: Any
    response: Any
    seconds: float
    bytes: int


class Recorder:
    """Logs a share of the requests; thread-safe.

    Args:
        writer: takes the pictures.
        sampling: which requests.
    """

    def __init__(self, writer: Writer, sampling: Sampling):
        import random

        self._writer, self._share, self._random = writer, sampling.share, random.Random(sampling.seed)
        self._most_bytes = sampling.waiting_mib * 2**20
        self._changed = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._counts = Counter(dict.fromkeys(OUTCOMES, 0))
        self._is_closing = self._is_stopped = False
        self._said: set[tuple[str, str]] = set()
        self._reminded = -REMIND_SECONDS
        self._thread = threading.Thread(target=self._work, name="request-log", daemon=True)
        self._thread.start()

    def offer(self, request: Any, response: Any) -> None:
        """Draws whether a request that was answered is logged; neither raises nor waits for the disk."""
        if self._random.random() >= self._share:
            return
        try:
            waiting = _Waiting(request, response, time.time(), request.ByteSize() + response.ByteSize())
            with self._changed:
                self._put(waiting)
        except Exception as error:  # whatever it is, the request is answered
            console.warn(f"request log: a fault, the request is not logged: {error!r}")

    def counts(self) -> Mapping[str, int]:
        """Requests by what became of them: one of OUTCOMES."""
        with self._changed:
            return dict(self._counts)

    def close(self) -> None:
        """Writes what waits, finishes the shards, and says what was logged."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)
        with self._changed:
            self._is_stopped = True  # what is still offered has no one to write it
            self._forget(DROPPED)
        told = ", ".join(f"{count} {outcome}" for outcome, count in self.counts().items())
        console.say(f"request log: {told}")

    def _put(self, waiting: _Waiting) -> None:
        if self._is_stopped:
            self._counts[STOPPED] += 1
        elif self._bytes + waiting.bytes > self._most_bytes:
            self._counts[DROPPED] += 1
        else:
            self._queue.append(waiting)
            self._bytes += waiting.bytes
            self._changed.notify()

    def _take(self) -> _Waiting | None:
        """The next one; None where none came within a second, or the server stops."""
        with self._changed:
            if not self._queue and not self._is_closing:
                self._changed.wait(TEND_SECONDS)
            if not self._queue:
                return None
            waiting = self._queue.popleft()
            self._bytes -= waiting.bytes
            return waiting

    def _work(self) -> None:
        try:
            tended = time.monotonic()
            while (waiting := self._take()) or not self._is_closing:
                if waiting:
                    self._log(waiting)
                if time.monotonic() - tended >= TEND_SECONDS:
                    self._writer.tend()
                    self._remind()
                    tended = time.monotonic()
            self._writer.close()
        except (ConvoyError, OSError, tf.errors.OpError) as error:
            self._stop(str(error))
        except Exception as error:  # a fault of the log must not look like one of the server
            self._stop(repr(error))

    def _log(self, waiting: _Waiting) -> None:
        outcome = STOPPED
        try:
            pictures = pictures_of(waiting.request, waiting.response, waiting.seconds)
            written = [self._written(picture) for picture in pictures]
            outcome = LOGGED if any(written) else UNSUPPORTED
        except NoPictureError as error:
            outcome = UNSUPPORTED
            self._say_once(waiting.response.model_spec, str(error))
        finally:
            with self._changed:
                self._counts[outcome] += 1

    def _written(self, picture: LoggedPicture) -> bool:
        try:
            self._writer.write(picture)
        except BadPicture:
            return False
        return True

    def _say_once(self, spec: Any, why: str) -> None:
        key = (spec.name, spec.signature_name)
        if key not in self._said:
            self._said.add(key)
            console.warn(
                f"request log: requests to {spec.name!r}, signature {spec.signature_name!r}, are not logged: {why}"
            )

    def _remind(self) -> None:
        dropped = self.counts()[DROPPED]
        if dropped and time.monotonic() - self._reminded >= REMIND_SECONDS:
            self._reminded = time.monotonic()
            console.warn(
                f"request log: {quantity(dropped, 'request was', 'requests were')} dropped so far, since "
                "more come than can be written"
            )

    def _forget(self, outcome: str) -> None:
        self._counts[outcome] += len(self._queue)
        self._queue.clear()
        self._bytes = 0

    def _stop(self, why: str) -> None:
        with self._changed:
            self._is_stopped = True
            self._forget(STOPPED)
        self._writer.abandon()
        console.warn(f"request log: stopped; the server goes on. {why}")
