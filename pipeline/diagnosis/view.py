"""The diagnosis for the terminal: findings by kind, the worst first, then what each split holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.diagnosis.findings import Diagnosis, Finding, Severity, title
from pipeline.wording import quantity

if TYPE_CHECKING:
    from rich.console import RenderableType

COLOURS: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
CLASSES_SHOWN = 20


def as_view(diagnosis: Diagnosis, rows: int) -> RenderableType:
    """All of it; at most `rows` findings of a kind."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for kind, findings in diagnosis.by_kind().items():
        parts += _kind(kind, findings, rows)
    for table in (_classes, _measures, _drift):
        parts += [table(diagnosis.statistics), Text()]
    return Group(*parts, Text(summary(diagnosis), style="bold"))


def summary(diagnosis: Diagnosis) -> str:
    """Such as `500 pictures: 1 error, 2 warnings, no note`."""
    pictures = sum(diagnosis.statistics["pictures"].values())
    counted = ", ".join(_counted(count, severity) for severity, count in diagnosis.counts().items())
    return f"{quantity(pictures, 'picture')}: {counted}"


def _counted(count: int, noun: str) -> str:
    return quantity(count, noun) if count else f"no {noun}"


def _kind(kind: str, findings: Sequence[Finding], rows: int) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    severity = findings[0].severity
    yield Text.assemble((severity, COLOURS[severity]), "  ", (title(kind), "bold"), f"  {len(findings):,}")
    for finding in findings[:rows]:
        yield Padding(Text(finding.what), (0, 0, 0, 2))
        if finding.where:
            yield Padding(Text(finding.where, style="dim", overflow="fold"), (0, 0, 0, 4))
    if len(findings) > rows:
        yield Padding(Text(f"... and {len(findings) - rows:,} more"), (0, 0, 0, 2))
    if findings[0].fix:
        yield Padding(Text.assemble(("Fix: ", "green"), findings[0].fix), (0, 0, 1, 2))


def _classes(statistics: Mapping[str, Any]) -> RenderableType:
    """Count and share of each class in each split, the most frequent first."""
    from rich.table import Table

    splits = statistics["classes"]
    table = Table("class", *splits, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    names = _by_frequency(splits)
    for name in names[:CLASSES_SHOWN]:
        cells = [held["classes"][name] for held in splits.values()]
        table.add_row(name, *(f"{cell['count']:,}  {cell['share']:6.1%}" for cell in cells))
    if len(names) > CLASSES_SHOWN:
        table.add_row(f"... and {len(names) - CLASSES_SHOWN:,} more")
    if names:
        ratios = [held["imbalance"] for held in splits.values()]
        table.add_row("most to rarest", *("" if ratio is None else f"{ratio:.1f} to 1" for ratio in ratios), "")
    pictures = (statistics["pictures"].get(split, 0) for split in splits)
    table.add_row("pictures", *(f"{count:,}" for count in pictures), end_section=True)
    return table


def _by_frequency(splits: Mapping[str, Any]) -> list[str]:
    held = [one["classes"] for one in splits.values()]
    names = list(held[0]) if held else []
    return sorted(names, key=lambda name: -sum(classes[name]["count"] for classes in held))


def _measures(statistics: Mapping[str, Any]) -> RenderableType:
    from rich.table import Table

    splits = statistics["measures"]
    spreads = [(name, split, spread) for split, held in splits.items() for name, spread in held.items()]
    columns = list(spreads[0][2]) if spreads else []
    table = Table("measure", "split", *columns, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, split, spread in sorted(spreads, key=lambda row: list(splits[row[1]]).index(row[0])):
        table.add_row(name, split, *(f"{value:.4g}" for value in spread.values()))
    return table


def _drift(statistics: Mapping[str, Any]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    if not statistics["drift"]:
        return Text("drift from train: no other split has enough pictures to tell")
    table = Table(
        "drift from train", "split", "distance", "p", "verdict", box=None, header_style="bold", padding=(0, 2, 0, 0)
    )
    for one in statistics["drift"]:
        numbers = (f"{one['distance']:.3f}", f"{one['p_value']:.2g}")
        table.add_row(one["measure"], one["split"], *numbers, one["verdict"])
    return table
