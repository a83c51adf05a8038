"""What `convoy tune` found: the chosen settings with the evidence for them, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.errors import VerificationError
from pipeline.files import write_file
from pipeline.wording import quantity
from serving import configs
from serving.tuning.candidate import Candidate, Costs
from serving.tuning.search import Finding

COLUMNS = ("round", "batch", "wait_us", "threads", "queue", "requests_per_s", "p50_ms", "p99_ms", "requests", "trials")
CONFIG, TABLE = "batching.config", "tune.csv"


@dataclass(frozen=True)
class Conditions:
    """Under which it was measured.

    Args:
        model: its name.
        latency_ms: that 99 of 100 requests have to keep.
        cpus: of one server, as it was told.
        over: `grpc` or `rest`.
        host: the machine, in words; the load came from it as well.
        minutes: that were given.
    """

    model: str
    latency_ms: float
    cpus: int
    over: str
    host: str
    minutes: float

    def __str__(self) -> str:
        return f"{self.model}, 99 of 100 requests within {self.latency_ms:g} ms over {self.over}"


@dataclass(frozen=True)
class TuneOutcome:
    """What came of it.

    Args:
        default: the settings that were compared with.
        costs: milliseconds of a request alone, by its pictures.
        findings: in the order in which they were made; those of the last round hold the default settings.
    """

    conditions: Conditions
    default: Candidate
    costs: Costs
    findings: Sequence[Finding]

    @property
    def final(self) -> list[Finding]:
        """Those of the last round, which decide, the best first."""
        last = [one for one in self.findings if one.round == self.findings[-1].round]
        return sorted(last, key=lambda one: (-one.rate, one.candidate != self.default, one.closest.p99_ms))

    @property
    def winner(self) -> Finding:
        """The settings with the highest rate; the default ones where nothing is better."""
        return self.final[0]

    @property
    def base(self) -> Finding:
        """The default settings' own."""
        return next(one for one in self.final if one.candidate == self.default)

    @property
    def gain(self) -> float | None:
        """The winner's rate as a multiple of the default settings'; None where those keep the latency at no rate."""
        return self.winner.rate / self.base.rate if self.base.rate else None

    def require_met(self) -> None:
        """Raises VerificationError where no settings keep the latency."""
        if self.winner.best is None:
            closest = min((one for one in self.findings), key=lambda one: one.closest.p99_ms)
            trial = closest.closest
            raise VerificationError(
                f"No settings keep 99 of 100 requests of {self.conditions.model} within {self.conditions.latency_ms:g} "
                f"ms. The closest: {closest.candidate}, p99 {trial.p99_ms:.1f} ms at {trial.rate:.3g} requests/s. One "
                f"picture alone takes {self.costs[1]:.1f} ms here. Raise --latency-ms, or make the model smaller."
            )

    def verdict(self) -> str:
        """The gain in words."""
        reached, base = f"{self.winner.candidate}: {self.winner.rate:.4g} requests/s", self.base.rate
        if self.winner.candidate == self.default:
            return f"{reached}. These are the default settings: nothing that was tried is better."
        if self.gain is None:
            return f"{reached}. The default settings ({self.default}) keep the latency at no rate."
        return f"{reached}, {self.gain:.2f} times the {base:.4g}/s of the default settings ({self.default})."

    def rows(self) -> list[tuple[str | int | float, ...]]:
        """COLUMNS of every finding; where no rate keeps the latency, 0 and the figures of the closest trial."""
        return [self._row(one) for one in self.findings]

    def table(self) -> list[str]:
        """The same as lines."""
        shown = [COLUMNS, *([_shown(value) for value in row] for row in self.rows())]
        widths = [max(len(row[column]) for row in shown) for column in range(len(COLUMNS))]
        return ["  ".join(value.rjust(width) for value, width in zip(row, widths, strict=True)) for row in shown]

    def notes(self) -> list[str]:
        """The comments of a `batching.config`; the first says that it is measured."""
        about = self.conditions
        notes = [
            f"{configs.MEASURED.removeprefix('# ')} convoy tune, {date.today().isoformat()}: {about}.",
            f"On {about.host}, which the load came from as well; open-loop Poisson arrivals.",
            self.verdict(),
            "Of every candidate the highest rate at which it kept the latency, and p99 at that rate (0: at no rate):",
            *self.table(),
        ]
        served = " ".join(self.winner.candidate.serve_options())
        notes.insert(3, f"Measured on convoy serve {served}, which it needs in use as well.")
        few = self.winner.best.requests if self.winner.best else 0
        if few < 1 / (1 - 0.99):
            notes.insert(3, f"p99 is the slowest of {quantity(few, 'request')}: give more --minutes to know it better.")
        return notes

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values; what is not finite is null."""
        return {
            "conditions": asdict(self.conditions),
            "costs_ms": {str(size): cost for size, cost in self.costs.items()},
            "default": asdict(self.default),
            "chosen": asdict(self.winner.candidate),
            "requests_per_s": self.winner.rate,
            "default_requests_per_s": self.base.rate,
            "gain": self.gain,
            "findings": [_finite(asdict(one)) for one in self.findings],
        }

    def as_csv(self) -> str:
        """The rows with a head."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *self.rows()])
        return stream.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """Writes the evidence, and then `batching.config`, each whole or not at all.

        Raises:
            VerificationError: no settings keep the latency; nothing is written.
            StorageError: the disk is full or cannot be written.
        """
        self.require_met()
        write_file(folder / TABLE, self.as_csv())
        write_file(folder / configs.EVIDENCE, json.dumps(self.as_document(), indent=2, allow_nan=False) + "\n")
        configs.write_text(folder / CONFIG, self.winner.candidate.parameters(), self.notes())
        return [folder / CONFIG, folder / configs.EVIDENCE, folder / TABLE]

    @staticmethod
    def _row(one: Finding) -> tuple[str | int | float, ...]:
        trial, settings = one.best or one.closest, one.candidate
        given = (settings.batch, settings.wait_micros, settings.threads, settings.queue)
        return (one.round, *given, one.rate, trial.p50_ms, trial.p99_ms, trial.requests, one.trials)


def _shown(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if math.isfinite(value) else "never"
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
