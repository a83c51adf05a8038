"""What is measured of each picture, and kept of all of them: about half a kilobyte a picture, whatever its size.

n = pictures, in the source's order.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.example import RawExample, content_of
from pipeline.data.pictures import BadPicture, stored_picture, why_unreadable

ORIENTATIONS = (
    "as it is",
    "mirrored",
    "mirrored top to bottom",
    "turned by 180°",
    "turned by 90° and mirrored",
    "turned by 90°",
    "turned by 270°",
    "turned by 270° and mirrored",
)
"""The eight ways to turn and mirror a picture, as `turned` numbers them."""
HASHED = 32
"""Side of the grey picture that is hashed, in pixels."""
THUMBNAIL = 16
"""Side of the grey picture by which candidates are compared, in pixels."""
DIGEST_BYTES = 8
COLOUR_SIDE = 256
"""Pixels of the longer side to which a picture is shrunk before its colours are measured."""


class Appearance(NamedTuple):
    """What a picture looks like, each 0..255; the names are those of the measures.

    Args:
        brightness, contrast: mean and standard deviation of the grey values.
        saturation: mean saturation (HSV): 0 for grey.
        sharpness: standard deviation of the grey values' Laplacian, which blur takes away first (the variance in J. L.
            Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000; it may exceed 255).
    """

    brightness: float
    contrast: float
    saturation: float
    sharpness: float


@dataclass(frozen=True)
class PictureFacts:
    """What is measured of one picture.

    Args:
        height, width: in pixels, upright.
        format: Pillow's name of the file's content, such as PNG; empty for pixels.
        file_digest, pixel_digest: of the encoded bytes; of size and RGB values.
        appearance: what it looks like.
        hashes: uint64 [8], perceptual hash of the picture in each of ORIENTATIONS.
        thumbnail: uint8 [16, 16], grey.
    """

    height: int
    width: int
    format: str
    file_digest: int
    pixel_digest: int
    appearance: Appearance
    hashes: np.ndarray
    thumbnail: np.ndarray


@dataclass
class Collected:
    """The facts of all n pictures; where one cannot be used, its size is 0. Arrays are made when all have been added.

    Args:
        ids, wheres: of the examples.
        answers: what is to be learned from each, as text; None where nothing is said.
        splits: int8, place in SPLITS, or UNNAMED.
    """

    ids: list[str] = field(default_factory=list)
    wheres: list[str] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    splits: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))
    _sizes: array[int] = field(default_factory=lambda: array("i"))
    _digests: array[int] = field(default_factory=lambda: array("Q"))
    _appearances: array[float] = field(default_factory=lambda: array("f"))
    _hashes: bytearray = field(default_factory=bytearray)
    _thumbnails: bytearray = field(default_factory=bytearray)

    def add(self, example: RawExample, facts: PictureFacts | None) -> None:
        """Takes the next picture; None where it cannot be used."""
        known = facts or UNUSABLE
        self.ids.append(example.id)
        self.wheres.append(example.where)
        self.answers.append(answer(example))
        self._sizes.extend((known.height, known.width))
        self._digests.extend((known.file_digest, known.pixel_digest))
        self._appearances.extend(known.appearance)
        self._hashes += known.hashes.tobytes()
        self._thumbnails += known.thumbnail.tobytes()

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def usable(self) -> np.ndarray:
        """bool [n]"""
        return self.sizes[:, 0] > 0

    @cached_property
    def sizes(self) -> np.ndarray:
        """int32 [n, 2]: height, width."""
        return np.array(self._sizes, np.int32).reshape(-1, 2)

    @cached_property
    def digests(self) -> np.ndarray:
        """uint64 [n, 2]: of the file, of the pixels."""
        return np.array(self._digests, np.uint64).reshape(-1, 2)

    @cached_property
    def appearances(self) -> dict[str, np.ndarray]:
        """The fields of Appearance -> float32 [n]."""
        rows = np.array(self._appearances, np.float32).reshape(-1, len(Appearance._fields))
        return dict(zip(Appearance._fields, rows.T, strict=True))

    @cached_property
    def hashes(self) -> np.ndarray:
        """uint64 [n, 8]"""
        return np.frombuffer(bytes(self._hashes), np.uint64).reshape(-1, len(ORIENTATIONS))

    @cached_property
    def thumbnails(self) -> np.ndarray:
        """uint8 [n, 16, 16]"""
        return np.frombuffer(bytes(self._thumbnails), np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)


UNUSABLE = PictureFacts(
    *(0, 0, "", 0, 0, Appearance(0.0, 0.0, 0.0, 0.0)),
    np.zeros(len(ORIENTATIONS), np.uint64),
    np.zeros((THUMBNAIL, THUMBNAIL), np.uint8),
)


def measure(image: Any) -> PictureFacts | BadPicture:
    """The facts of an example's `image`, or why it cannot be used: the reason `prepare` would give."""
    try:
        return _measured(content_of(image))
    except (BadPicture, OSError) as error:
        return BadPicture(why_unreadable(error))


def opened(image: Any) -> Any:
    """An example's `image` as Convoy stores it: an upright Pillow picture of 8 bits, RGB.

    Raises:
        BadPicture: it cannot be used.
        OSError: its file cannot be read.
    """
    from PIL import Image

    stored = stored_picture(content_of(image))
    try:
        return Image.open(io.BytesIO(stored.data)).convert("RGB")
    except Exception as error:  # Pillow's plug-ins raise whatever their parsers meet
        raise BadPicture(str(error) or type(error).__name__) from error


def _measured(data: bytes | np.ndarray) -> PictureFacts:
    from PIL import Image

    picture = opened(data)
    pixels = picture.tobytes()
    grey = picture.convert("L")
    small = grey.resize((HASHED, HASHED), Image.Resampling.BOX)
    thumbnail = np.asarray(small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return PictureFacts(
        height=picture.height,
        width=picture.width,
        format="" if isinstance(data, np.ndarray) else str(Image.open(io.BytesIO(data)).format),
        file_digest=_digest(data.tobytes() if isinstance(data, np.ndarray) else data),
        pixel_digest=_digest(pixels, picture.size),
        appearance=appearance(picture, np.asarray(grey)),
        hashes=_perceptual_hashes(small),
        thumbnail=thumbnail,
    )


def appearance(picture: Any, grey: np.ndarray) -> Appearance:
    """What a picture looks like.

    Args:
        picture: of Pillow, mode RGB.
        grey: its grey values, uint8 [height, width].
    """
    import cv2

    colours = picture.reduce(-(-max(picture.size) // COLOUR_SIDE))
    return Appearance(
        brightness=float(grey.mean()),
        contrast=float(grey.std()),
        saturation=float(np.asarray(colours.convert("HSV"))[..., 1].mean()),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).std()),
    )


def _digest(data: bytes, size: tuple[int, int] = (0, 0)) -> int:
    """64 bits: of a million files two share one by chance with a probability of 3 in 10^8."""
    return int.from_bytes(hashlib.blake2b(data + str(size).encode(), digest_size=DIGEST_BYTES).digest())


def _perceptual_hashes(grey: Any) -> np.ndarray:
    """uint64 [8]: signs of the 64 lowest frequencies (a DCT hash) in every orientation.

    C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.
    """
    import imagehash
    from PIL import Image

    values = np.asarray(grey)
    ways = [Image.fromarray(turned(values, way)) for way in range(len(ORIENTATIONS))]
    bits = np.stack([imagehash.phash(one).hash.ravel() for one in ways])
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def turned(values: np.ndarray, way: int) -> np.ndarray:
    """A picture [..., h, w] in one of ORIENTATIONS."""
    first = np.swapaxes(values, -1, -2) if way & 4 else values
    mirrored = first[..., ::-1] if way & 1 else first
    return np.ascontiguousarray(mirrored[..., ::-1, :] if way & 2 else mirrored)


def answer(example: RawExample) -> str | None:
    """What is to be learned from a picture, as text that is the same for the same answer; None where not known."""
    if example.label is not None:
        return example.label or None
    if example.labels is not None:
        return " | ".join(sorted(set(example.labels))) or "no label"
    if example.value is not None:
        return ", ".join(f"{number:g}" for number in example.value)
    if example.objects is not None:
        names = [one.label for one in example.usable_objects]
        return ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names))) or "no object"
    return None
