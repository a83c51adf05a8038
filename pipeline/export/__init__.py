"""A trained model as files for production.

`saved_model.py` writes for servers, `tflite.py` for devices, `contract.py` says what is in both.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle, islice
from typing import Annotated

from pydantic import Field

from models.settings import Settings


class ExportSettings(Settings):
    """What is written for servers and devices."""

    version: int | None = Field(default=None, ge=0, lt=2**63)
    """Version folder of the SavedModel. Left out: one more than the highest that is there, beginning with 1."""
    warmup_requests: int = Field(default=16, ge=0, le=1000)
    """Requests of real pictures that TensorFlow Serving replays before it serves a version, at most 1000."""
    warmup_batch_sizes: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(1, 4), min_length=1)
    """Pictures in one warm-up request, in turn; give the sizes that production asks for."""
    model_name: str = Field(default="model", min_length=1)
    """Name under which the model is to be served; stands in the warm-up requests."""

    anchored: bool = False
    """Whether each `.tflite` of a detector with anchors is written a second time, as `NAME_anchored.tflite`: with steps
    from anchors in place of boxes, the anchors in its metadata, and without suppression, which is MediaPipe's then."""

    def names(self, variants: Iterable[str]) -> list[str]:
        """Of the `.tflite` files that are written of variants."""
        names = [*variants]
        return [*names, *(anchored_name(name) for name in names if self.anchored)]

    @property
    def pictures_needed(self) -> int:
        """How many different pictures the warm-up requests can use; more than 64 would warm up nothing more."""
        sizes = cycle(self.warmup_batch_sizes)
        return min(sum(islice(sizes, self.warmup_requests)), 64)


def anchored_name(variant: str) -> str:
    """Of a variant's second file, in which boxes are left to the runtime."""
    return f"{variant}_anchored"
