"""Frames of anything that moves: folders of pictures, animated pictures, video files, sequences of prepared data.

What is wrong with it is named and counted, and the rest is read: a broken frame, another size, an end before the end.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.data.pictures import BadPicture, picture_to_send
from pipeline.data.sources.base import is_picture, natural_order
from pipeline.errors import ConvoyError, DataError
from pipeline.locations import resolved

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MOT_FRAMES = "img1"
"""The folder in which MOTChallenge keeps a sequence's pictures."""
FRAMES_OFF = 0.02
"""Share by which the number of frames that a file declares is not exact, where it follows from its duration."""

COUNTED = ("PNG", "WEBP")
"""Animated pictures that say at their beginning how many frames they have; a GIF ends with a byte instead."""
GIF_END = b";"

UNREADABLE = "no video that can be read: it is of another kind, or was cut off before what describes it was written"


@dataclass(frozen=True)
class Frame:
    """One frame.

    Args:
        number: from 1.
        name: its file, where it has one of its own, else empty.
        pixels: uint8 [h,w,3] RGB, upright; None where the frame is broken.
        problem: what is wrong with it; else empty.
    """

    number: int
    name: str
    pixels: np.ndarray | None
    problem: str = ""


class Footage(ABC):
    """What holds frames.

    Attributes:
        rate: frames a second; None where nothing says it.
        declared: about how many frames there should be; None where nothing says it.
        cut_off: whether it ended, once all frames were read, without what stands at an end.
        places: files that frames are read from, and folders whose pictures are frames: nothing may be written there.
    """

    rate: float | None = None
    declared: int | None = None
    cut_off: bool = False
    places: tuple[Path, ...] = ()

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """All of them in order, those that are broken included.

        Raises:
            DataError: it is nothing that frames could be read from.
        """


def footage_at(place: Path) -> Footage:
    """A folder of pictures, an animated picture (GIF, WebP, PNG) or a video file, also in a bucket.

    Raises:
        DataError: there is nothing, or a folder without pictures.
    """
    if place.is_dir():
        return PictureFolder(place)
    if not place.exists():
        raise DataError(f"There is no {place}. Give a video file, an animated picture, or a folder of pictures.")
    return AnimatedPicture(place) if is_picture(place) else VideoFile(place)


class PictureFolder(Footage):
    """The pictures in a folder (or in the `img1` within), by their names, `2` before `10`.

    Args:
        folder: of them; not of the folders within.

    Raises:
        DataError: it holds no pictures.
    """

    def __init__(self, folder: Path):
        self._files = _pictures_in(folder) or _pictures_in(folder / MOT_FRAMES)
        if not self._files:
            raise DataError(f"The folder {folder} holds no pictures. Give the folder that holds the frames themselves.")
        self.declared = len(self._files)
        links = {one for file in self._files for one in (file, resolved(file))}
        self.places = (folder, *links, *{one.parent for one in links})

    def frames(self) -> Iterator[Frame]:
        for number, file in enumerate(self._files, 1):
            try:
                yield Frame(number, file.name, pixels_of(file.read_bytes()))
            except (BadPicture, OSError) as error:
                yield Frame(number, file.name, None, str(error))


class AnimatedPicture(Footage):
    """A GIF, WebP or PNG of several frames.

    Args:
        file: of it.
    """

    def __init__(self, file: Path):
        self._file, self.places = file, (file,)

    def frames(self) -> Iterator[Frame]:
        from PIL import Image

        content = io.BytesIO(self._file.read_bytes())
        try:
            opened = Image.open(content)
        except Exception as error:  # Pillow's plug-ins raise whatever their parsers meet
            raise DataError(f"{self._file} cannot be read: {error}") from error
        milliseconds = opened.info.get("duration")
        self.rate = 1000 / milliseconds if milliseconds else None
        self.declared = opened.n_frames if opened.format in COUNTED else None
        number = 0
        while _has_frame(opened, number):
            number += 1
            try:
                yield Frame(number, "", np.asarray(opened.convert("RGB")))
            except Exception as error:  # as above
                yield Frame(number, "", None, str(error) or type(error).__name__)
        self.cut_off = opened.format == "GIF" and content.getvalue()[: content.tell()][-1:] != GIF_END


class VideoFile(Footage):
    """A video in any format that FFmpeg reads, by PyAV.

    Args:
        file: of it.
    """

    def __init__(self, file: Path):
        self._file, self.places = file, (file,)

    def frames(self) -> Iterator[Frame]:
        with self._file.open("rb") as file, self._opened(file) as container:
            stream = container.streams.video[0]
            self.rate = float(stream.average_rate) if stream.average_rate else None
            self.declared = _declared(container, stream)
            yield from _decoded(container, stream)

    @contextmanager
    def _opened(self, file: Any) -> Iterator[InputContainer]:
        av = imported_av()
        try:
            container = av.open(file)
        except av.FFmpegError as error:
            raise DataError(f"{self._file} is {UNREADABLE} ({error.strerror}).") from error
        with container:
            # A stream without a codec would take the whole process with it when it is decoded (PyAV issue 2344).
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise DataError(f"{self._file} is {UNREADABLE} (it says of no frames).")
            yield container


def imported_av() -> Any:
    """PyAV; ConvoyError where it is not there."""
    try:
        import av
    except ImportError as error:
        raise ConvoyError(f"{error}. Video files need: pip install 'convoy[video]'") from error
    return av


def pixels_of(data: bytes) -> np.ndarray:
    """uint8 [h,w,3] of an encoded picture in any format, upright; BadPicture where it cannot be decoded."""
    from PIL import Image

    stored = picture_to_send(data)
    try:
        return np.asarray(Image.open(io.BytesIO(stored.data)).convert("RGB"))
    except Exception as error:  # Pillow's plug-ins raise whatever their parsers meet
        raise BadPicture(str(error) or type(error).__name__) from error


def _pictures_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (file for file in folder.iterdir() if is_picture(file) and not file.name.startswith(".") and file.is_file())
    return sorted(found, key=lambda file: natural_order(file.name))


def _has_frame(opened: Any, number: int) -> bool:
    """Goes to a frame of an animated picture; past its end, or where the rest is damaged, there is none."""
    try:
        opened.seek(number)
    except Exception:  # as in AnimatedPicture
        return False
    return True


def _declared(container: InputContainer, stream: VideoStream) -> int | None:
    """The frames that the file says it has, or that its duration would take; a little fewer, as that is rounded."""
    if stream.frames:
        return stream.frames
    if not container.duration or not stream.average_rate:
        return None
    return int(container.duration / 1_000_000 * float(stream.average_rate) * (1 - FRAMES_OFF))


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[Frame]:
    av, number = imported_av(), 0
    packets = container.demux(stream)
    while True:
        try:
            decoded = next(packets).decode()
        except StopIteration:
            return
        except av.FFmpegError as error:
            number += 1
            yield Frame(number, "", None, str(error.strerror))
            continue
        for frame in decoded:
            number += 1
            problem = "it was decoded with errors" if frame.is_corrupt else ""
            yield Frame(number, "", _upright(frame), problem)


def _upright(frame: VideoFrame) -> np.ndarray:
    """uint8 [h,w,3], turned as the file says that it is to be shown."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


# ------------------------------------------------------------------------------------------------- what is wrong


Kind = Literal["broken", "damaged", "resized", "ends_early"]


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with footage.

    Args:
        kind: `broken`: a frame that cannot be read; `damaged`: one with errors in it; `resized`: one of another size;
            `ends_early`: frames are missing at the end.
        frame: its number, from 1.
        name: of its file, or empty.
        reason: in words.
    """

    kind: Kind
    frame: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"frame {self.frame}{f' ({self.name})' if self.name else ''}: {self.reason}"


class Reader:
    """Goes through footage once, and keeps count.

    Args:
        footage: to be read.

    Attributes:
        problems: found so far.
        count: frames so far, broken ones included.
        size: (height, width) of the first frame that is not broken; (0, 0) before it.
    """

    def __init__(self, footage: Footage):
        self._footage = footage
        self.problems: list[Problem] = []
        self.count = 0
        self.size = (0, 0)

    @property
    def rate(self) -> float | None:
        """Frames a second, once the first has been read; None where nothing says it."""
        return self._footage.rate

    @property
    def declared(self) -> int | None:
        """About how many frames there should be; None where nothing says it."""
        return self._footage.declared

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._footage.frames():
            self.count = frame.number
            yield self._checked(frame)
        end, missing = Frame(self.count + 1, "", None), (self._footage.declared or 0) - self.count
        if missing > 0:
            self._tell("ends_early", end, f"the file ends here, though it says that it has {missing} more")
        elif self._footage.cut_off:
            self._tell("ends_early", end, "the file was cut off here")

    def _tell(self, kind: Kind, frame: Frame, reason: str) -> None:
        self.problems.append(Problem(kind, frame.number, frame.name, reason))

    def _checked(self, frame: Frame) -> Frame:
        """The frame at the size of the first one: streams change it as the network allows, and show the same."""
        if frame.problem:
            self._tell("broken" if frame.pixels is None else "damaged", frame, frame.problem)
        if frame.pixels is None:
            return frame
        height, width = frame.pixels.shape[:2]
        self.size = self.size if self.size[0] else (height, width)
        if (height, width) == self.size:
            return frame
        first = f"{self.size[1]} x {self.size[0]}"
        self._tell("resized", frame, f"it has {width} x {height} pixels, the first frame {first}")
        return replace(frame, pixels=_resized(frame.pixels, self.size))

    def require_some(self, place: Path) -> None:
        """Raises DataError where no frame at all could be read."""
        if not self.size[0]:
            reasons = "; ".join(str(problem) for problem in self.problems[:3])
            raise DataError(f"{place} holds no frame that can be read{f' ({reasons})' if reasons else ''}.")


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))
