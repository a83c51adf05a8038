"""Writes what was found into the Run: drift.json for machines, drift.html for people."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from pipeline import drawing
from pipeline.data.requests.reader import as_time
from pipeline.drift.figures import figures
from pipeline.drift.report import DriftReport
from pipeline.files import write_file
from pipeline.metrics import plots
from pipeline.report.content import SMALL_PICTURE
from pipeline.report.figures import inline_svg, png_uri
from pipeline.report.page import render
from pipeline.run import Run

TEMPLATE = "drift.html.j2"
SIDE = 160
"""Pixels of the longer side of a picture on the page."""
TONES = {"alike": "good", "slightly different": "open", "drifted": "bad", "too few": "mixed"}


def keep(report: DriftReport, run: Run) -> None:
    """Writes both files.

    Raises:
        StorageError: the Run cannot be written.
    """
    run.write_json(run.drift, report.as_document())
    write_file(run.drift_page, render(content(report, run.home.resolve().name), TEMPLATE))


def content(report: DriftReport, title: str) -> Mapping[str, Any]:
    """All that the template needs."""
    missed = len(report.missed)
    shown = figures(report)
    pictures = [(one, picture) for one in report.furthest if (picture := _shown(one.image)) is not None]
    return {
        "title": title,
        "report": report,
        "verdict": f"{missed} {'measure has' if missed == 1 else 'measures have'} drifted" if missed else "No drift",
        "tone": "bad" if missed else "mixed" if report.cautions else "good",
        "tones": TONES,
        "first": as_time(report.first),
        "last": as_time(report.last),
        "figures": [inline_svg(plots.to_svg(figure, name), f"d{n}") for n, (name, figure) in enumerate(shown.items())],
        "pictures": [
            {**picture, "answer": one.answer, "novelty": one.novelty, "id": one.id} for one, picture in pictures
        ],
    }


def _shown(data: bytes) -> dict[str, Any] | None:
    """A picture as PNG of at most SIDE pixels; a small one is enlarged with its pixels as squares. None where only
    TensorFlow decodes it: it passes over damage at which Pillow stops."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
    except Exception:  # Pillow's plug-ins raise whatever their parsers meet
        return None
    is_small = picture.width <= SMALL_PICTURE
    picture.thumbnail((SIDE, SIDE))
    return {"uri": png_uri(drawing.png(picture)), "small": is_small}
