"""The page itself: a template filled with content, written to the Run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.files import write_file
from pipeline.report import numbers
from pipeline.report.settings import ReportSettings
from pipeline.run import Run

FILTERS = {
    "drop": numbers.drop,
    "duration": numbers.duration,
    "measure": numbers.measure,
    "milliseconds": numbers.milliseconds,
    "name": numbers.name,
    "number": numbers.number,
    "size": numbers.size,
    "title_of": numbers.title,
}


def render(content: Mapping[str, Any], template: str = "page.html.j2") -> str:
    """One HTML document that needs nothing else. Every value is escaped but figures, which are `Markup`.

    Args:
        content: as `content.collect` gives it, or whatever another template needs.
        template: in this folder.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template(template).render(content)


def build_report(run: Run, settings: ReportSettings | None = None) -> Path:
    """Writes RUN/report.html from whatever the Run holds, and gives its path.

    Raises:
        RunError: `prepare` has not been run, or a file of the Run is damaged.
        StorageError: the page cannot be written.
    """
    from pipeline.report.content import collect

    write_file(run.report, render(collect(run, settings or ReportSettings())))
    return run.report
