"""Frames with their tracks drawn on, and what they are written to: a folder of pictures, a GIF, a video file."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import drawing
from pipeline.errors import ConfigError
from pipeline.files import new_file, write_file
from pipeline.locations import resolved
from pipeline.tracking.frames import Footage, Frame, Reader, imported_av
from pipeline.tracking.tracker import Tracked

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4")
USUAL_RATE = 10.0
"""Frames a second where nothing says it."""
JPEG_QUALITY = 90


def annotated(pixels: np.ndarray, tracked: Tracked, class_names: Sequence[str]) -> np.ndarray:
    """A frame, uint8 [h,w,3], with the box, the id and the class of every track; a track keeps its colour."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(pixels)
    draw, names = ImageDraw.Draw(picture), drawing.Names(class_names)
    line, letters = max(1, picture.height // 240), drawing.font(max(9, picture.height // 40))
    boxes = np.clip(tracked.boxes, 0, np.tile((picture.width - 1, picture.height - 1), 2))
    for track, kind, box in zip(tracked.ids.tolist(), tracked.classes.tolist(), boxes.tolist(), strict=True):
        colour = drawing.COLOURS[track % len(drawing.COLOURS)]
        draw.rectangle(box, outline=colour, width=line)
        name, top = f"{track} {names.of_class(kind)}", max(0.0, box[1] - letters.size - 4)
        draw.rectangle(draw.textbbox((box[0] + 1, top), name, font=letters), fill=(32, 32, 32))
        draw.text((box[0] + 1, top), name, fill=colour, font=letters)
    return np.asarray(picture)


class Sink(ABC):
    """Takes frames in order."""

    @abstractmethod
    def write(self, number: int, pixels: np.ndarray) -> None:
        """Takes the next frame, uint8 [h,w,3]; all have one size."""


def check(place: Path | None, rate: float | None, video: Path, footage: Footage) -> None:
    """Whether the frames of a video can be drawn as asked.

    Args:
        place, rate: see `annotating`.
        video: where the footage is.

    Raises:
        ConfigError: frames are read from that place, nothing can be written to it, or a rate is given that counts for
            nothing there.
        ConvoyError: PyAV is missing for it.
    """
    if place is not None:
        _check_place(place, video, footage)
    if rate is None:
        return
    if place is None:
        raise ConfigError("--rate says how fast what is drawn is shown, but nothing is drawn. Give --draw too.")
    if not place.suffix:
        raise ConfigError(
            f"--rate is of a .gif or a video, but --draw {place} is a folder of pictures, which has none. Leave one of "
            "them out."
        )


def _check_place(place: Path, video: Path, footage: Footage) -> None:
    read = {resolved(one) for one in (video, *footage.places)}
    if {resolved(place), resolved(place / picture_name(1))} & read:
        raise ConfigError(f"--draw {place} would write over the frames that are read. Give another place.")
    if place.suffix.lower() in VIDEOS:
        imported_av()
    elif place.suffix and place.suffix.lower() != ".gif":
        raise ConfigError(
            f"--draw {place}: frames cannot be written as {place.suffix}. Give a folder, a .gif, or a video "
            f"({', '.join(VIDEOS)})."
        )


def picture_name(number: int) -> str:
    """What a frame is called in a folder of drawn ones."""
    return f"{number:06}.jpg"


@contextmanager
def drawn_to(place: Path, rate: float | None) -> Iterator[Sink]:
    """What writes to a place: a file whole or not at all.

    Args:
        place: a video file, a `.gif`, or a folder.
        rate: frames a second of the result.

    Raises:
        StorageError: it cannot be written.
    """
    suffix = place.suffix.lower()
    if suffix in VIDEOS:
        with new_file(place) as file, _video(file, rate or USUAL_RATE) as sink:
            yield sink
    elif suffix == ".gif":
        with new_file(place) as file:
            gif = _Gif()
            yield gif
            gif.save(file, rate or USUAL_RATE)
    else:
        yield _Pictures(place)


@contextmanager
def annotating(
    place: Path | None, rate: float | None, reader: Reader, class_names: Sequence[str]
) -> Iterator[Callable[[Frame, Tracked], None]]:
    """What draws each frame with its tracks to a place; nothing where there is no place or no picture.

    Args:
        place, rate: see `drawn_to`; without a rate, the video's own.
    """
    with ExitStack() as stack:
        sink: Sink | None = None

        def seen(frame: Frame, tracked: Tracked) -> None:
            nonlocal sink
            if place and frame.pixels is not None:
                # Not before the first frame: only then is it known how many there are in a second.
                sink = sink or stack.enter_context(drawn_to(place, rate or reader.rate))
                sink.write(frame.number, annotated(frame.pixels, tracked, class_names))

        yield seen


class _Pictures(Sink):
    """Files beside those that the folder holds already."""

    def __init__(self, folder: Path):
        self._folder = folder

    def write(self, number: int, pixels: np.ndarray) -> None:
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
        write_file(self._folder / picture_name(number), stream.getvalue())


class _Gif(Sink):
    """Kept in 256 colours until the end, since Pillow writes all frames at once."""

    def __init__(self) -> None:
        self._frames: list[Any] = []

    def write(self, number: int, pixels: np.ndarray) -> None:
        from PIL import Image

        self._frames.append(Image.fromarray(pixels).quantize(256))

    def save(self, file: Path, rate: float) -> None:
        """Writes what was taken; nothing where there is no frame."""
        if self._frames:
            first, *others = self._frames
            first.save(file, save_all=True, append_images=others, duration=round(1000 / rate), loop=0)


@contextmanager
def _video(file: Path, rate: float) -> Iterator[Sink]:
    with imported_av().open(str(file), "w") as container:
        sink = _Video(container, Fraction(rate).limit_denominator(1001))
        yield sink
        sink.finish()


class _Video(Sink):
    """H.264 in the format that the file's suffix says."""

    def __init__(self, container: Any, rate: Fraction):
        self._container, self._rate = container, rate
        self._stream: Any = None

    def write(self, number: int, pixels: np.ndarray) -> None:
        from av import VideoFrame

        even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]  # as half the colours need it
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            self._stream.height, self._stream.width = even.shape[:2]
            self._stream.pix_fmt = "yuv420p"
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Writes what the encoder still holds."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
