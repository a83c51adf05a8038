"""Logged pictures and logs of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.requests.picture import LoggedPicture
from pipeline.data.requests.reader import Choice, RequestLog
from pipeline.data.requests.writer import LogLimits, RequestWriter

NOON = 1_790_000_000.0


def png(level: int, side: int = 6, mode: str = "RGB") -> bytes:
    """A picture of one colour."""
    stream = io.BytesIO()
    Image.new(mode, (side, side + 1), level if mode == "L" else (level, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def noise(seed: int, side: int = 40) -> bytes:
    """A picture that hardly packs: about five kilobytes at 40 pixels."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def picture(number: int, **changes: Any) -> LoggedPicture:
    """The picture of this number, logged so many seconds after noon."""
    values: dict[str, Any] = {
        "id": f"p{number:04}",
        "image": png(number % 256),
        "came_as": "file",
        "model": "flowers",
        "signature": "serving_default",
        "version": 1,
        "seconds": NOON + number,
        "outputs": {"scores": np.array([0.25, number], np.float32)},
    }
    return LoggedPicture(**{**values, **changes})


def written(folder: Path, pictures: list[LoggedPicture], **limits: float) -> RequestLog:
    """A log of these pictures, closed and opened."""
    writer = RequestWriter(folder, LogLimits(**limits))
    for one in pictures:
        writer.write(one)
    writer.close()
    return RequestLog(folder)


def ids(log: RequestLog, **choice: Any) -> list[str]:
    """The ids of a choice as they are read back from the records."""
    return [one.id for one in log.pictures(log.ids(Choice(**choice)))]
