"""What was found, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.data.requests.reader import as_time
from pipeline.drift.compare import Measured
from pipeline.drift.report import DriftReport
from pipeline.wording import quantity

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

COLOURS = {"drifted": "bold red", "slightly different": "yellow", "too few": "cyan", "alike": "green"}


def as_view(report: DriftReport) -> RenderableType:
    """A table, then what it comes to."""
    from rich.console import Group
    from rich.text import Text

    cautions = [Text(f"Note: {text}", style="cyan") for text in report.cautions]
    return Group(_table(report), Text(), *cautions, Text(summary(report), style="bold"))


def summary(report: DriftReport) -> str:
    """Such as `2,000 of 12,345 requests, from ... to ...: all limits are kept`."""
    period = f"from {as_time(report.first)} to {as_time(report.last)}"
    versions = ", ".join(f"{version}" for version in sorted(report.versions))
    came = "; ".join(report.missed) or "all limits are kept"
    return f"{report.looked_at:,} of {quantity(report.logged, 'picture')}, {period}, version {versions}: {came}"


def _table(report: DriftReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    columns = ("measure", "reference", "requests", "PSI", "by chance", "distance", "moved", "p", "verdict")
    table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in table.columns[1:-1]:
        column.justify = "right"
    for one in report.measured:
        table.add_row(*_cells(one), Text(one.verdict, style=COLOURS[one.verdict]))
    if (apart := report.separation) is not None:
        verdict = "drifted" if report.is_separable else "alike"
        cells = (
            "all features",
            "",
            f"AUC {apart.auc:.3f}",
            "",
            f"{apart.by_chance:.3f}",
            "",
            "",
            f"{apart.p_value:.2g}",
        )
        table.add_row(*cells, Text(verdict, style=COLOURS[verdict]))
    return table


def _cells(one: Measured) -> tuple[str, ...]:
    moved = "" if one.moved is None else f"{one.moved:.2f}"
    values = (_value(one.reference), _value(one.production))
    return (
        one.measure,
        *values,
        f"{one.psi:.3f}",
        f"{one.by_chance:.3f}",
        f"{one.distance:.3f}",
        moved,
        f"{one.p_value:.2g}",
    )


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
