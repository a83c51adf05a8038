"""What following one object does: a video and a box in, its way out, scored where the truth is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data import followed_boxes
from pipeline.errors import ConfigError
from pipeline.files import require_writable
from pipeline.tracking import drawing, single_scores
from pipeline.tracking.follower import Followed, Follower, FollowSettings, SiameseNetwork
from pipeline.tracking.frames import Frame, Reader, footage_at
from pipeline.tracking.outcome import Outcome, of_video, written
from pipeline.tracking.tracker import CONFIRMED, Tracked

if TYPE_CHECKING:
    from pipeline.console import Progress

CURVES = "curves"
NAMES = ("object",)
"""What a drawn box is called."""
Seen = Callable[[Frame, Followed], None]
Start = Callable[[int], np.ndarray]
"""Number of the first frame that can be read -> the object's corners [4] in it, in pixels."""


@dataclass(frozen=True)
class Asked:
    """What is to be followed.

    Args:
        place: a video, or a folder of frames.
        box: left, top, width, height of the object in the first frame that can be read, in pixels; where None, the
            truth's of that frame.
        truth: a file of boxes, see `pipeline.data.followed_boxes`.
        draw: where the frames are drawn to; nowhere where None.
        rate: frames a second of what is drawn; the video's own where None.
    """

    place: Path
    box: tuple[float, float, float, float] | None = None
    truth: Path | None = None
    draw: Path | None = None
    rate: float | None = None


@dataclass
class Way:
    """Where the object was.

    Args:
        frames: number -> the object in that frame.
        seconds: that following took, without reading and drawing.
    """

    frames: dict[int, Followed] = field(default_factory=dict)
    seconds: float = 0.0

    def boxes(self, count: int) -> np.ndarray:
        """float64 [count,4], NaN where the object was lost or the frame could not be read."""
        found = np.full((count, 4), np.nan)
        for number, one in self.frames.items():
            if not one.lost:
                found[number - 1] = one.box
        return found


def follow(
    network: SiameseNetwork, asked: Asked, settings: FollowSettings, output: Path, progress: Progress
) -> Outcome:
    """Follows an object and writes `tracks.csv` and `summary.json` to `output`, and the drawn frames where asked for.

    Raises:
        DataError: there is no video, no frame of it can be read, or the truth cannot be read.
        ConfigError: no box is given, it is not within the frame, or the frames cannot be drawn as asked.
        StorageError: the results cannot be written.
    """
    require_writable(output)
    footage = footage_at(asked.place)
    drawing.check(asked.draw, asked.rate, asked.place, footage)
    truth = followed_boxes.read(asked.truth) if asked.truth else None
    reader, start = Reader(footage), _start(asked, truth)
    way = _followed_and_drawn(network, reader, asked, settings, start, progress)
    reader.require_some(asked.place)
    judged = _judged(truth, way, reader.count) if truth is not None else None
    document = _document(asked, settings, network, reader, way) | _as_json(judged)
    seen = {number: _as_track(one) for number, one in way.frames.items() if not one.lost}
    figures = {CURVES: judged.curves.drawn()} if judged and judged.curves else {}
    return written(output, seen, document, asked.draw, reader, figures)


def way_of(
    network: SiameseNetwork,
    frames: Iterable[Frame],
    settings: FollowSettings,
    start: Start,
    seen: Seen = lambda frame, followed: None,
) -> Way:
    """Follows an object through frames.

    Args:
        start: says where the object is in the first frame that can be read.
        seen: told of every frame that can be read.

    Raises:
        ConfigError: the box is not within that frame.
    """
    way, follower = Way(), None
    for frame in frames:
        began = time.perf_counter()
        if follower is None:
            if frame.pixels is None:
                continue
            box = start(frame.number)
            follower = _begun(network, settings, frame.pixels, box)
            followed = Followed(box, 1.0, lost=False)
        else:
            followed = follower.skip() if frame.pixels is None else follower.update(frame.pixels)
        way.seconds += time.perf_counter() - began
        way.frames[frame.number] = followed
        if frame.pixels is not None:
            seen(frame, followed)
    return way


def _begun(network: SiameseNetwork, settings: FollowSettings, pixels: np.ndarray, box: np.ndarray) -> Follower:
    try:
        return Follower(network, settings, pixels, box)
    except ValueError as error:
        raise ConfigError(f"The object cannot be followed: {error}. Give left,top,width,height in pixels.") from error


def _start(asked: Asked, truth: np.ndarray | None) -> Start:
    """Where the object is said to be: as asked, or in the truth of that very frame."""
    if asked.box is not None:
        left, top, width, height = asked.box
        return lambda number: np.array([left, top, left + width, top + height])
    if truth is None:
        raise ConfigError(
            "Nothing says which object is to be followed. Give its box in the first frame, left,top,width,height in "
            "pixels, or a file of true boxes."
        )
    return partial(_of_truth, truth)


def _of_truth(truth: np.ndarray, number: int) -> np.ndarray:
    if number > len(truth) or np.isnan(truth[number - 1]).any():
        raise ConfigError(
            f"Nothing says which object is to be followed: the true boxes have none in frame {number}, the first that "
            "can be read. Give the object's box in that frame, left,top,width,height in pixels."
        )
    return np.asarray(truth[number - 1])


def _followed_and_drawn(
    network: SiameseNetwork,
    reader: Reader,
    asked: Asked,
    settings: FollowSettings,
    start: Start,
    progress: Progress,
) -> Way:
    with drawing.annotating(asked.draw, asked.rate, reader, NAMES) as draw:

        def seen(frame: Frame, followed: Followed) -> None:
            progress(frame.number, reader.declared)
            draw(frame, _as_track(followed))

        return way_of(network, reader, settings, start, seen)


def _as_track(followed: Followed) -> Tracked:
    """As one of many tracks; none while the object is lost."""
    count = 0 if followed.lost else 1
    return Tracked(
        np.ones(count, np.int64),
        followed.box[np.newaxis][:count],
        np.zeros(count, np.int64),
        np.full(count, followed.score),
        np.full(count, CONFIRMED, np.int8),
    )


@dataclass(frozen=True)
class Judged:
    """How well the object was followed; curves where there is anything to draw them of."""

    scores: dict[str, Any]
    curves: single_scores.Curves | None


def _judged(truth: np.ndarray, way: Way, count: int) -> Judged:
    """By the frames that both know of, from the one on in which following began."""
    known, start = min(len(truth), count), min(way.frames)
    both = truth[:known], way.boxes(count)[:known]
    return Judged(single_scores.scores(*both, start), single_scores.curves_of(*both, start))


def _as_json(judged: Judged | None) -> dict[str, Any]:
    curves = judged.curves.as_json() if judged and judged.curves else None
    return {"scores": judged.scores if judged else None, "curves": curves}


def _document(
    asked: Asked, settings: FollowSettings, network: SiameseNetwork, reader: Reader, way: Way
) -> dict[str, Any]:
    lost: Sequence[int] = [number for number, one in way.frames.items() if one.lost]
    return {
        **of_video(asked.place, reader),
        "lost": {"frames": len(lost), "first": lost[0] if lost else None},
        "seconds": {"following": round(way.seconds, 3)},
        "settings": settings.model_dump(mode="json"),
        "thresholds": {"least_score": settings.least(network.threshold)},
    }
