"""What a verb that goes through a video tells and writes, whether it tracks many objects or follows one."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipeline.data.sources.base import shortened
from pipeline.errors import DataError
from pipeline.files import write_file
from pipeline.tracking import mot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.tracking.frames import Problem, Reader
    from pipeline.tracking.tracker import Tracked

TRACKS, SUMMARY = "tracks.csv", "summary.json"
DPI = 150
"""Of figures."""
TOLERATED = ("resized", "damaged")
"""Problems of frames that were used all the same."""


@dataclass(frozen=True)
class Outcome:
    """What is told.

    Args:
        document: plain JSON values.
        problems: of the video.
    """

    document: dict[str, Any]
    problems: Sequence[Problem]

    def require_whole(self) -> None:
        """Raises DataError where frames could not be read, after all others have been tracked."""
        missing = [str(problem) for problem in self.problems if problem.kind not in TOLERATED]
        if missing:
            raise DataError(
                f"{self.document['video']}: {shortened(missing)}. What could be read was tracked and written."
            )


def of_video(place: Path, reader: Reader) -> dict[str, Any]:
    """What is told of the video itself, once it is read."""
    height, width = reader.size
    return {
        "video": str(place),
        "frames": {"count": reader.count, "a_second": reader.rate, "width": width, "height": height},
        "problems": [{**vars(problem)} for problem in reader.problems],
    }


def written(
    output: Path,
    tracks: Mapping[int, Tracked],
    document: dict[str, Any],
    drawn: Path | None,
    reader: Reader,
    figures: Mapping[str, Figure] = MappingProxyType({}),
) -> Outcome:
    """Writes `tracks.csv` and `summary.json` to a folder, and tells where all files are.

    Args:
        figures: name -> what is written as a PNG of that name.

    Raises:
        StorageError: they cannot be written.
    """
    write_file(output / TRACKS, mot.as_text(tracks))
    files = {"tracks": str(output / TRACKS), "summary": str(output / SUMMARY)}
    for name, figure in figures.items():
        write_file(output / f"{name}.png", _as_png(figure))
        files[name] = str(output / f"{name}.png")
    document = document | {"files": files | ({"drawn": str(drawn)} if drawn else {})}
    write_file(output / SUMMARY, json.dumps(document, indent=2, allow_nan=False) + "\n")
    return Outcome(document, reader.problems)


def _as_png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()
