"""What can be set of the report."""

from __future__ import annotations

from models.settings import Settings


class ReportSettings(Settings):
    """What the report shows; how many pictures it has to show is decided under `evaluate`."""

    title: str | None = None
    """Name at the top of the page; the Run folder's name by default."""
