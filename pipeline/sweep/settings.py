"""What can be set of a sweep: the grid is in `pipeline.compress`, beside the variants."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.limits import DropLimit

Size = Literal["bytes", "zipped_bytes"]


class SweepLimits(DropLimit):
    """What a file of the sweep has to keep to be picked."""

    size: Size = "bytes"
    """Which size counts: `bytes` in memory and on disk, or `zipped_bytes`, what is downloaded with an app. Pruned and
    clustered files are small only zipped."""
    max_bytes: int | None = Field(default=None, ge=1)
    """Largest size in bytes."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Longest median time for one picture on this host, in milliseconds."""
