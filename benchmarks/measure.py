"""What all benchmarks share: interleaved rounds, ratios, the host, the table, and the JSON form.

    {"host": {...}, "measures": [{"name", "ratio", "low", "high", "goal", "met", "value", "unit"}]}

A machine shared with others is slow for minutes at a time. So both sides of a ratio are measured in turns, a ratio is
formed within each round, and what is told is the median, the least and the most of these.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.environment import host as hardware
from pipeline.environment import installed
from pipeline.files import write_file

if TYPE_CHECKING:
    from rich.table import Table

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Measure:
    """One line of the result.

    Args:
        name: what was measured against what.
        ratio, low, high: median, least and most over the rounds.
        goal: what the ratio should reach or stay below; None where nothing is asked for.
        met: whether it does.
        value, unit: the median of the measured side itself, such as 180.0 pictures/s.
    """

    name: str
    ratio: float
    low: float
    high: float
    goal: float | None
    met: bool | None
    value: float
    unit: str


def compare(name: str, ours: Sequence[float], yardstick: Sequence[float], unit: str) -> Measure:
    """The ratio of two sides measured in the same rounds, ours above."""
    ratios = [mine / other for mine, other in zip(ours, yardstick, strict=True)]
    return Measure(name, statistics.median(ratios), min(ratios), max(ratios), None, None, statistics.median(ours), unit)


def at_least(measure: Measure, goal: float) -> Measure:
    """The measure with a goal that its median should reach."""
    return replace(measure, goal=goal, met=measure.ratio >= goal)


def at_most(measure: Measure, goal: float) -> Measure:
    """The measure with a goal that its median should not pass."""
    return replace(measure, goal=goal, met=measure.ratio <= goal)


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measures the sides in turns, each round beginning with another side, after one round that is not counted."""
    for side in sides.values():
        side()
    found: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(sides[name]())
    return found


def host() -> dict[str, Any]:
    """The machine, the versions that decide speed, and how busy it is: more than its cores and nothing here counts."""
    return {
        **hardware(),
        "python": platform.python_version(),
        "tensorflow": installed("tensorflow"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def arguments(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each side is measured (%(default)s)")
    return parser


def publish(measures: Sequence[Measure], machine: dict[str, Any], file: Path | None) -> None:
    """Prints the table and, where asked for, writes the JSON file."""
    from rich.console import Console

    Console().print(table(measures))
    if file:
        document = {"host": machine, "measures": [asdict(measure) for measure in measures]}
        write_file(file, json.dumps(document, indent=2) + "\n")


def read(file: Path) -> list[Measure]:
    """The measures of a JSON file."""
    return [Measure(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))["measures"]]


def table(measures: Sequence[Measure]) -> Table:
    """All measures for people."""
    from rich.table import Table

    shown = Table("measure", "ratio", "least", "most", "goal", "met", "value")
    for measure in measures:
        goal = "" if measure.goal is None else f"{measure.goal:.3g}"
        met = {None: "", True: "yes", False: "[red]no[/red]"}[measure.met]
        ratios = [f"{ratio:.3f}" for ratio in (measure.ratio, measure.low, measure.high)]
        shown.add_row(measure.name, *ratios, goal, met, f"{measure.value:,.4g} {measure.unit}")
    return shown
