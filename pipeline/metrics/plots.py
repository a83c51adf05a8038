"""The evaluators' figures, drawn so that they can stand in a light or a dark page and be read on a phone.

Each is 4.6 inches wide (as wide as a phone's page once shown there) unless it has more classes than fit. Colours are
only the six below: the report replaces them by its own, which follow the reader's light or dark mode.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.files import write_file
from pipeline.metrics.scores import calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b2430"
MUTED = "#5d6875"
LINE = "#d5dae0"
ACCENT = "#2a62c9"
SECOND = "#b4561a"
PAPER = "#fdfefe"

WIDTH = 4.6
"""Inches."""
SMALL = 9.0
"""Points, for labels and ticks; a phone shows a figure of `WIDTH` slightly enlarged."""
MOST_NUMBERED = 15
"""Classes up to which the cells of a confusion matrix hold numbers."""
MOST_CLASSES = 100
"""Classes up to which a confusion matrix is drawn whole; beyond, those most often confused."""
MOST_CURVES = 8
MOST_BARS = 40
MOST_PAIRS = 12

Column = tuple[np.ndarray, np.ndarray]


def save_plots(figures: Mapping[str, Figure], folder: Path) -> None:
    """Writes figures as `00.svg`, `01.svg`, ... in their order, in place of those written before. Each holds its title,
    which may be anything and so cannot be its file's name."""
    for old in folder.glob("*.svg"):
        old.unlink()
    for number, (title, figure) in enumerate(figures.items()):
        write_file(folder / f"{number:02}.svg", to_svg(figure, title))


def to_svg(figure: Figure, title: str) -> str:
    """The figure as SVG whose text stays text; a figure made anew from the same numbers gives the same bytes."""
    import matplotlib

    buffer = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": "convoy", "svg.image_inline": True}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # The reader's browser has fonts for class names that matplotlib's own font cannot draw.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": title})
    return buffer.getvalue()


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Rows are the expected classes, columns the answered ones; shades are shares of a row.

    Args:
        counts: int [K, K].
        names: [K].
    """
    shown = _most_confused(counts) if len(names) > MOST_CLASSES else list(range(len(names)))
    counts = counts[np.ix_(shown, shown)]
    labels = [shortened(names[k]) for k in shown]
    side = max(WIDTH, 0.1 * len(labels) + 0.9)
    figure, axes = _figure(side, side)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap=_shades(), vmin=0.0, vmax=1.0, interpolation="none")
    size = SMALL if len(labels) <= MOST_NUMBERED else 6.4
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    axes.tick_params(length=0)
    axes.set(xlabel="answered", ylabel="expected")
    if len(labels) <= MOST_NUMBERED:
        _number_cells(axes, counts, shares)
    return figure


def confused_pairs(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """The largest cells off the diagonal as bars: what is taken for what, and how often."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [divmod(int(cell), len(names)) for cell in order if wrong.flat[cell] > 0]
    labels = [f"{shortened(names[row])} → {shortened(names[column])}" for row, column in pairs]
    return bar_chart(labels, [int(wrong[pair]) for pair in pairs], "pictures (expected → answered)", "{:.0f}", None)


def bars(values: Mapping[str, float]) -> Figure:
    """A bar per class for a measure of 0..1, best first; the best and worst where there are too many."""
    ranked = sorted(values.items(), key=lambda item: -item[1])
    if len(ranked) > MOST_BARS:
        ranked = ranked[: MOST_BARS // 2] + ranked[-MOST_BARS // 2 :]
    return bar_chart([shortened(name) for name, _ in ranked], [value for _, value in ranked], "", "{:.2f}", 1.0)


def precision_recall(columns: Mapping[str, Column]) -> Figure:
    """All decisions together as one strong line, with the classes of least average precision named.

    Args:
        columns: class -> (present bool [N], scores [N]).
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = _figure(WIDTH, 4.5)
    held = {name: column for name, column in columns.items() if column[0].any()}
    values = {name: float(average_precision_score(*column)) for name, column in held.items()}
    worst = sorted(held, key=lambda name: values[name])[:MOST_CURVES]
    # Drawn from the least important on, so that nothing hides what matters more.
    for number, name in reversed(list(enumerate(worst))):
        precision, recall, _ = precision_recall_curve(*held[name])
        strong = number < 3
        label = f"{shortened(name)}, AP {values[name]:.3f}" if strong else None
        dashes = ("-", "--", ":")[number] if strong else "-"
        colour = SECOND if strong else LINE
        axes.plot(recall, precision, color=colour, lw=1.2, ls=dashes, drawstyle="steps-post", label=label)
    if held:
        present, scores = (np.concatenate(parts) for parts in zip(*held.values(), strict=True))
        precision, recall, _ = precision_recall_curve(present, scores)
        axes.plot(recall, precision, color=ACCENT, lw=2.0, drawstyle="steps-post", label="all classes together")
        axes.set_title("all classes, and those found worst", fontsize=SMALL, color=MUTED, loc="left")
        figure.legend(loc="outside lower left", **legend())
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel="recall", ylabel="precision")
    return figure


def reliability(confidence: np.ndarray, correct: np.ndarray) -> Figure:
    """How often answers of a confidence are right, over how many there are of it (Guo et al. 2017, figure 1).

    Args:
        confidence: [N], 0..1.
        correct: bool [N].
    """
    figure = sized(WIDTH, 4.3)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    for part in (axes, counts):
        style(part)
    bins = calibration(confidence, correct)
    means, shares, _ = (np.array(values) for values in zip(*bins, strict=True))
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1.0, ls="--", label="as confident as right")
    axes.plot(means, shares, color=ACCENT, lw=1.6, marker="o", ms=4.5, label="the model")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), ylabel="share right")
    figure.legend(loc="outside lower left", ncols=2, **legend())
    counts.hist(confidence, bins=np.linspace(0, 1, 16).tolist(), color=ACCENT)
    counts.set(xlabel="confidence", ylabel="answers")
    counts.locator_params(axis="y", nbins=2)
    return figure


def predicted_and_true(truth: np.ndarray, values: np.ndarray) -> Figure:
    """A point per example [N]; a right answer lies on the line."""
    figure, axes = _figure(WIDTH, 3.9)
    ends = [float(min(truth.min(), values.min())), float(max(truth.max(), values.max()))]
    axes.plot(ends, ends, color=MUTED, lw=1.0, ls="--")
    # Thousands of points are drawn as pixels, or the page would weigh megabytes.
    dense = len(truth) > 2000
    axes.plot(truth, values, "o", color=ACCENT, ms=3.5, alpha=0.2 if dense else 0.55, mew=0, rasterized=dense)
    axes.set(xlabel="true", ylabel="predicted")
    return figure


def errors(differences: np.ndarray) -> Figure:
    """Distribution of answer less truth [N]."""
    figure, axes = _figure(WIDTH, 3.2)
    axes.hist(differences, bins=min(40, max(8, int(np.sqrt(len(differences))))), color=ACCENT)
    axes.axvline(0.0, color=MUTED, lw=1.0, ls="--")
    axes.set(xlabel="predicted less true", ylabel="pictures")
    return figure


def bar_chart(labels: Sequence[str], values: Sequence[float], title: str, form: str, end: float | None) -> Figure:
    """A horizontal bar for each label with its value behind it, written in `form`, in the order given.

    Args:
        end: the value of a bar over the whole width; the largest where None.
    """
    figure, axes = _figure(WIDTH, 0.24 * len(labels) + 0.7)
    rows = np.arange(len(labels))
    axes.barh(rows, values, color=ACCENT, height=0.62)
    axes.set_yticks(rows, labels, fontsize=SMALL)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, (end or max(values)) * 1.14)
    axes.set_xlabel(title)
    axes.xaxis.set_ticks([])
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    for row, value in zip(rows, values, strict=True):
        axes.annotate(
            form.format(value), (value, row), (4, 0), textcoords="offset points", va="center", fontsize=SMALL, color=INK
        )
    return figure


def _number_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = PAPER if shares[row, column] > 0.75 else INK
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=SMALL, color=colour)


def _most_confused(counts: np.ndarray) -> list[int]:
    """Indices of the classes with most wrong answers to or from them, in their own order."""
    wrong = counts - np.diag(np.diag(counts))
    involved = wrong.sum(axis=0) + wrong.sum(axis=1)
    return sorted(np.argsort(-involved, kind="stable")[:MOST_CLASSES].tolist())


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = sized(width, height)
    axes = figure.subplots()
    style(axes)
    return figure, axes


def sized(width: float, height: float) -> Figure:
    """An empty figure; width and height in inches."""
    # Not pyplot: it would keep every figure alive and need a display or a global choice of back end.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def style(axes: Axes) -> None:
    """Quiet axes: no frame, small muted ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=MUTED, labelsize=SMALL, color=LINE)
    axes.xaxis.label.set(color=MUTED, fontsize=9.5)
    axes.yaxis.label.set(color=MUTED, fontsize=9.5)


def legend() -> dict[str, Any]:
    """How every legend looks."""
    return {"frameon": False, "labelcolor": INK, "fontsize": SMALL}


def _shades() -> Any:
    """From transparent to the accent, so that one picture suits a light and a dark page."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    red, green, blue = to_rgb(ACCENT)
    return LinearSegmentedColormap.from_list("convoy", [(red, green, blue, 0.0), (red, green, blue, 1.0)])


def shortened(name: str, most: int = 24) -> str:
    """A name for a label, never read as a formula."""
    return _text(name if len(name) <= most else f"{name[: most - 1]}…")


def _text(name: str) -> str:
    """A name as matplotlib shall show it: a dollar is a dollar, not the start of a formula."""
    return name.replace("$", r"\$")
