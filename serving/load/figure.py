"""The plot of a load: latency and rates over time, and latency by percentile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.metrics import plots
from serving.load.result import PERCENTILES, LoadResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DOTS = 20_000
"""Requests that are drawn; of more, the slowest and some of the others."""
WIDTH, HEIGHT, DOTS_PER_INCH = 8.0, 9.0, 130


def load_figure(result: LoadResult) -> Figure:
    """Three panels: every request over the time when it was due, failed ones in the second colour; offered and answered
    requests a second; latency by the share of requests that it covers."""
    figure = plots.sized(WIDTH, HEIGHT)
    figure.set_facecolor(plots.PAPER)
    requests, rates, shares = figure.subplots(3, 1, height_ratios=(4, 2, 3))
    for axes in (requests, rates, shares):
        plots.style(axes)
        axes.tick_params(which="minor", color=plots.LINE)
    figure.suptitle(f"{result.server}\n{result.offered}", color=plots.INK, fontsize=plots.SMALL + 1)
    _requests(requests, result)
    _rates(rates, result)
    _shares(shares, result)
    return figure


def _requests(axes: Axes, result: LoadResult) -> None:
    one = result.recording
    shown = _drawn(np.nan_to_num(one.latency, nan=np.inf))
    latency = 1000 * np.where(np.isnan(one.latency), np.nanmax([0.001, *one.latency]), one.latency)
    for chosen, colour, label in ((one.ok, plots.ACCENT, "answered"), (~one.ok, plots.SECOND, "failed")):
        there = shown & chosen
        axes.plot(one.due[there], latency[there], ".", ms=2.5, alpha=0.5, color=colour, label=label, mew=0)
    windows = [part for part in result.windows() if part["p99"] is not None]
    times = [part["begin_s"] for part in windows]
    axes.plot(times, [part["p99"] for part in windows], drawstyle="steps-post", color=plots.INK, lw=1.2, label="p99")
    axes.set(ylabel="latency, ms", yscale="log", xlim=(0, result.seconds))
    axes.legend(**plots.legend(), markerscale=4)


def _rates(axes: Axes, result: LoadResult) -> None:
    windows = result.windows()
    times = [part["begin_s"] for part in windows]
    for key, colour, label in (
        ("offered_per_second", plots.MUTED, "offered"),
        ("answered_per_second", plots.ACCENT, "of these answered"),
    ):
        axes.plot(times, [part[key] for part in windows], drawstyle="steps-post", color=colour, lw=1.2, label=label)
    axes.set(xlabel="seconds", ylabel="requests/s", xlim=(0, result.seconds), ylim=(0, None))
    axes.legend(**plots.legend())


def _shares(axes: Axes, result: LoadResult) -> None:
    """Latency over 1 / (1 - share), so that each further nine takes the same width."""
    count = len(result.latencies)
    axes.set(xlabel="per cent of the answered requests", ylabel="latency, ms", xscale="log", yscale="log")
    if count:
        rest = count / np.arange(count, 0, -1)
        axes.plot(rest, result.latencies, drawstyle="steps-post", color=plots.ACCENT, lw=1.4)
    axes.set_xticks([100 / (100 - percent) for percent in PERCENTILES], [f"{percent:g}" for percent in PERCENTILES])
    axes.set_xticks([], minor=True)
    axes.grid(color=plots.LINE, lw=0.6)


def _drawn(latency: np.ndarray) -> np.ndarray:
    """Which of N requests are drawn, bool [N]."""
    shown = np.ones(len(latency), bool)
    if len(latency) > MOST_DOTS:
        shown[:] = False
        shown[np.argsort(-latency)[: MOST_DOTS // 4]] = True
        shown[:: -(-len(latency) // (MOST_DOTS - MOST_DOTS // 4))] = True
    return shown
