"""The plot of a sweep: the metric over size and over latency, with the Pareto front of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.metrics import plots
from pipeline.report import numbers
from pipeline.sweep.choice import Bounds, Choice
from pipeline.sweep.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Sweep: size, quality and latency"
NAMES_A_LINE = 2
HEIGHTS = (10, -10, 19, -19)
"""Points that numbers stand above or below their marks, in turns."""


def sweep_figure(rows: Sequence[Row], choice: Choice, bounds: Bounds) -> Figure:
    """Filled: on the front of all three. Hollow: another variant is nowhere worse. A line joins the front of a panel.
    Variants that miss a limit are drawn in the second colour. The numbers are explained below.

    Args:
        rows: those that were made; at least one.
    """
    lines = -(-len(rows) // NAMES_A_LINE)
    figure = plots.sized(plots.WIDTH, 5.6 + 0.19 * lines)
    by_size, by_latency = figure.subplots(2, 1)
    _panel(by_size, rows, choice, bounds, lambda row: bounds.size(row) / 1e3)
    by_size.set_xlabel("size, kB" + (" zipped" if bounds.limits.size == "zipped_bytes" else ""))
    _panel(by_latency, rows, choice, bounds, lambda row: row.latency_ms or 0.0)
    names = "\n".join(_key(rows, line) for line in range(lines))
    by_latency.set_xlabel(f"latency, ms\n\n{names}", linespacing=1.35)
    return figure


def _key(rows: Sequence[Row], line: int) -> str:
    first = line * NAMES_A_LINE
    shown = enumerate(rows[first : first + NAMES_A_LINE], first + 1)
    return "     ".join(f"{number} {plots.shortened(row.name)}" for number, row in shown)


def _panel(axes: Axes, rows: Sequence[Row], choice: Choice, bounds: Bounds, cost: Callable[[Row], float]) -> None:
    share = 100.0 if bounds.metric in numbers.SHARES else 1.0
    _dress(axes, numbers.name(bounds.metric) + (", %" if share > 1 else ""))
    places = [(cost(row), (row.metric or 0.0) * share) for row in rows]
    front = staircase([(*place[:1], row.drop or 0.0, place[1]) for row, place in zip(rows, places, strict=True)])
    axes.plot(*zip(*front, strict=True), drawstyle="steps-post", color=plots.LINE, lw=1.2, zorder=0)
    for row, place in zip(rows, places, strict=True):
        colour = plots.ACCENT if row.name in choice.within else plots.SECOND
        fill = colour if row.name in choice.front else "none"
        axes.plot(*place, "o", ms=5.5, markerfacecolor=fill, markeredgecolor=colour)
    for turn, index in enumerate(sorted(range(len(rows)), key=lambda index: places[index][0])):
        # Neighbours stand at different heights, so that their numbers can be told apart.
        axes.annotate(
            str(index + 1),
            places[index],
            (0, HEIGHTS[turn % len(HEIGHTS)]),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=plots.SMALL - 1,
            color=plots.INK,
        )
    axes.margins(x=0.08, y=0.22)


def _dress(axes: Axes, title: str) -> None:
    """A logarithmic axis with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    plots.style(axes)
    axes.set_ylabel(title)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def staircase(points: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """The front of a panel, cheapest first: points at which less drop is had than for any lower cost.

    Args:
        points: (cost, drop, height) each.
    """
    front: list[tuple[float, float]] = []
    least = float("inf")
    for cost, drop, height in sorted(points):
        if drop < least:
            front.append((cost, height))
            least = drop
    return front
