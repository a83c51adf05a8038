"""The generator against real servers that stall, refuse and recover: no answer moves a request."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ConfigError, DataError
from serving.async_client import connect
from serving.client import ClientSettings, ModelNotFound, RequestRefused, Unavailable
from serving.load.arrivals import Constant, Poisson
from serving.load.generator import NOT_SENT, OK, WARM_UP, Generator, Recording
from serving.load.profiles import Steady
from serving.load.requests import picture_requests
from serving.load.run import LoadSettings, load, require_files
from tests.serving.client.conftest import QUICK, Letters, letters, running
from tests.serving.client.servers import BAD, GENEROUS, SERVERS, Script
from tests.serving.client.test_client import PICTURES

__all__ = ["letters", "running"]


@dataclass
class Stall:
    """What the server knows of it.

    Args:
        answered: requests that may have been answered before it, at most.
        waiting: requests that had come and were not answered when it ended.
    """

    answered: int = 0
    waiting: int = 0


@contextmanager
def stalled(script: Script, after: int, until: int = sys.maxsize) -> Iterator[Stall]:
    """Once so many requests have come, the server answers nothing until others wait, or the block is over."""
    stall, is_over = Stall(), threading.Event()

    def hold() -> None:
        with script.lock:
            script.lock.wait_for(lambda: len(script.batches) >= after or is_over.is_set(), GENEROUS)
            stall.answered = len(script.batches) - script.at_once
            limit = time.monotonic() + GENEROUS
            while stall.waiting < until and time.monotonic() < limit and not is_over.wait(0.005):
                stall.waiting = len(script.came) - stall.answered

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield stall
    finally:
        is_over.set()
        with script.lock:
            script.lock.notify_all()
        thread.join()


def offered(letters: Letters, due: np.ndarray, *, timeout: float = GENEROUS, most: int = 100, **more: Any) -> Recording:
    """The letters' pictures, offered when they are due."""

    async def offer() -> Recording:
        async with connect(letters.url, "letters", settings=replace(QUICK, concurrency=most)) as client:
            signature = await client.signature()
            calls = [await client.prepared(one) for one in picture_requests(PICTURES, signature, 1)]
            return await Generator(client, timeout, most).run(calls, due, **more)

    return asyncio.run(offer())


def test_what_is_sent_are_the_pictures_in_turns(letters: Letters) -> None:
    profile = Steady(rate=50, seconds=0.5)
    recording = offered(letters, Constant().times(profile))
    assert letters.script.batches == [1] * 25
    assert recording.status.tolist() == [OK] * 25
    assert recording.call.tolist() == [number % 10 for number in range(25)]
    np.testing.assert_allclose(recording.due, np.arange(25) / 50)
    assert (recording.sent >= recording.due).all() and (recording.done > recording.sent).all()


def test_a_server_that_stalls_makes_every_request_wait_that_was_due_meanwhile(letters: Letters) -> None:
    """The stall ends once six requests wait in the server: a generator that waited for an answer before it sent the
    next would let one of them come."""
    with stalled(letters.script, after=10, until=6) as stall:
        recording = offered(letters, np.arange(60) / 40)
    assert recording.ok.all() and stall.waiting >= 6
    # When the sixth of them had been sent, none of the six was answered.
    sixth = np.sort(recording.sent)[stall.answered + 5]
    waiting = (recording.sent <= sixth) & (recording.done > sixth)
    assert waiting.sum() >= 6
    assert (recording.latency[waiting] > sixth - recording.due[waiting]).all(), "from when they were due"


def test_no_more_than_the_allowed_are_under_way_and_waiting_counts(letters: Letters) -> None:
    recording = offered(letters, np.zeros(40), most=2)
    assert recording.ok.all()
    assert recording.held.tolist() == [False] * 2 + [True] * 38
    assert recording.sent[recording.held].min() >= recording.done.min(), "only once another one was answered"
    assert (recording.latency >= recording.sent).all(), "all were due at the beginning"
    assert letters.script.most_at_once <= 2


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_what_cannot_be_sent_in_its_time_is_not_sent_and_is_counted(kind: str) -> None:
    script = Script()
    with SERVERS[kind](script) as url, stalled(script, after=4):
        due = np.array([0.0, 0.02, 0.04, 0.06, *[0.6] * 10])
        recording = offered(Letters(url, script), due, timeout=0.5, most=2)
    assert {"DEADLINE_EXCEEDED", NOT_SENT} <= set(recording.status)
    unsent = recording.status == NOT_SENT
    assert np.isnan(recording.sent[unsent]).all() and np.isnan(recording.done[unsent]).all()
    assert not np.isnan(recording.sent[~unsent]).any()


def test_errors_are_counted_by_status_and_nothing_is_asked_again(letters: Letters) -> None:
    letters.script.failures += [("UNAVAILABLE", "full"), ("INTERNAL", "broken"), ("UNAVAILABLE", "full")]
    letters.script.failures.insert(0, ("NOT_FOUND", "not loaded"))
    recording = run_with_signature_known(letters)
    found = dict(zip(*np.unique(recording.status.astype(str), return_counts=True), strict=True))
    assert found == {OK: 16, "UNAVAILABLE": 2, "INTERNAL": 1, "NOT_FOUND": 1}
    assert letters.script.failures == []


def run_with_signature_known(letters: Letters) -> Recording:
    """As `offered`, but what the server is to fail with is kept for the pictures."""
    failures = list(letters.script.failures)
    letters.script.failures.clear()

    async def offer() -> Recording:
        async with connect(letters.url, "letters", settings=QUICK) as client:
            calls = [await client.prepared(one) for one in picture_requests(PICTURES, await client.signature(), 1)]
            letters.script.failures += failures
            return await Generator(client, GENEROUS, 100).run(calls, np.arange(20) / 100)

    return asyncio.run(offer())


def test_it_ends_early_where_that_is_asked_for(letters: Letters) -> None:
    seen: list[tuple[float, bool]] = []

    def enough(seconds: float, ok: bool) -> bool:
        seen.append((seconds, ok))
        return len(seen) >= 5

    recording = offered(letters, np.arange(10_000) / 100, watch=enough)
    assert 5 <= len(recording.due) == len(seen) < 10_000
    assert all(ok and seconds > 0 for seconds, ok in seen)


def test_what_still_waits_when_it_ends_early_is_not_sent(letters: Letters) -> None:
    seen: list[bool] = []

    def enough(seconds: float, ok: bool) -> bool:
        seen.append(ok)
        return len(seen) >= 5

    recording = offered(letters, np.zeros(100), most=2, watch=enough)
    assert 5 <= len(seen) <= 6, "one more was under way"
    assert letters.script.batches == [1] * len(seen)
    assert recording.status.tolist() == [OK] * len(seen)
    assert recording.call.tolist() == list(range(len(seen)))


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_one_that_is_cancelled_begins_no_further_request(kind: str) -> None:
    script, complaints = Script(), list[str]()

    async def offer(url: str) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(str(context.get("exception"))))
        async with connect(url, "letters", settings=QUICK) as client:
            calls = [await client.prepared(one) for one in picture_requests(PICTURES, await client.signature(), 1)]
            run = asyncio.ensure_future(Generator(client, GENEROUS, 100).run(calls, np.arange(100_000) / 1000))
            while not script.came:
                await asyncio.sleep(0.005)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run

    with SERVERS[kind](script) as url:
        asyncio.run(offer(url))
    assert [one for one in complaints if "TaskGroup" in one] == []


def test_progress_is_told(letters: Letters) -> None:
    told: list[tuple[int, int | None]] = []
    offered(letters, np.arange(30) / 20, progress=lambda done, total=None, /, **fields: told.append((done, total)))
    assert told and all(total == 30 and 0 <= done <= 30 for done, total in told)


def test_a_whole_load(letters: Letters) -> None:
    client = connect(letters.url, "letters", settings=QUICK)
    profile, arrivals = Steady(rate=60, seconds=0.5), Poisson(seed=5)
    result = load(client, lambda signature: picture_requests(PICTURES, signature, 4), profile, arrivals, LoadSettings())
    due = arrivals.times(profile)
    assert result.recording.due.tolist() == due.tolist()
    assert letters.script.batches == [4] * (len(due) + WARM_UP)
    assert (result.requests, result.rows, result.errors) == (len(due), 4, {})
    assert f"{letters.url}, letters: steady 60/s for 0.5 s, Poisson arrivals, seed 5" in result.as_text()


def test_what_is_wrong_from_the_start_is_an_error_at_once(letters: Letters) -> None:
    def loaded(**more: Any) -> None:
        profile = more.pop("profile", Steady(rate=50, seconds=100))
        pictures = more.pop("pictures", PICTURES)
        client = connect(letters.url, "letters", settings=QUICK, **more)
        load(client, lambda signature: picture_requests(pictures, signature, 1), profile, Constant(), LoadSettings())

    with pytest.raises(DataError, match="There is no picture to send"):
        loaded(pictures=[])
    with pytest.raises(DataError, match="The picture number 0 cannot be sent: not a picture"):
        loaded(pictures=[b"no picture"])
    with pytest.raises(ConfigError, match=r"no signature 'other'. Valid: odd, serving_default"):
        loaded(signature="other")
    with pytest.raises(DataError, match=r"The signature takes anything other of any shape, expected one input"):
        loaded(signature="odd")
    letters.script.failures.append(("NOT_FOUND", "Servable not found"))
    with pytest.raises(ModelNotFound, match="Servable not found"):
        loaded()
    letters.script.failures += [("UNAVAILABLE", "starting")] * QUICK.attempts
    with pytest.raises(Unavailable, match="starting"):
        loaded()


def test_a_picture_that_the_server_refuses_is_an_error_at_once() -> None:
    damaged = PICTURES[0] + BAD
    with SERVERS["grpc"](Script()) as url, pytest.raises(RequestRefused, match="cannot decode"):
        load(
            connect(url, "letters", settings=QUICK),
            lambda signature: picture_requests([damaged], signature, 1),
            Steady(rate=50, seconds=100),
            Constant(),
            LoadSettings(),
        )


def test_no_request_and_too_many_connections() -> None:
    client = connect("grpc://127.0.0.1:1", settings=ClientSettings())
    with pytest.raises(ConfigError, match=r"There is no request in steady 0.001/s for 0.001 s"):
        load(client, lambda signature: [], Steady(rate=0.001, seconds=0.001), Poisson(), LoadSettings())
    with pytest.raises(ConfigError, match=r"100000000 requests in flight .* ulimit -n 100000100"):
        require_files(10**8)
