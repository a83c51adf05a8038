"""The report's own figures, and how figures and pictures enter the page."""

from __future__ import annotations

import base64
import itertools
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from pipeline.metrics import plots
from pipeline.report import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    plots.INK: "var(--ink)",
    plots.MUTED: "var(--muted)",
    plots.LINE: "var(--line)",
    plots.ACCENT: "var(--accent)",
    plots.SECOND: "var(--second)",
    plots.PAPER: "var(--on-accent)",
}
"""The colours that figures are drawn in, and what they are in the page."""

WIDE = 400
"""Points from which a figure is not shrunk to a phone's width but scrolls inside its own frame."""

History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Shown:
    """A figure in the page.

    Args:
        title: its caption.
        html: inline SVG.
        wide: scrolls inside its own frame instead of shrinking.
    """

    title: str
    html: Markup
    wide: bool = False


def inline_svg(svg: str, prefix: str) -> Shown:
    """An SVG of `plots.to_svg` as part of the page, in the page's colours.

    Args:
        svg: a whole SVG document that holds its title.
        prefix: unique in the page; keeps the ids of two figures apart.
    """
    title = unescape((re.search(r"<title>(.*?)</title>", svg, re.DOTALL) or ["", ""])[1])
    width = float((re.search(r'width="([\d.]+)pt"', svg) or ["", "0"])[1])
    body = re.sub(r"<metadata>.*?</metadata>|<title>.*?</title>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", body)
    for colour, variable in COLOURS.items():
        body = body.replace(colour, variable)
    opening = f'<svg role="img" aria-label="{escape(title)}" style="--natural: {width:.0f}pt"'
    return Shown(title, Markup(body.replace("<svg", opening, 1)), wide=width > WIDE)


def picture_uri(file: Path) -> str:
    """A PNG or JPEG as a data URI."""
    return _uri(file.read_bytes(), "jpeg" if file.suffix == ".jpg" else "png")


def png_uri(data: bytes) -> str:
    """The bytes of a PNG as a data URI."""
    return _uri(data, "png")


def _uri(data: bytes, format: str) -> str:
    return f"data:image/{format};base64,{base64.b64encode(data).decode('ascii')}"


def learning_curves(history: History) -> dict[str, Figure]:
    """Loss, then every other validated measure, then the learning rate, each over epochs (or steps).

    Args:
        history: the rows of history.csv as numbers; NaN or missing where nothing was measured.
    """
    if not history:
        return {}
    measured = [key.removeprefix("val_") for key in history[0] if key.startswith("val_") and key != "val_loss"]
    curves = {"Loss": {"training": "loss", "validation": "val_loss"}}
    curves |= {numbers.title(key): {"training": key, "validation": f"val_{key}"} for key in measured}
    curves |= {"Learning rate": {"learning rate": "learning_rate"}}
    drawn = {title: _curve(history, lines) for title, lines in curves.items()}
    return {title: figure for title, figure in drawn.items() if figure is not None}


def variants_figure(variants: Mapping[str, Mapping[str, Any]], metric: str) -> Figure:
    """Size, the metric and latency of each variant side by side; those that are not blessed are hollow."""
    figure = plots.sized(plots.WIDTH, 0.3 * len(variants) + 0.7)
    size, quality, latency = figure.subplots(1, 3, sharey=True)
    share = metric in numbers.SHARES
    values = [(variant.get("metrics") or {}).get(metric) for variant in variants.values()]
    _label_rows(size, list(variants))
    _bars(size, "size, MB", variants, _scaled([variant.get("bytes") for variant in variants.values()], 1e-6))
    _dots(quality, numbers.name(metric) + (", %" if share else ""), variants, _scaled(values, 100.0 if share else 1.0))
    _bars(latency, "latency, ms", variants, _scaled([variant.get("latency_ms") for variant in variants.values()], 1.0))
    return figure


def _scaled(values: Sequence[float | None], factor: float) -> list[float]:
    """Values in the unit of a panel; NaN where one was not measured."""
    return [math.nan if value is None else value * factor for value in values]


def _label_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [plots.shortened(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def _bars(axes: Axes, title: str, variants: Mapping[str, Mapping[str, Any]], values: Sequence[float]) -> None:
    """A panel of bars from 0."""
    known = [value for value in values if math.isfinite(value)]
    _dress_panel(axes, title, values)
    axes.set_xlim(0, max([*known, 1e-9]) * 1.7)
    for row, (variant, value) in enumerate(zip(variants.values(), values, strict=True)):
        fill, edge = _colours(variant)
        axes.barh(row, value, height=0.6, facecolor=fill, edgecolor=edge, lw=1.0)


def _dots(axes: Axes, title: str, variants: Mapping[str, Mapping[str, Any]], values: Sequence[float]) -> None:
    """A panel of dots over the range that occurs: differences count, not the distance from 0."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    span = max(max(known) - min(known), 1e-3 * abs(max(known)), 1e-9)
    _dress_panel(axes, title, values)
    axes.set_xlim(min(known) - 0.2 * span, max(known) + 1.1 * span)
    for row, (variant, value) in enumerate(zip(variants.values(), values, strict=True)):
        fill, edge = _colours(variant)
        axes.axhline(row, color=plots.LINE, lw=0.6, zorder=0)
        axes.plot(value, row, "o", ms=6.0, markerfacecolor=fill, markeredgecolor=edge)


def _colours(variant: Mapping[str, Any]) -> tuple[str, str]:
    """(fill, edge)."""
    return (plots.ACCENT, plots.ACCENT) if variant.get("blessed") else ("none", plots.SECOND)


def _dress_panel(axes: Axes, title: str, values: Sequence[float]) -> None:
    plots.style(axes)
    axes.set_title(textwrap.fill(title, 14), fontsize=plots.SMALL, color=plots.MUTED, loc="left")
    axes.tick_params(length=0, bottom=False, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
    for row, value in enumerate(values):
        if math.isfinite(value):
            text = f"{value:.3g}" if value < 10 else f"{value:.2f}" if value < 1000 else f"{value:,.0f}"
            axes.annotate(
                text,
                (value, row),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=plots.SMALL,
                color=plots.INK,
            )


def _curve(history: History, lines: Mapping[str, str]) -> Figure | None:
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    key = "epoch" if len(set(epochs)) == len(epochs) else "step"
    figure = plots.sized(plots.WIDTH, 2.9)
    axes = figure.subplots()
    plots.style(axes)
    colours = dict(zip(lines, (plots.ACCENT,) if len(lines) == 1 else (plots.MUTED, plots.ACCENT), strict=True))
    for label, column in lines.items():
        points = [(row[key], row[column]) for row in history if math.isfinite(row.get(column, math.nan))]
        if points:
            marker = "o" if len(points) <= 25 else None
            axes.plot(*zip(*points, strict=True), color=colours[label], lw=1.7, marker=marker, ms=3.5, label=label)
    if not axes.lines:
        return None
    if len(axes.lines) > 1:
        axes.legend(**plots.legend())
    _mark_phases(axes, history, key)
    axes.set_xlabel(key)
    axes.grid(axis="y", color=plots.LINE, lw=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _mark_phases(axes: Axes, history: History, key: str) -> None:
    """A line where another phase of training begins, such as unfreezing the backbone."""
    for before, after in itertools.pairwise(history):
        if before.get("phase") != after.get("phase"):
            place = (before[key] + after[key]) / 2
            axes.axvline(place, color=plots.MUTED, lw=0.9, ls=":")
            axes.annotate(
                plots.shortened(f"{after['phase']}"),
                (place, 1.0),
                (4, -2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                fontsize=plots.SMALL,
                color=plots.MUTED,
            )
