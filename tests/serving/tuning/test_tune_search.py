"""The search for batching settings: golden values by hand, and a server whose best settings are known."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import VerificationError
from serving import configs
from serving.load.run import Requests
from serving.protos.server_configs import BatchingParameters, read_text
from serving.tuning.bench import Bench, Servers, Trial
from serving.tuning.candidate import Candidate, Space
from serving.tuning.outcome import Conditions, TuneOutcome
from serving.tuning.search import Finding, Search, Shortest, Steps, highest_rate
from tests.serving.client.servers import Script, grpc_letters
from tests.serving.client.test_client import PICTURES

SPACE = Space({1: 10.0, 2: 16.0, 4: 24.0, 8: 40.0, 16: 120.0}, latency_ms=100.0, cpus=2)
CONDITIONS = Conditions("letters", 100.0, 2, "grpc", "a machine, 2 cores", 0.1)


def rates_tried(limit: float, guess: float, trials: int, step: float = 2.0) -> tuple[list[float], float | None]:
    """The rates that are tried where all up to `limit` pass, and what is found."""
    tried: list[float] = []

    def passes(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    return tried, highest_rate(passes, Steps(guess, 10.0, trials, step))


def test_the_rate_goes_up_until_it_fails_and_then_between() -> None:
    tried, found = rates_tried(limit=300, guess=100, trials=5)
    assert tried == pytest.approx([100, 200, 400, 282.8427, 336.3586], rel=1e-6)  # sqrt(200 * 400), sqrt(282.8 * 400)
    assert found == pytest.approx(282.8427, rel=1e-6)


def test_the_rate_goes_down_until_it_passes() -> None:
    tried, found = rates_tried(limit=30, guess=100, trials=4)
    assert tried == pytest.approx([100, 50, 25, 35.35534], rel=1e-6)
    assert found == 25


def test_the_floor_is_tried_last_and_once() -> None:
    assert rates_tried(limit=12, guess=100, trials=2) == ([100, 50, 10], 10)
    assert rates_tried(limit=5, guess=100, trials=2) == ([100, 50, 10], None)
    assert rates_tried(limit=5, guess=30, trials=9) == ([30, 15, 10], None)
    assert rates_tried(limit=5, guess=1, trials=9) == ([10], None)


def test_rates_that_hardly_differ_are_not_told_apart() -> None:
    tried, _ = rates_tried(limit=300, guess=290, trials=50, step=1.1)
    assert len(tried) < 8


def test_time_that_is_over_ends_it_once_something_passed() -> None:
    assert highest_rate(lambda rate: rate <= 60, Steps(100, 10.0, 50, 2.0), lambda: True) == 50
    assert highest_rate(lambda rate: rate <= 500, Steps(100, 10.0, 50, 2.0), lambda: True) == 400


def test_what_is_tried_at_first() -> None:
    """16 pictures at once take longer than the wanted latency. Pictures a second of the others: 200, 167, 125, 100."""
    queue = {8: 8, 4: 10, 2: 14, 1: 20}  # 2 threads, each with what is worked off in 100 ms, and 4 at least
    at_once = [Candidate(size, 0, 2, queue[size]) for size in (8, 4, 2, 1)]
    waiting = [Candidate(size, 5000, 2, queue[size]) for size in (8, 4, 2)]
    assert SPACE.first() == [*at_once, *waiting]


def test_what_lies_near_a_good_candidate() -> None:
    best = SPACE.candidate(4, 5000, 2)
    near = SPACE.near(best, tried={SPACE.candidate(2, 5000, 2)})
    assert [(one.batch, one.wait_micros, one.threads) for one in near] == [
        (4, 5000, 4),
        (4, 5000, 1),
        (4, 10_000, 2),
        (4, 2500, 2),
        (8, 5000, 2),
    ]
    longest = SPACE.near(SPACE.candidate(4, 20_000, 2), ())
    assert max(one.wait_micros for one in longest) == 25_000, "a quarter of the wanted latency"


def test_settings_survive_the_real_protocol_buffer(tmp_path: Path) -> None:
    candidate = Candidate(8, 0, 3, 12)
    configs.write_text(tmp_path / "batching.config", candidate.parameters(), ["Measured by hand."])
    read = read_text(tmp_path / "batching.config", BatchingParameters)
    assert Candidate.of(read) == candidate and list(read.allowed_batch_sizes) == [1, 2, 4, 8]
    assert read.HasField("batch_timeout_micros"), "0 is said, not left to the default"


@contextmanager
def letters_of(seconds: float, threads: int) -> Iterator[str]:
    """A server that answers so many requests at once, each after so many seconds."""
    gate = threading.Semaphore(threads)

    class Slow(Script):
        def take(self, size: int | None = None) -> tuple[str, str] | None:
            if size is None:
                return super().take()
            with gate:
                time.sleep(seconds)
                return super().take(size)

    with grpc_letters(Slow()) as url:
        yield url


def servers_like(started: list[Candidate | None]) -> Servers:
    """Servers that answer a request in 10 ms, so many at once as the settings have threads."""

    @contextmanager
    def served(candidate: Candidate | None) -> Iterator[str]:
        started.append(candidate)
        with letters_of(0.01, candidate.threads if candidate else 1) as url:
            yield url

    return served


def letters(size: int) -> Requests:
    def inputs(signature: object) -> list[dict[str, np.ndarray]]:
        return [{"image_bytes": np.array(PICTURES[:1] * size, object)}]

    return inputs


@pytest.fixture(scope="module")
def found() -> tuple[TuneOutcome, list[Candidate | None]]:
    """A whole search: the default settings have one thread, and four are within its reach."""
    started: list[Candidate | None] = []
    search = Search(servers_like(started), "letters", letters, 300.0, 2, 0.1, Shortest(requests=20, latencies=2))
    default = Candidate(1, 0, 1, 4)
    findings = search.run(lambda space: default)
    conditions = Conditions("letters", 300.0, 2, "grpc", "a machine, 2 cores", 0.1)
    return TuneOutcome(conditions, default, search.space.costs, findings), started


def test_the_better_settings_are_found(found: tuple[TuneOutcome, list[Candidate | None]]) -> None:
    outcome, started = found
    assert outcome.winner.candidate.threads > outcome.default.threads
    assert outcome.gain is not None and outcome.gain > 1.1
    assert outcome.base.rate < 200, "one thread answers 100 requests a second, and few may wait when a trial ends"
    assert started[0] is None and outcome.default in started
    assert [one.round for one in outcome.findings] == sorted((one.round for one in outcome.findings), key=ROUNDS.index)
    assert all(one.best is None or one.best.p99_ms <= 300.0 for one in outcome.findings)


ROUNDS = ["coarse", "fine", "final"]


def test_the_file_holds_the_settings_and_the_evidence(
    found: tuple[TuneOutcome, list[Candidate | None]], tmp_path: Path
) -> None:
    outcome, _ = found
    files = outcome.write(tmp_path)
    config = tmp_path / "batching.config"
    assert files[0] == config and configs.is_measured(config)
    assert Candidate.of(read_text(config, BatchingParameters)) == outcome.winner.candidate
    text = config.read_text()
    assert re.match(r"# Measured by convoy tune, 20\d\d-\d\d-\d\d: letters, 99 of 100 requests within 300 ms", text)
    assert f"{outcome.gain:.2f} times" in text and str(outcome.default) in text
    table = (tmp_path / "tune.csv").read_text().splitlines()
    assert len(table) == len(outcome.findings) + 1
    assert text.count("\n# coarse") + text.count("\n#   fine") + text.count("\n#  final") == len(outcome.findings)
    document = json.loads((tmp_path / "tune.json").read_text())
    assert document["gain"] == outcome.gain and document["chosen"]["threads"] == outcome.winner.candidate.threads


def test_a_server_under_trial() -> None:
    """100 requests a second are its limit: 30 pass, 300 are known to be too many long before the end."""
    with letters_of(0.01, 1) as url:
        bench = Bench(url, "letters", letters, 500.0)
        try:
            assert min(bench.costs().values()) >= 10.0
            fine, before = bench.trial(30, 0.6, seed=1), time.monotonic()
            much = bench.trial(600, 20, seed=1)
        finally:
            bench.close()
    assert fine.passed and fine.failed == 0 and 10.0 <= fine.p50_ms <= fine.p99_ms <= 500.0
    assert not much.passed and much.p99_ms > 500.0
    assert much.requests < 600 * 20 and time.monotonic() - before < 20


def trial(rate: float, p99_ms: float, passed: bool) -> Trial:
    return Trial(rate, 200, p99_ms / 2, p99_ms, 0.0, passed, True)


def outcome_of(*findings: Finding) -> TuneOutcome:
    return TuneOutcome(CONDITIONS, Candidate(1, 0, 2, 8), {1: 150.0}, findings)


def finding(candidate: Candidate, rate: float, p99_ms: float, passed: bool) -> Finding:
    one = trial(rate, p99_ms, passed)
    return Finding("final", candidate, one if passed else None, one, 3)


def test_where_nothing_keeps_the_latency_the_closest_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    outcome = outcome_of(
        finding(Candidate(1, 0, 2, 8), 5.0, 180.0, False), finding(Candidate(4, 0, 2, 8), 6.0, 160.0, False)
    )
    (tmp_path / "batching.config").write_text("max_batch_size { value: 3 }")
    with pytest.raises(VerificationError, match=r"closest: batches of 4, 0 us, 2 threads, p99 160.0 ms at 6") as caught:
        outcome.write(tmp_path)
    assert caught.value.exit_code == 6
    assert [file.name for file in tmp_path.iterdir()] == ["batching.config"]
    assert (tmp_path / "batching.config").read_text() == "max_batch_size { value: 3 }"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ((40.0, 90.0, True), r"batches of 4, 0 us, 2 threads: 40 requests/s, 2.00 times the 20/s of the default"),
        ((20.0, 90.0, True), r"batches of 1, .*: 20 requests/s. These are the default settings: nothing .* is better"),
    ],
)
def test_the_gain_is_said(other: tuple[float, float, bool], said: str) -> None:
    outcome = outcome_of(finding(Candidate(1, 0, 2, 8), 20.0, 95.0, True), finding(Candidate(4, 0, 2, 8), *other))
    assert re.match(said, outcome.verdict())


def test_default_settings_that_keep_the_latency_at_no_rate() -> None:
    outcome = outcome_of(
        finding(Candidate(1, 0, 2, 8), 5.0, 180.0, False), finding(Candidate(4, 0, 2, 8), 30.0, 90.0, True)
    )
    assert outcome.gain is None and "keep the latency at no rate" in outcome.verdict()
    assert outcome.as_document()["default_requests_per_s"] == 0
