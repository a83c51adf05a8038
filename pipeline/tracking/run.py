"""What `convoy track` does: a video in, tracks out, scored where the truth is known."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError
from pipeline.files import require_writable
from pipeline.tracking import drawing, mot, scores
from pipeline.tracking.detector import FrameDetector
from pipeline.tracking.filling import filled
from pipeline.tracking.frames import Footage, Frame, Reader, footage_at
from pipeline.tracking.mot import Objects
from pipeline.tracking.outcome import Outcome, of_video, written
from pipeline.tracking.settings import TrackSettings
from pipeline.tracking.stored import StoredSequence, is_store
from pipeline.tracking.tracker import Detections, Tracked, Tracker

if TYPE_CHECKING:
    from pipeline.console import Progress

BATCH = 8
"""Frames that are shown to the model at once."""

Truth = Callable[[int, int, Sequence[str]], Mapping[int, Objects]]
"""Height and width of the frames and the model's classes -> frame number -> true objects."""


@dataclass(frozen=True)
class Asked:
    """What is to be tracked.

    Args:
        place: a video, a folder of frames, or a store.
        sequence: of a store.
        truth: a file of MOTChallenge's, or a store; a store that is tracked knows its own.
        draw: where the frames are drawn to; nowhere where None.
        rate: frames a second of what is drawn; the video's own where None.
    """

    place: Path
    sequence: str | None = None
    truth: Path | None = None
    draw: Path | None = None
    rate: float | None = None


@dataclass
class Followed:
    """What came out of a video.

    Args:
        tracks: frame number -> the tracks that were seen in it; a broken frame is left out.
        seconds: spent by the detector and by the tracker.
    """

    tracks: dict[int, Tracked] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"detector": 0.0, "tracker": 0.0})

    def lengths(self) -> Counter[int]:
        """Track -> how many frames it was seen in."""
        return Counter(track for one in self.tracks.values() for track in one.ids.tolist())

    def classes(self) -> dict[int, int]:
        """Track -> the class that it had last."""
        last: dict[int, int] = {}
        for number in sorted(self.tracks):
            last.update(zip(self.tracks[number].ids.tolist(), self.tracks[number].classes.tolist(), strict=True))
        return last


def track(detector: FrameDetector, asked: Asked, settings: TrackSettings, output: Path, progress: Progress) -> Outcome:
    """Tracks a video and writes `tracks.csv` and `summary.json` to `output`, and the drawn frames where asked for.

    Raises:
        DataError: there is no video, no frame of it can be read, or the truth cannot be read.
        ConfigError: the frames cannot be drawn as asked, a score contradicts the model's own threshold, or a sequence
            is asked for of what has none.
        ConvoyError: a package is missing.
        StorageError: the results cannot be written.
    """
    require_writable(output)
    settings.thresholds(detector.threshold)  # or what contradicts them would be said when the video is open
    _check(asked)
    footage = _footage(asked)
    drawing.check(asked.draw, asked.rate, asked.place, footage)
    truth = _truth(asked, footage)
    if truth:
        scores.imported_motmetrics()  # or it would be missed when all is done
    reader = Reader(footage)
    followed = _followed(detector, reader, settings, progress)
    reader.require_some(asked.place)
    _draw(asked, followed, detector.class_names)
    found = _scores(truth, followed, reader, detector) if truth else None
    document = _document(asked, settings, reader, followed, detector) | {"scores": found}
    return written(output, followed.tracks, document, asked.draw, reader)


def follow(
    frames: Iterable[Frame], detector: FrameDetector, tracker: Tracker, seen: Callable[[Frame, Tracked], None]
) -> Followed:
    """Tracks frames, a few of them at once before the detector.

    Args:
        seen: told of every frame that is not broken, and its tracks.
    """
    followed = Followed()
    for batch in _batches(iter(frames)):
        began = time.perf_counter()
        found = _detected(detector, batch)
        followed.seconds["detector"] += time.perf_counter() - began
        for frame in batch:
            began = time.perf_counter()
            tracked = tracker.update(found[frame.number], frame.pixels) if frame.number in found else tracker.skip()
            followed.seconds["tracker"] += time.perf_counter() - began
            if frame.number in found:
                followed.tracks[frame.number] = tracked.seen
                seen(frame, tracked.seen)
    return followed


def _followed(detector: FrameDetector, reader: Reader, settings: TrackSettings, progress: Progress) -> Followed:
    def seen(frame: Frame, tracked: Tracked) -> None:
        progress(frame.number, reader.declared)

    followed = follow(reader, detector, Tracker(settings, detector.threshold), seen)
    followed.tracks = filled(followed.tracks, settings.fill_gaps)
    return followed


def _draw(asked: Asked, followed: Followed, class_names: Sequence[str]) -> None:
    """Frames are read again: what lies in a gap is known only after it."""
    if asked.draw is None:
        return
    reader = Reader(_footage(asked))
    with drawing.annotating(asked.draw, asked.rate, reader, class_names) as draw:
        for frame in reader:
            if frame.number in followed.tracks:
                draw(frame, followed.tracks[frame.number])


def _detected(detector: FrameDetector, batch: Sequence[Frame]) -> dict[int, Detections]:
    """Frame number -> what is in it, for those that are not broken."""
    readable = [(frame.number, frame.pixels) for frame in batch if frame.pixels is not None]
    found = detector([pixels for _, pixels in readable]) if readable else []
    return dict(zip((number for number, _ in readable), found, strict=True))


def _batches(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    while batch := list(islice(frames, BATCH)):
        yield batch


# ------------------------------------------------------------------------------------------------- what is asked


def _check(asked: Asked) -> None:
    if asked.sequence and not any(is_store(place) for place in (asked.place, asked.truth) if place):
        raise ConfigError(
            f"--sequence {asked.sequence} is of prepared data, but neither {asked.place} nor --truth holds any. "
            "Leave it out."
        )


def _footage(asked: Asked) -> Footage:
    return StoredSequence.open(asked.place, asked.sequence) if is_store(asked.place) else footage_at(asked.place)


def _truth(asked: Asked, footage: Footage) -> Truth | None:
    """Reads the truth before anything is tracked, since it may be wrong."""
    if asked.truth is None:
        return footage.truth if isinstance(footage, StoredSequence) and footage.has_tracks else None
    if is_store(asked.truth):
        return StoredSequence.open(asked.truth, asked.sequence).truth
    known = mot.read(asked.truth)
    return lambda height, width, class_names: known


# ------------------------------------------------------------------------------------------------- what is told


def _scores(truth: Truth, followed: Followed, reader: Reader, detector: FrameDetector) -> dict[str, Any]:
    """Frames that are broken count as those in which nothing was found; the truth beyond the video's end does not."""
    known = truth(*reader.size, detector.class_names)
    tracked = {number: Objects.of(one) for number, one in followed.tracks.items()}
    beyond = sum(number > reader.count for number in known)
    found = scores.scores(known, tracked, range(1, reader.count + 1))
    return {**found, "true_frames_beyond_the_end": beyond}


def _document(
    asked: Asked, settings: TrackSettings, reader: Reader, followed: Followed, detector: FrameDetector
) -> dict[str, Any]:
    lengths = followed.lengths()
    names = Counter(_name(detector.class_names, kind) for kind in followed.classes().values())
    return {
        **of_video(asked.place, reader),
        "sequence": asked.sequence,
        "tracks": {
            "count": len(lengths),
            "classes": dict(names.most_common()),
            "mean_frames": float(np.mean(list(lengths.values()))) if lengths else 0.0,
            "boxes": sum(lengths.values()),
        },
        "seconds": {name: round(spent, 3) for name, spent in followed.seconds.items()},
        "settings": settings.model_dump(mode="json"),
        "thresholds": {
            f"{name}_score": score for name, score in settings.thresholds(detector.threshold)._asdict().items()
        },
    }


def _name(class_names: Sequence[str], number: int) -> str:
    return class_names[number] if number < len(class_names) else str(number)
