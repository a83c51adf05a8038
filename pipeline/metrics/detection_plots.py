"""The figures of detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.metrics import plots
from pipeline.metrics.detection_coco import MOST_ANSWERS, RECALLS, average_precision, interpolated
from pipeline.metrics.detection_comparison import HALF, THREE_QUARTERS, Comparison
from pipeline.metrics.detection_threshold import sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
MOST_PANELS = 21
"""Classes whose curves are drawn; those of least average precision where there are more."""
STEPS = 101
"""Thresholds at which precision, recall and F1 are drawn."""


def precision_and_recall(comparison: Comparison, names: Sequence[str]) -> Figure:
    """A small panel for each class with its interpolated curve at overlaps of 0.5 and 0.75, those found worst first."""
    objects = comparison.per_class(comparison.asked)
    held = {int(k): _right_of(comparison, int(k)) for k in np.flatnonzero(objects)}
    values = {k: average_precision(right[0], int(objects[k])) for k, right in held.items()}
    shown = sorted(held, key=lambda k: values[k])[:MOST_PANELS]
    rows = max(1, -(-len(shown) // COLUMNS))
    figure = plots.sized(plots.WIDTH, 1.25 * rows + 0.7)
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat
    for panel, k in zip(panels, [*shown, *[None] * (rows * COLUMNS - len(shown))], strict=True):
        if k is None:
            panel.set_visible(False)
            continue
        _draw_curves(panel, held[k], int(objects[k]))
        title = f"{plots.shortened(names[k], 13)} {values[k]:.2f}"
        panel.tick_params(labelbottom=k in shown[-COLUMNS:])
        panel.set_title(title, fontsize=plots.SMALL, color=plots.INK, loc="left")
    figure.supxlabel("recall", fontsize=9.5, color=plots.MUTED)
    figure.supylabel("precision", fontsize=9.5, color=plots.MUTED)
    if shown:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, **plots.legend())
    return figure


def over_threshold(comparison: Comparison, threshold: float) -> Figure:
    """Precision, recall and F1 of all classes together over the score from which on an answer counts."""
    swept = sweep(comparison)
    at = np.linspace(0.0, 1.0, STEPS)
    # Of the falling scores the last that is still taken; before the first nothing is.
    last = np.searchsorted(-swept.scores, -at, side="right") - 1
    figure = plots.sized(plots.WIDTH, 3.6)
    axes = figure.subplots()
    plots.style(axes)
    lines = {"precision": (swept.precision, plots.SECOND, "--"), "recall": (swept.recall, plots.MUTED, ":")}
    for label, (values, colour, dashes) in {**lines, "F1": (swept.f1, plots.ACCENT, "-")}.items():
        known = last >= 0
        axes.plot(at[known], values[last[known]], color=colour, ls=dashes, lw=1.6, label=label)
    axes.axvline(threshold, color=plots.INK, lw=1.0, label=f"threshold {threshold:.2f}")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel="least score")
    figure.legend(loc="outside lower left", ncols=4, **plots.legend())
    return figure


def error_bars(costs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """How much higher the mean AP at an overlap of 0.5 were without each kind of error, with their numbers."""
    labels = [f"{name} ({cost['count']:,})" for name, cost in costs.items()]
    values = [cost["ap_50_lost"] or 0.0 for cost in costs.values()]
    return plots.bar_chart(labels, values, "AP 50 lost (number of errors)", "{:.3f}", max(*values, 0.01))


def _right_of(comparison: Comparison, k: int) -> list[np.ndarray]:
    """Of a class's answers that count, by falling score, which are right at overlaps of 0.5 and 0.75."""
    rows = comparison.by_class[k]
    rows = rows[comparison.places[rows] < MOST_ANSWERS]
    matches = comparison.matches
    return [matches.right[t, rows][~matches.ignored[t, rows]] for t in (HALF, THREE_QUARTERS)]


def _draw_curves(panel: Axes, right: Sequence[np.ndarray], num_objects: int) -> None:
    plots.style(panel)
    drawn = (("overlap 0.75", right[1], plots.SECOND, "--"), ("overlap 0.5", right[0], plots.ACCENT, "-"))
    for label, hits, colour, dashes in drawn:
        panel.plot(RECALLS, interpolated(hits, num_objects), color=colour, ls=dashes, lw=1.4, label=label)
    panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
