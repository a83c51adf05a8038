"""The pictures that findings are about, small, for the report: as they are, with the boxes concerned drawn on."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.data.example import RawExample
from pipeline.data.pictures import BadPicture
from pipeline.data.sources import DataSource
from pipeline.diagnosis.facts import opened
from pipeline.diagnosis.findings import Diagnosis, Finding
from pipeline.errors import DataError
from pipeline.files import write_file

LONGEST = 320
"""Pixels of the longer side of a picture that is kept."""
QUALITY = 85
"""Of the JPEGs, which are only looked at."""
TOGETHER = 2
"""Pictures that are shown side by side for one finding."""
LEAST_DRAWN = 14
"""Pixels of the shorter side of a drawn box, so that one without area is seen as well."""
WRONG, RIM = (255, 84, 60), (0, 0, 0)


@dataclass(frozen=True)
class Illustration:
    """The picture of a finding.

    Args:
        finding: its place among the diagnosis' findings.
        file: a JPEG in the folder.
        id: of the example.
    """

    finding: int
    file: str
    id: str

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def illustrate(diagnosis: Diagnosis, source: DataSource, folder: Path, most: int) -> list[Illustration]:
    """Writes the pictures of at most `most` findings of each kind as JPEG.

    Args:
        source: is gone through once more, up to the last picture that is wanted.
        folder: is empty.
    """
    wanted = _wanted(diagnosis, most)
    made = []
    for example in _found(source, wanted):
        try:
            picture = opened(example.image)
        except (BadPicture, OSError):
            continue
        for index in wanted[example.id]:
            finding = diagnosis.findings[index]
            file = f"{index:05}-{finding.ids.index(example.id)}.jpg"
            write_file(folder / file, _drawn(picture, finding, example.id))
            made.append(Illustration(index, file, example.id))
    return sorted(made, key=lambda one: (one.finding, one.file))


def _wanted(diagnosis: Diagnosis, most: int) -> dict[str, list[int]]:
    """Example -> the findings that it is shown for."""
    shown: dict[str, int] = {}
    wanted: dict[str, list[int]] = {}
    for index, finding in enumerate(diagnosis.findings):
        if finding.ids and shown.setdefault(finding.kind, 0) < most:
            shown[finding.kind] += 1
            for identity in finding.ids[:TOGETHER]:
                wanted.setdefault(identity, []).append(index)
    return wanted


def _found(source: DataSource, wanted: Iterable[str]) -> Iterator[RawExample]:
    """The wanted examples; a source that cannot be read to its end gives those before."""
    missing = set(wanted)
    try:
        for example in source.examples() if missing else ():
            if example.id in missing:
                missing.remove(example.id)
                yield example
            if not missing:
                return
    except DataError:
        return


def _drawn(picture: Any, finding: Finding, identity: str) -> bytes:
    """JPEG of the picture, with the finding's boxes if they are this picture's."""
    small = picture.copy()
    small.thumbnail((LONGEST, LONGEST))
    boxes = finding.boxes if identity == finding.ids[0] else ()
    _draw_boxes(small, boxes, small.width / picture.width)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def _draw_boxes(picture: Any, boxes: Sequence[tuple[float, float, float, float]], scale: float) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    for box in boxes:
        x_min, y_min, x_max, y_max = (value * scale for value in box)
        left, right = _widened(x_min, x_max, picture.width)
        top, bottom = _widened(y_min, y_max, picture.height)
        draw.rectangle((left, top, right, bottom), outline=RIM, width=4)
        draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=WRONG, width=2)


def _widened(low: float, high: float, size: int) -> tuple[float, float]:
    """An extent with room to draw, within the picture."""
    low, high = sorted((low, high))
    spare = max(LEAST_DRAWN - (high - low), 0) / 2
    low = min(max(low - spare, 0), size - LEAST_DRAWN)
    return low, max(min(high + spare, size - 1), low + LEAST_DRAWN - 1)
