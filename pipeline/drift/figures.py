"""Figures of the page: both distributions of a measure, and the shares of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.drift.compare import CLASSES
from pipeline.drift.report import DriftReport
from pipeline.metrics import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_FIGURES = 8
MOST_CLASSES = 15
BINS = 40
TAIL = 0.005
"""Share of the values at either end that the axis leaves out."""


def figures(report: DriftReport) -> dict[str, Figure]:
    """Title -> figure, of the measures that are furthest apart."""
    drawn: dict[str, Figure] = {}
    for one in sorted(report.measured, key=lambda one: -one.psi)[:MOST_FIGURES]:
        title = f"{one.measure}, PSI {one.psi:.2f}"
        if one.measure == CLASSES:
            drawn[title] = shares(report.class_counts)
        elif _varies(report.samples[one.measure]):
            drawn[title] = distributions(*report.samples[one.measure])
    return drawn


def distributions(reference: np.ndarray, production: np.ndarray) -> Figure:
    """Two histograms over the same range, as shares of their pictures; NaN is passed over."""
    figure = plots.sized(plots.WIDTH, 2.6)
    axes = figure.subplots()
    plots.style(axes)
    known = [values[np.isfinite(values)] for values in (reference, production)]
    ends = [np.quantile(values, [TAIL, 1 - TAIL]) for values in known]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    bins = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for values, label, colour in zip(known, ("reference", "requests"), (plots.MUTED, plots.ACCENT), strict=True):
        counts, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
        axes.stairs(counts / max(len(values), 1), bins, color=colour, lw=1.6, label=label)
    axes.set_ylabel("share of the pictures")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower left", ncols=2, **plots.legend())
    return figure


def _varies(samples: Sequence[np.ndarray]) -> bool:
    values = np.concatenate(samples)
    return float(np.ptp(values[np.isfinite(values)])) > 0


def shares(counts: Mapping[str, Sequence[int]]) -> Figure:
    """Two bars a class, those that changed most first."""
    totals = np.maximum(np.sum(list(counts.values()), axis=0), 1)
    rows = {name: np.array(row) / totals for name, row in counts.items()}
    chosen = sorted(rows, key=lambda name: -abs(rows[name][1] - rows[name][0]))[:MOST_CLASSES]
    figure = plots.sized(plots.WIDTH, 0.34 * len(chosen) + 0.9)
    axes = figure.subplots()
    plots.style(axes)
    places = np.arange(len(chosen))
    for side, (label, colour) in enumerate((("reference", plots.MUTED), ("requests", plots.ACCENT))):
        axes.barh(places + 0.38 * side - 0.19, [rows[name][side] for name in chosen], 0.34, color=colour, label=label)
    axes.set_yticks(places, [plots.shortened(name) for name in chosen], fontsize=plots.SMALL)
    axes.invert_yaxis()
    axes.set_xlabel("share of the answers")
    figure.legend(loc="outside lower left", ncols=2, **plots.legend())
    return figure
