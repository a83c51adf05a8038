"""Pictures as they are stored: JPEG or PNG that TensorFlow decodes faithfully, upright, 8 bits, grey or RGB.

| what comes                                            | what is stored                                            |
|-------------------------------------------------------|-----------------------------------------------------------|
| JPEG, PNG: upright, at most 8 bits, grey or RGB(A)    | the same bytes                                            |
| turned or mirrored, as its EXIF or XMP says           | turned upright                                            |
| 9 to 16 bits (PNG, TIFF, PGM, JPEG 2000)              | the upper 8 of the declared bits; contrast stays          |
| CMYK, YCCK, YCbCr, Lab, palette outside PNG           | RGB by Pillow; colour profiles are not applied            |
| palette with transparency                             | RGB: the colours, without the transparency                |
| 1 bit outside PNG                                     | grey, 0 and 255                                           |
| GIF, animated WebP, TIFF of many pages                | the first frame                                           |
| WebP, BMP, TIFF, PPM, all else that Pillow reads     | PNG; JPEG where it was a JPEG or a lossy WebP             |
| empty, truncated, undecodable, floating point         | refused (`BadPicture`)                                    |

Transparency is ignored and not laid on a background, because TensorFlow, and with it the exported model, reads
a PNG with alpha: training must see what serving will see. A new JPEG has quality 95 and full colour resolution.
The one damage that is not seen is inside a JPEG's compressed pixels, where both decoders go on without an error.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.jpeg import START, whole_jpeg

JPEG_QUALITY = 95
PNG_COMPRESSION = 1  # zlib level: half the time of the usual 6 for a few per cent more bytes
ORIENTATION = 0x0112
TURNED = {5, 6, 7, 8}
"""Its values by which width and height change places."""
PNG_DEPTH = 24  # place of the bit depth: after 8 bytes of signature, 8 of chunk head, 8 of size
BITS_PER_SAMPLE = 258
KEPT_MODES = {"JPEG": {"L", "RGB"}, "MPO": {"L", "RGB"}, "PNG": {"1", "L", "LA", "P", "RGB", "RGBA"}}
"""Pillow's format -> modes that TensorFlow decodes as Pillow does. MPO is a JPEG with more pictures behind it."""
GREY_MODES = {"1", "L", "LA", "La"}
DEEP_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
DEEPEST = 2**16


class BadPicture(ValueError):
    """A picture that cannot be used; the message is the reason, to be shown beside the file's name."""


def why_unreadable(error: BadPicture | OSError) -> str:
    """The reason in words, to be shown beside the file's name."""
    if isinstance(error, FileNotFoundError):
        return f"the file {error.filename} does not exist"
    return f"the file cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


@dataclass(frozen=True)
class StoredPicture:
    """A picture as it is stored.

    Args:
        data: JPEG or PNG bytes.
        height, width: in pixels.
        channels: 1 for grey, 3 for colour.
        change: `kept` (the same bytes), `encoded` (it came as pixels), or why it was normalised.
    """

    data: bytes
    height: int
    width: int
    channels: int
    change: str

    @property
    def is_jpeg(self) -> bool:
        """Whether the data is a JPEG; else it is a PNG."""
        return self.data.startswith(START)


def normalise_picture(picture: bytes | np.ndarray) -> tuple[bytes, int, int]:
    """(JPEG or PNG bytes, height, width) of a picture in any format; see `stored_picture`."""
    stored = stored_picture(picture)
    return stored.data, stored.height, stored.width


def stored_picture(picture: bytes | np.ndarray) -> StoredPicture:
    """What to store for a picture, by the table above.

    Args:
        picture: a whole encoded file, or uint8 pixels [H, W], [H, W, 1] or [H, W, 3].

    Raises:
        BadPicture: it is empty, truncated, undecodable or of a kind without a fixed range.
    """
    return _normalised(picture, _decoded_size)


def picture_to_send(picture: bytes | np.ndarray) -> StoredPicture:
    """As `stored_picture`, without TensorFlow: what is kept as it is has only its head looked at, since the server that
    it is sent to decodes it."""
    return _normalised(picture, _declared_size)


def _normalised(picture: bytes | np.ndarray, size_of: Callable[[bytes], tuple[int, int]]) -> StoredPicture:
    """`size_of` gives height and width of an encoded picture that is kept, or refuses it."""
    if isinstance(picture, np.ndarray):
        return _from_pixels(picture)
    if not picture:
        raise BadPicture("the file is empty")
    jpeg = whole_jpeg(picture)
    if jpeg and not jpeg.may_be_turned:
        return StoredPicture(picture, jpeg.height, jpeg.width, jpeg.channels, "kept")
    opened = _opened(picture)
    why = _why_not_kept(opened, picture)
    if why is None:
        height, width = (jpeg.height, jpeg.width) if jpeg else size_of(picture)
        return StoredPicture(picture, height, width, 1 if opened.mode in GREY_MODES else 3, "kept")
    return _encoded(_upright(opened, picture), _was_lossy(opened.format, picture), why)


def _declared_size(data: bytes) -> tuple[int, int]:
    picture = _opened(data)
    return picture.height, picture.width


def _from_pixels(pixels: np.ndarray) -> StoredPicture:
    from PIL import Image

    squeezed = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    colours = squeezed.ndim == 3 and squeezed.shape[-1] == 3
    if squeezed.dtype != np.uint8 or squeezed.size == 0 or not (squeezed.ndim == 2 or colours):
        raise BadPicture(
            f"pixels are {pixels.dtype} {list(pixels.shape)}, expected uint8 [H, W], [H, W, 1] or [H, W, 3]"
        )
    return _encoded(Image.fromarray(squeezed), False, "encoded")


def encoded_picture(pixels: np.ndarray, lossy: bool, change: str) -> StoredPicture:
    """uint8 [H, W, 1] or [H, W, 3] as a JPEG if it is to be lossy, else a PNG."""
    from PIL import Image

    return _encoded(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), lossy, change)


def marked_picture(pixels: np.ndarray, missing: np.ndarray, change: str) -> StoredPicture:
    """uint8 [H, W, 1] or [H, W, 3] as a PNG that is transparent where pixels are missing, bool [H, W]."""
    known = np.where(missing, np.uint8(0), np.uint8(255))
    return replace(encoded_picture(np.dstack([pixels, known]), False, change), channels=pixels.shape[-1])


def opened_upright(data: bytes) -> Any:
    """A Pillow picture, decoded and upright, in the mode that it came in; BadPicture where that fails."""
    from PIL import ImageOps

    picture = _opened(data)
    try:
        picture.load()
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # as in _opened
        raise BadPicture(str(error) or type(error).__name__) from error


def upright_size(file: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown; only the head of its file is read.

    Raises:
        BadPicture: the file is missing, or no picture that can be read.
    """
    from PIL import Image

    try:
        with Image.open(file) as opened:
            width, height = opened.size
            turned = opened.getexif().get(ORIENTATION) in TURNED
    except FileNotFoundError as error:
        raise BadPicture(f"the file {file} does not exist") from error
    except Exception as error:  # Pillow's plug-ins raise whatever their parsers meet
        raise BadPicture(f"not a picture that can be read: {error}") from error
    return (height, width) if turned else (width, height)


def _opened(data: bytes) -> Any:
    """The picture's header, read by Pillow; the pixels are not decoded yet."""
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError as error:
        raise BadPicture("not a picture in any format that Pillow reads") from error
    except Exception as error:  # Pillow's plug-ins raise whatever their parsers meet
        raise BadPicture(f"the header cannot be read: {error}") from error


def _why_not_kept(picture: Any, data: bytes) -> str | None:
    """Why TensorFlow would not show this file as it is meant, or None."""
    if picture.format not in KEPT_MODES:
        return f"{picture.format} file"
    if _orientation(picture) not in (None, 0, 1):
        return "turned upright"
    if (
        picture.format == "PNG" and data[PNG_DEPTH] > 8
    ):  # IHDR: the bit depth follows 8 bytes of signature, 8 of chunk head, 8 of size
        return f"{data[PNG_DEPTH]} bits"
    if picture.mode not in KEPT_MODES[picture.format]:
        return f"{picture.mode} colours"
    if picture.mode == "P" and "transparency" in picture.info:
        return "palette with transparency"
    return None


def _orientation(picture: Any) -> int | None:
    try:
        return picture.getexif().get(ORIENTATION)
    except Exception:  # a damaged EXIF block raises anything; viewers then show the picture as it is
        return None


def _decoded_size(data: bytes) -> tuple[int, int]:
    """Height and width, by TensorFlow's own decoder: what it cannot decode to the end must not be stored."""
    from models.stack import tf

    try:
        return tuple(tf.io.decode_image(data, channels=3, expand_animations=False).shape[:2])
    except tf.errors.InvalidArgumentError as error:
        raise BadPicture(_decoding_error(data)) from error


def _decoding_error(data: bytes) -> str:
    """Pillow's words for what is wrong are better than TensorFlow's, where it sees it too."""
    try:
        _opened(data).load()
    except Exception as error:  # as in _opened
        return str(error)
    return "truncated or damaged: TensorFlow cannot decode it to the end"


def _upright(picture: Any, data: bytes) -> Any:
    """The first frame as an upright Pillow picture of mode L or RGB."""
    from PIL import ImageOps

    try:
        bits = _declared_bits(picture, data)
        picture.load()
        if _orientation(picture) not in (None, 0, 1):
            ImageOps.exif_transpose(picture, in_place=True)
        return _in_eight_bits(picture, bits)
    except BadPicture:
        raise
    except Exception as error:  # as in _opened
        raise BadPicture(str(error) or type(error).__name__) from error


def _declared_bits(picture: Any, data: bytes) -> int:
    """Bits per sample of a deep grey picture."""
    if picture.format == "TIFF":
        return picture.tag_v2.get(BITS_PER_SAMPLE, (8,))[0]
    return 16


def _in_eight_bits(picture: Any, bits: int) -> Any:
    from PIL import Image

    if picture.mode == "F":
        raise BadPicture("floating-point pixels have no fixed range: convert them to 8 or 16 bits")
    if picture.mode not in DEEP_MODES:
        return picture.convert("L" if picture.mode in GREY_MODES else "RGB")
    values = np.asarray(picture).astype(np.int64)
    if bits > 16 or values.min() < 0 or values.max() >= DEEPEST:
        raise BadPicture(
            f"pixels from {values.min()} to {values.max()}: expected 0 to {DEEPEST - 1}, convert them to 8 or 16 bits"
        )
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def _was_lossy(format: str, data: bytes) -> bool:
    return format in ("JPEG", "MPO") or (format == "WEBP" and b"VP8 " in data)  # a lossless one holds VP8L


def _encoded(picture: Any, lossy: bool, change: str) -> StoredPicture:
    stream = io.BytesIO()
    if lossy:
        picture.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        picture.save(stream, "PNG", compress_level=PNG_COMPRESSION)
    return StoredPicture(stream.getvalue(), picture.height, picture.width, len(picture.getbands()), change)
