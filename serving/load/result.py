"""What a load showed: throughput, latency, errors, and what the generator itself has to answer for."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import Field

from models.settings import Settings
from pipeline.errors import VerificationError
from pipeline.wording import quantity
from serving.load.generator import NOT_SENT, Recording

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
IN_TIME = 0.01
"""Seconds after its due time until which a request counts as sent in time."""
MOST_LATE = 0.01
"""Share of requests above which the generator says that it could not keep up."""
WINDOWS = 30
"""At most so many parts of the time are told apart, of a second at least."""


class LoadLimits(Settings):
    """What the server has to keep under the load."""

    max_p99_ms: float | None = Field(default=None, gt=0)
    """Most milliseconds within which 99 of 100 requests have to be answered; a failed one never is."""
    max_error_share: float | None = Field(default=None, ge=0, le=1)
    """Most requests that may fail, as a share of all."""


@dataclass(frozen=True)
class LoadResult:
    """What came of it.

    Args:
        server: address and model.
        offered: profile and arrivals, in words.
        seconds: of the profile.
        rows: pictures (rows) in a request.
        recording: of every request.
    """

    server: str
    offered: str
    seconds: float
    rows: int
    recording: Recording

    @cached_property
    def latencies(self) -> np.ndarray:
        """Milliseconds of the answered requests, ascending."""
        return np.sort(1000 * self.recording.latency[self.recording.ok])

    @cached_property
    def duration(self) -> float:
        """Seconds until the last answer; at least the profile's."""
        return max(self.seconds, float(self.recording.done[self.recording.ok].max(initial=0.0)))

    @property
    def requests(self) -> int:
        """All that were due."""
        return len(self.recording.due)

    @property
    def throughput(self) -> float:
        """Answered requests a second."""
        return len(self.latencies) / self.duration

    @cached_property
    def errors(self) -> dict[str, int]:
        """Status -> requests, the most frequent first."""
        failed = self.recording.status[~self.recording.ok]
        return dict(Counter(str(status) for status in failed).most_common())

    @property
    def error_share(self) -> float:
        """Of all requests."""
        return sum(self.errors.values()) / max(self.requests, 1)

    @cached_property
    def late(self) -> np.ndarray:
        """Seconds after their due time, of the requests that the generator sent too late of its own fault."""
        behind = self.recording.sent - self.recording.due
        return behind[~self.recording.held & (behind > IN_TIME)]

    @property
    def kept_up(self) -> bool:
        """Whether the generator sent nearly all requests in time, so that the latencies are the server's."""
        own_fault = (self.recording.status == NOT_SENT) & ~self.recording.held
        return len(self.late) + int(own_fault.sum()) <= MOST_LATE * self.requests

    def percentile(self, percent: float) -> float:
        """Milliseconds, counting a failed request as never answered: infinite where too many failed."""
        return percentile(np.append(self.latencies, [np.inf] * (self.requests - len(self.latencies))), percent)

    def missed(self, limits: LoadLimits) -> list[str]:
        """The limits that are missed, in words."""
        found = []
        slow = self.percentile(99.0)
        if limits.max_p99_ms is not None and not slow <= limits.max_p99_ms:
            said = f"{slow:.1f} ms" if np.isfinite(slow) else "never reached, since more than 1 % fail"
            found.append(f"p99 is {said} (limit {limits.max_p99_ms:g} ms)")
        if limits.max_error_share is not None and self.error_share > limits.max_error_share:
            found.append(f"{self.error_share:.2%} of the requests fail (limit {limits.max_error_share:.2%})")
        return found

    def require(self, limits: LoadLimits) -> None:
        """Raises VerificationError where a limit is missed."""
        if found := self.missed(limits):
            doubt = "" if self.kept_up else " The generator could not keep up, so some of it may be its own fault."
            raise VerificationError(f"{self.server} misses its limits under {self.offered}: {'; '.join(found)}.{doubt}")

    def windows(self) -> list[dict[str, Any]]:
        """The same over time: parts of equal length, by when requests were due."""
        width = max(1.0, self.seconds / WINDOWS)
        part = (self.recording.due // width).astype(int)
        return [self._window(number * width, width, part == number) for number in range(int(part.max(initial=-1)) + 1)]

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values; milliseconds where the name says nothing else."""
        service = np.sort(1000 * self.recording.service[self.recording.ok])
        return {
            "server": self.server,
            "offered": self.offered,
            "requests": self.requests,
            "answered": len(self.latencies),
            "pictures_per_request": self.rows,
            "seconds": round(self.duration, 3),
            "offered_per_second": self.requests / self.seconds,
            "answered_per_second": self.throughput,
            "latency_ms": percentiles(self.latencies),
            "from_sending_ms": percentiles(service),
            "errors": self.errors,
            "error_share": self.error_share,
            "sent_late": len(self.late),
            "latest_ms": 1000 * float(self.late.max(initial=0.0)),
            "held_back": int(self.recording.held.sum()),
            "kept_up": self.kept_up,
            "windows": self.windows(),
        }

    def as_csv(self) -> str:
        """A line for each request."""
        stream, one = io.StringIO(), self.recording
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("due_s", "sent_s", "latency_ms", "from_sending_ms", "status", "request"))
        columns = (one.due, one.sent, 1000 * one.latency, 1000 * one.service)
        numbers = zip(
            *(["" if np.isnan(value) else f"{round(value, 6):.12g}" for value in column] for column in columns),
            strict=True,
        )
        writer.writerows(
            (*row, *rest) for row, rest in zip(numbers, zip(one.status, one.call, strict=True), strict=True)
        )
        return stream.getvalue()

    def as_text(self) -> str:
        """The same for people."""
        offered = f"{self.requests / self.seconds:.1f}/s offered, {self.throughput:.1f}/s answered"
        pictures = f" ({self.rows * self.throughput:.1f} pictures/s)" if self.rows > 1 else ""
        lines = [
            f"{self.server}: {self.offered}",
            f"{quantity(self.requests, 'request')} in {self.duration:.1f} s: {offered}{pictures}",
            f"latency, ms:       {_shown(self.latencies)}",
            f"from sending, ms:  {_shown(np.sort(1000 * self.recording.service[self.recording.ok]))}",
            f"errors: {self._errors_in_words()}",
        ]
        if len(self.latencies) < 1000:
            lines.append("* too few requests: this is the slowest of them")
        return "\n".join([*lines, *self._confessions()])

    def _errors_in_words(self) -> str:
        if not self.errors:
            return "none"
        return f"{', '.join(f'{count} {name}' for name, count in self.errors.items())} ({self.error_share:.2%})"

    def _confessions(self) -> list[str]:
        """What the generator has to say of itself."""
        found = []
        if len(self.late):
            slowest = f"the latest {1000 * self.late.max():.0f} ms"
            found.append(f"sent more than {1000 * IN_TIME:g} ms late by the generator: {len(self.late)}, {slowest}")
        if not self.kept_up:
            found.append("the generator could not keep up: offer less, or let it run on a machine of its own")
        if held := int(self.recording.held.sum()):
            found.append(f"had to wait because too many were under way (--max-in-flight): {held}")
        if NOT_SENT in self.errors:
            found.append(f"never sent, since their time was over before their turn came: {self.errors[NOT_SENT]}")
        return found

    def _window(self, begin: float, width: float, inside: np.ndarray) -> dict[str, Any]:
        ok = inside & self.recording.ok
        latencies = np.sort(1000 * self.recording.latency[ok])
        width = min(width, self.seconds - begin)
        return {
            "begin_s": begin,
            "seconds": width,
            "offered_per_second": float(inside.sum()) / width,
            "answered": int(ok.sum()),
            "answered_per_second": float(ok.sum()) / width,
            "failed": int((inside & ~ok).sum()),
            **({name: value for name, value in percentiles(latencies).items() if name in ("p50", "p99", "max")}),
        }


def percentile(ascending: np.ndarray, percent: float) -> float:
    """The smallest of the values that at least so many per cent of them do not exceed (nearest rank); NaN of none."""
    if not len(ascending):
        return float("nan")
    return float(ascending[max(int(np.ceil(round(percent * len(ascending) / 100, 9))) - 1, 0)])


def percentiles(ascending: np.ndarray) -> dict[str, float | None]:
    """By name, with mean and largest; None where there is no value."""
    if not len(ascending):
        return dict.fromkeys([*map(_name, PERCENTILES), "max", "mean"])
    found = {_name(percent): percentile(ascending, percent) for percent in PERCENTILES}
    return {**found, "max": float(ascending[-1]), "mean": float(ascending.mean())}


def _name(percent: float) -> str:
    return f"p{percent:g}"


def _shown(ascending: np.ndarray) -> str:
    if not len(ascending):
        return "none was answered"
    marks = ["*" if round(len(ascending) * (100 - percent), 9) < 100 else "" for percent in PERCENTILES]
    values: Sequence[str] = [
        f"{_name(percent)} {percentile(ascending, percent):.1f}{mark}"
        for percent, mark in zip(PERCENTILES, marks, strict=True)
    ]
    return f"{'  '.join(values)}  max {ascending[-1]:.1f}  ({len(ascending)} answered)"
