"""What a sweep leaves in the Run: `sweep.json`, `variants.csv` and the plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipeline.errors import ExportError, VerificationError
from pipeline.files import write_file
from pipeline.metrics.plots import to_svg
from pipeline.run import Run
from pipeline.sweep.choice import Bounds, Choice
from pipeline.sweep.figure import TITLE, sweep_figure
from pipeline.sweep.rows import Row, as_csv


def keep(run: Run, rows: Sequence[Row], choice: Choice, bounds: Bounds, more: dict[str, Any]) -> None:
    """Writes everything about a sweep.

    Args:
        more: of `sweep.json`: what was measured, and where.
    """
    marks = [
        {"pareto": row.name in choice.front, "within_limits": row.name in choice.within, "misses": _misses(row, bounds)}
        for row in rows
    ]
    write_file(run.sweep / "variants.csv", as_csv(rows, marks))
    made = [row for row in rows if row.made]
    plot = run.sweep / "variants.svg"
    if made:
        write_file(plot, to_svg(sweep_figure(made, choice, bounds), TITLE))
    else:
        plot.unlink(missing_ok=True)
    document = {
        **more,
        "limits": {**bounds.limits.model_dump(mode="json"), "drop": bounds.drop},
        "picks": {name: asdict(pick) for name, pick in choice.picks.items()},
        "closest": asdict(choice.closest) if choice.closest else None,
        "front": list(choice.front),
        "rows": [{**asdict(row), **mark} for row, mark in zip(rows, marks, strict=True)],
    }
    run.write_json(run.sweep_result, document)


def require_picks(rows: Sequence[Row], choice: Choice) -> None:
    """Raises where there is nothing to pick.

    Raises:
        ExportError: no variant could be made.
        VerificationError: none keeps the limits; the closest is named.
    """
    if choice.picks:
        return
    if choice.closest is None:
        reasons = "\n  ".join(f"{row.name}: {row.error}" for row in rows)
        raise ExportError(f"No variant of the sweep could be made:\n  {reasons}")
    raise VerificationError(
        f"No variant of the sweep keeps the limits. The closest is {choice.closest.name}: {choice.closest.why}. "
        "Change compress.sweep.limits, or add variants that train, such as int8_qat, to compress.sweep.variants."
    )


def _misses(row: Row, bounds: Bounds) -> str:
    return bounds.misses(row) if row.made else ""
