"""Which variant of a sweep to take: the Pareto front, the limits, and the best within them for a phone and a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report import numbers
from pipeline.sweep.rows import Row
from pipeline.sweep.settings import SweepLimits
from pipeline.wording import quantity

LEAST_DROP = 1e-3
"""What an excess is measured by where a limit is smaller, 0 for one."""


@dataclass(frozen=True)
class Bounds:
    """The limits of a sweep in numbers.

    Args:
        limits: as set.
        drop: largest drop of the metric, in its own unit.
        metric: its name, for the reasons.
    """

    limits: SweepLimits
    drop: float
    metric: str

    def size(self, row: Row) -> int:
        """The size that counts."""
        return int(getattr(row, self.limits.size))

    def size_words(self, row: Row) -> str:
        """That size with its unit."""
        return f"{self.size(row):,} {'bytes' if self.limits.size == 'bytes' else 'bytes zipped'}"

    def excesses(self, row: Row) -> dict[str, float]:
        """Limit that a made row misses -> by how much, as a share of it."""
        found = {
            "drop": _excess(row.drop, self.drop, LEAST_DROP),
            self.limits.size: _excess(self.size(row), self.limits.max_bytes),
            "latency": _excess(row.latency_ms, self.limits.max_latency_ms),
        }
        return {name: excess for name, excess in found.items() if excess > 0}

    def misses(self, row: Row) -> str:
        """The limits that a made row misses, in words; empty where it keeps all."""
        words = {
            "drop": f"drop {numbers.drop(row.drop, self.metric)} (limit {numbers.drop(self.drop, self.metric)})",
            self.limits.size: f"{self.size_words(row)} (limit {self.limits.max_bytes or 0:,})",
            "latency": f"{row.latency_ms or 0:.3g} ms (limit {self.limits.max_latency_ms or 0:.3g} ms)",
        }
        return ", ".join(words[name] for name in self.excesses(row))


@dataclass(frozen=True)
class Pick:
    """A variant that was chosen, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Choice:
    """What a sweep comes to.

    Args:
        front: variants that no other one beats in metric, size and latency at once.
        within: variants that keep all limits, in the grid's order.
        picks: `smallest`, `phone`, `server`; empty where no variant is within the limits.
        closest: the variant that misses them by least, where none keeps them.
    """

    front: tuple[str, ...]
    within: tuple[str, ...]
    picks: dict[str, Pick]
    closest: Pick | None = None


def choose(rows: Sequence[Row], bounds: Bounds) -> Choice:
    """The choice among a sweep's rows."""
    made = [row for row in rows if row.made]
    front = tuple(row.name for row in made if not any(_beats(other, row, bounds) for other in made))
    within = [row for row in made if not bounds.excesses(row)]
    if within:
        picks = {
            "smallest": smallest(within, bounds),
            "phone": for_phone(within, bounds),
            "server": fastest(within, bounds),
        }
        return Choice(front, tuple(row.name for row in within), picks)
    closest = min(made, key=lambda row: sum(bounds.excesses(row).values()), default=None)
    return Choice(front, (), {}, Pick(closest.name, bounds.misses(closest)) if closest else None)


def smallest(rows: Sequence[Row], bounds: Bounds) -> Pick:
    """The smallest; of equals the more exact one."""
    best = min(rows, key=lambda row: (bounds.size(row), row.drop))
    return Pick(best.name, f"the smallest of {_count(rows)} within the limits: {_facts(best, bounds)}")


def for_phone(rows: Sequence[Row], bounds: Bounds) -> Pick:
    """The smallest of those that compute by integers alone, with fast kernels, as every phone's processor and most of
    their accelerators can; of equals the faster one."""
    able = [row for row in rows if row.float_ops == 0 and not row.slow_operators]
    best = min(able or rows, key=lambda row: (bounds.size(row), row.latency_ms))
    if able:
        kind = (
            "the smallest of those within the limits that compute by builtin integer operators with fast kernels alone"
        )
        return Pick(best.name, f"{kind} ({_count(able)}): {_facts(best, bounds)}")
    return Pick(best.name, f"none within the limits computes by integers alone; the smallest: {_facts(best, bounds)}")


def fastest(rows: Sequence[Row], bounds: Bounds) -> Pick:
    """The fastest on this host; of equals the smaller one."""
    best = min(rows, key=lambda row: (row.latency_ms, bounds.size(row)))
    return Pick(best.name, f"the fastest of {_count(rows)} within the limits on this host: {_facts(best, bounds)}")


PICKS: dict[str, Callable[[Sequence[Row], Bounds], Pick]] = {
    "smallest": smallest,
    "phone": for_phone,
    "server": fastest,
}


def _facts(row: Row, bounds: Bounds) -> str:
    kernels = (
        f", {quantity(sum(row.slow_operators.values()), 'operator')} without fast kernel" if row.slow_operators else ""
    )
    return (
        f"{bounds.size_words(row)}, drop {numbers.drop(row.drop, bounds.metric)}, {row.latency_ms or 0:.3g} ms, "
        f"{quantity(row.float_ops or 0, 'float operator')}{kernels}"
    )


def _count(rows: Sequence[Row]) -> str:
    return quantity(len(rows), "variant")


def _beats(one: Row, other: Row, bounds: Bounds) -> bool:
    """Whether it is nowhere worse and somewhere better (Pareto dominance)."""
    measures: list[Callable[[Row], Any]] = [bounds.size, lambda row: row.drop, lambda row: row.latency_ms]
    pairs = [(measure(one), measure(other)) for measure in measures]
    return all(mine <= others for mine, others in pairs) and any(mine < others for mine, others in pairs)


def _excess(value: float | None, limit: float | None, least: float = 1e-9) -> float:
    """By how much a limit is exceeded, as a share of it; 0 where there is none or it is kept."""
    if limit is None or value is None or value <= limit:
        return 0.0
    return (value - limit) / max(limit, least)
