"""The search for batching settings: golden values by hand, and a server whose best settings are known."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import VerificationError
from serving import configs
from serving.load.run import Requests
from serving.protos.server_configs import BatchingParameters, read_text
from serving.tuning.bench import QUICK, Bench, Trial
from serving.tuning.candidate import Candidate, Costs, Space
from serving.tuning.outcome import Conditions, TuneOutcome
from serving.tuning.search import Finding, Search, Steps, highest_rate
from tests.serving.client.servers import GENEROUS, Script, grpc_letters
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


def test_what_lies_near_settings_whose_size_was_not_measured() -> None:
    """Where the default settings, with a size that the costs do not reach, are the best so far."""
    near = SPACE.near(SPACE.candidate(32, 5000, 2), ())
    assert [(one.batch, one.wait_micros, one.threads) for one in near] == [
        (32, 5000, 4),
        (32, 5000, 1),
        (32, 10_000, 2),
        (32, 2500, 2),
    ]


def test_a_server_works_on_as_many_requests_as_its_batches_hold() -> None:
    def threads(batch: int, count: int, queue: int) -> list[str]:
        return Candidate(batch, 0, count, queue).serve_options()

    assert threads(16, 2, 8) == ["--grpc-threads", "160", "--rest-threads", "160"]
    assert threads(1, 2, 14) == ["--grpc-threads", "64", "--rest-threads", "16"], "never fewer than usual"
    assert threads(64, 4, 16) == ["--grpc-threads", "500", "--rest-threads", "500"], "no more are ever sent at once"


def test_settings_survive_the_real_protocol_buffer(tmp_path: Path) -> None:
    candidate = Candidate(8, 0, 3, 12)
    configs.write_text(tmp_path / "batching.config", candidate.parameters(), ["Measured by hand."])
    read = read_text(tmp_path / "batching.config", BatchingParameters)
    assert Candidate.of(read) == candidate and list(read.allowed_batch_sizes) == [1, 2, 4, 8]
    assert read.HasField("batch_timeout_micros"), "0 is said, not left to the default"


class Computed:
    """A server whose limit is known: what it could answer at most, half of which keeps the latency; four threads help,
    more do not, and waiting costs some of it."""

    def __init__(self, candidate: Candidate | None):
        self._candidate = candidate

    @staticmethod
    def limit(candidate: Candidate) -> float:
        """Requests a second up to which 99 of 100 keep the latency of SPACE."""
        waiting = 1 - candidate.wait_micros / 1000 / SPACE.latency_ms
        return 500 * candidate.batch / SPACE.costs[candidate.batch] * min(candidate.threads, 4) * waiting

    def costs(self) -> Costs:
        return SPACE.costs

    def trial(self, rate: float, seconds: float, seed: int) -> Trial:
        assert self._candidate is not None
        p99 = SPACE.latency_ms * rate / self.limit(self._candidate)
        return Trial(rate, round(rate * seconds), p99 / 2, p99, 0.0, p99 <= SPACE.latency_ms, True)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def found() -> tuple[TuneOutcome, list[Candidate | None]]:
    """A whole search: the default settings have one thread, and four are within its reach."""
    started: list[Candidate | None] = []

    @contextmanager
    def served(candidate: Candidate | None) -> Iterator[str]:
        started.append(candidate)
        yield "grpc://host:8500"

    search = Search(served, lambda url, batch: Computed(started[-1]), SPACE.latency_ms, SPACE.cpus, minutes=1000.0)
    default = Candidate(1, 0, 1, 4)
    findings = search.run(lambda space: default)
    return TuneOutcome(CONDITIONS, default, search.space.costs, findings), started


def test_the_better_settings_are_found(found: tuple[TuneOutcome, list[Candidate | None]]) -> None:
    """The best of the first are eight pictures with two threads: 200 requests a second. Of what lies near, four
    threads: 400. The default ones reach 50."""
    outcome, started = found
    assert outcome.winner.candidate == SPACE.candidate(8, 0, 4)
    assert outcome.winner.rate == pytest.approx(400, rel=0.05) and outcome.base.rate == pytest.approx(50, rel=0.05)
    assert outcome.gain == outcome.winner.rate / outcome.base.rate
    assert started == [None, *(one.candidate for one in outcome.findings)]
    assert [one.round for one in outcome.findings] == sorted((one.round for one in outcome.findings), key=ROUNDS.index)
    assert {one.round for one in outcome.findings} == set(ROUNDS)
    assert {one.candidate for one in outcome.findings} >= {outcome.default, *SPACE.first()}
    assert all(0 < one.rate <= Computed.limit(one.candidate) for one in outcome.findings)


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
    assert re.match(r"# Measured by convoy tune, 20\d\d-\d\d-\d\d: letters, 99 of 100 requests within 100 ms", text)
    assert "# Measured on convoy serve --grpc-threads 160 --rest-threads 160," in text, "8 * (4 + 16)"
    assert f"{outcome.gain:.2f} times" in text and str(outcome.default) in text
    table = (tmp_path / "tune.csv").read_text().splitlines()
    assert len(table) == len(outcome.findings) + 1
    assert text.count("\n# coarse") + text.count("\n#   fine") + text.count("\n#  final") == len(outcome.findings)
    document = json.loads((tmp_path / "tune.json").read_text())
    assert document["gain"] == outcome.gain and document["chosen"]["threads"] == outcome.winner.candidate.threads


class Breaking(Script):
    """Refuses every picture once it has answered so many requests."""

    left = sys.maxsize

    def take(self, size: int | None = None) -> tuple[str, str] | None:
        found = super().take(size)
        if size is None:
            return found
        with self.lock:
            self.left -= 1
            return found if self.left >= 0 else ("INTERNAL", "broken")


def letters(size: int) -> Requests:
    def inputs(signature: object) -> list[dict[str, np.ndarray]]:
        return [{"image_bytes": np.array(PICTURES[:1] * size, object)}]

    return inputs


def test_a_server_under_trial() -> None:
    """One that answers passes; of one that breaks it is known long before the end that it does not."""
    script = Breaking()
    with grpc_letters(script) as url, closing(Bench(url, "letters", letters, 1000 * GENEROUS)) as bench:
        assert list(bench.costs()) == [1, 2, 4, 8, 16, 32, 64]
        fine = bench.trial(30, 0.6, seed=1)
        script.left = QUICK  # those that show that the server is idle
        broken = bench.trial(600, 20, seed=1)
    assert fine.passed and fine.failed == 0 and 0 < fine.p50_ms <= fine.p99_ms
    assert not broken.passed and broken.p99_ms == math.inf and broken.requests < 600 * 20


def test_a_server_is_idle_once_some_requests_in_a_row_were_quick() -> None:
    """A full queue between them begins the count anew: of `QUICK` two are answered, one is refused, three answered."""
    script = Script()
    with grpc_letters(script) as url, closing(Bench(url, "letters", letters, 1000 * GENEROUS)) as bench:
        bench.trial(30, 0.1, seed=1)
        script.came.clear()
        script.failures += [None, None, ("UNAVAILABLE", "full")]
        before = bench.trial(0.001, 0.001, seed=1)
    assert before.requests == 1 and script.came == [1] * (2 + 1 + QUICK + before.requests)


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
