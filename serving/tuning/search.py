"""The search: for each candidate the highest rate that keeps the latency, in rounds that get finer and longer.

Coarse: all first candidates, few short trials each. Fine: the best half, and what lies near the best. Final: the best
two beside the default settings. Each round begins where the one before ended, with smaller steps and longer trials.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from pipeline import console
from pipeline.wording import quantity
from serving.tuning.bench import Servers, Trial
from serving.tuning.candidate import Candidate, Costs, Space

RESOLUTION = 1.02
"""Of rates: closer ones are not told apart."""
LEAST_SECONDS, MOST_SECONDS = 0.5, 30.0
"""Of a trial; longer where the wanted latency asks for it."""
SHARE_OF_GUESS = 0.6
"""Of the rate that one batch after the other would reach, to begin with."""
FINALISTS = 2


@dataclass(frozen=True)
class Round:
    """How carefully candidates are measured.

    Args:
        share: of the time that is left when it begins.
        trials: of each candidate at most.
        step: by which the rate is changed at first.
    """

    name: str
    share: float
    trials: int
    step: float


COARSE = Round("coarse", 0.45, 4, 1.6)
FINE = Round("fine", 0.55, 4, 1.25)
FINAL = Round("final", 0.95, 5, 1.12)


@dataclass(frozen=True)
class Shortest:
    """What a trial has to hold at least.

    Args:
        requests: of fewer than 100, p99 would be the slowest one.
        latencies: its length as a multiple of the wanted latency. At a rate that is 1/20 too high requests wait longer
            and longer, but only after twenty times that latency do they wait for all of it.
    """

    requests: int = 100
    latencies: float = 20.0


@dataclass(frozen=True)
class Finding:
    """What came of one candidate in one round.

    Args:
        best: the trial with the highest rate that kept the latency; None where none did.
        closest: where none did, the one with the least p99.
    """

    round: str
    candidate: Candidate
    best: Trial | None
    closest: Trial
    trials: int

    @property
    def rate(self) -> float:
        """Requests a second; 0 where no rate keeps the latency."""
        return self.best.rate if self.best else 0.0


class Trials(Protocol):
    """What is measured on one server; see `Bench`."""

    def costs(self) -> Costs:
        """Milliseconds of a request alone, by its pictures."""

    def trial(self, rate: float, seconds: float, seed: int) -> Trial:
        """What comes of a rate that is offered for so long."""

    def close(self) -> None:
        """Ends all connections."""


Benches = Callable[[str, int], Trials]
"""Begins to measure a server, of its URL and the pictures that it joins at most."""


@dataclass
class Search:
    """Tries candidates on servers, one server at a time.

    Args:
        servers: to be started.
        bench: to measure them.
        latency_ms: wanted.
        cpus: of the server.
        minutes: that it may take, about.
        shortest: trial.
    """

    servers: Servers
    bench: Benches
    latency_ms: float
    cpus: int
    minutes: float
    shortest: Shortest = Shortest()
    findings: list[Finding] = field(default_factory=list)

    def run(self, default: Callable[[Space], Candidate]) -> list[Finding]:
        """All findings, in the order in which they were made; those of the last round decide, and hold the default.

        Where nothing keeps the latency in the first round, there is no other.

        Args:
            default: the settings to compare with, for what is known of the model.

        Raises:
            ServerError, ConvoyError: a server does not start, or refuses the requests.
        """
        self._end = time.monotonic() + 60 * self.minutes
        self.space = self._measured_costs()
        base = default(self.space)
        first = list(dict.fromkeys([base, *self.space.first()]))
        best = self._round(COARSE, first, dict.fromkeys(first, 0.0))
        if not best[0].rate:
            return self.findings
        tried = {one.candidate for one in self.findings}
        near = self.space.near(best[0].candidate, tried)
        half = [one.candidate for one in best[: max(len(best) // 2, 1)]]
        best = self._round(FINE, [*half[:1], *near, *half[1:]], self._known(near, best))
        finalists = [one.candidate for one in best[:FINALISTS]]
        self._round(FINAL, list(dict.fromkeys([base, *finalists])), self._known([], self._ranked(self.findings)))
        return self.findings

    def _measured_costs(self) -> Space:
        console.say("tune: what 1, 2, 4, ... pictures cost, with nothing else on the server")
        begun = time.monotonic()
        with self.servers(None) as url, closing(self.bench(url, 1)) as bench:
            self._start_seconds = time.monotonic() - begun
            costs = bench.costs()
        console.say("tune: " + ", ".join(f"{size}: {cost:.1f} ms" for size, cost in costs.items()))
        return Space(costs, self.latency_ms, self.cpus)

    def _round(self, round: Round, candidates: Sequence[Candidate], rates: dict[Candidate, float]) -> list[Finding]:
        """Findings of the candidates that there is time for, the best first.

        Args:
            candidates: the most promising first.
            rates: known ones, to begin with; 0 where a candidate's is not known.
        """
        seconds = max(self._end - time.monotonic(), 0.0) * round.share
        usual = self.shortest.requests / max(*rates.values(), SHARE_OF_GUESS * self.space.guess(candidates[-1]))
        least = self._start_seconds + round.trials * min(max(usual, self._shortest_seconds), MOST_SECONDS)
        chosen = candidates[: max(int(seconds / least), FINALISTS)]
        each = seconds / len(chosen) - self._start_seconds
        console.say(
            f"tune: {round.name}: {len(chosen)} of {quantity(len(candidates), 'candidate')}, about "
            f"{max(each, 0):.0f} s each"
        )
        found: list[Finding] = []
        for candidate in chosen:
            if len(found) >= FINALISTS and time.monotonic() > self._end:
                break
            finding = self._finding(round, candidate, rates.get(candidate) or 0.0, each)
            console.say(f"tune: {candidate}: {in_words(finding)}")
            found.append(finding)
        self.findings += found
        return self._ranked(found)

    def _finding(self, round: Round, candidate: Candidate, rate: float, seconds: float) -> Finding:
        trials: list[Trial] = []
        guess = rate or SHARE_OF_GUESS * self.space.guess(candidate)
        usual = max(min(seconds / round.trials, MOST_SECONDS), self._shortest_seconds)
        with self.servers(candidate) as url, closing(self.bench(url, candidate.batch)) as bench:

            def passes(rate: float) -> bool:
                length = max(usual, min(self.shortest.requests / rate, MOST_SECONDS))
                trials.append(bench.trial(rate, length, seed=len(trials)))
                console.detail(f"tune: {candidate}: {trials[-1]}")
                return trials[-1].passed

            end = time.monotonic() + seconds
            steps = Steps(guess, self.space.floor, round.trials, round.step)
            highest_rate(passes, steps, lambda: time.monotonic() > end)
        passed = [trial for trial in trials if trial.passed]
        best = max(passed, key=lambda trial: trial.rate, default=None)
        return Finding(round.name, candidate, best, min(trials, key=lambda trial: trial.p99_ms), len(trials))

    @property
    def _shortest_seconds(self) -> float:
        return max(self.shortest.latencies * self.latency_ms / 1000, LEAST_SECONDS)

    def _known(self, new: Sequence[Candidate], best: Sequence[Finding]) -> dict[Candidate, float]:
        """Rates to begin with: those found last, and for what is new that of the best."""
        known = {one.candidate: one.rate for one in self.findings}
        return {**dict.fromkeys(new, best[0].rate), **known}

    @staticmethod
    def _ranked(findings: Sequence[Finding]) -> list[Finding]:
        return sorted(findings, key=lambda one: (-one.rate, one.closest.p99_ms))


@dataclass(frozen=True)
class Steps:
    """How rates are tried.

    Args:
        guess: requests a second to begin with.
        floor: below which nothing is tried; tried last where nothing above it passes.
        trials: at most, besides that of the floor.
        step: by which a rate goes up or down, above 1.
    """

    guess: float
    floor: float
    trials: int
    step: float


def highest_rate(
    passes: Callable[[float], bool], steps: Steps, is_over: Callable[[], bool] = lambda: False
) -> float | None:
    """The highest rate that was tried and passed; None where none did.

    The rate goes up or down until one has passed and one has not, and then between the two.

    Args:
        passes: tries a rate.
        is_over: whether one that passed and one that did not are enough now.
    """
    floor, step = steps.floor, steps.step
    low, high, rate = 0.0, math.inf, max(steps.guess, floor)
    for _ in range(steps.trials):
        if passes(rate):
            low = rate
        else:
            high = rate
        if high <= floor or (low and (high < low * RESOLUTION or (high < math.inf and is_over()))):
            break
        rate = math.sqrt(low * high) if low and high < math.inf else low * step if low else max(high / step, floor)
    if not low and high > floor and passes(floor):
        low = floor
    return low or None


def in_words(finding: Finding) -> str:
    """Such as `46.1/s (p99 180 ms of 300 requests)`."""
    if finding.best is None:
        return f"no rate keeps the latency; p99 {finding.closest.p99_ms:.1f} ms at {finding.closest.rate:.3g}/s"
    trial = finding.best
    limit = "" if trial.kept_up else "; the generator could not keep up"
    return f"{trial.rate:.4g}/s (p99 {trial.p99_ms:.1f} ms of {quantity(trial.requests, 'request')}{limit})"
