"""Objects and masks on their way into the store: from pixels of the upright picture to shares, and to PNG.

What shows nothing (a box without area, or wholly outside the picture) is left out of its picture and listed; the
picture stays. A mask for all of the picture that does not fit it makes the picture a bad one.
h, w = the picture's height and width, n = objects, P = key points.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.data.example import CORNERS, IGNORED, MASK, MASKS, RawExample, RawObject
from pipeline.data.outlines import BadOutline, Outline, Polygons
from pipeline.data.pictures import PNG_COMPRESSION, BadPicture, StoredPicture

Box = tuple[float, float, float, float]
INDEX_MODES = {"1", "L", "P"}
"""Pillow's modes with one number a pixel: in a palette the number counts, not the colour (as in Pascal VOC)."""


class BadObject(ValueError):
    """An object that cannot be used; the message is the reason, to be shown beside where it stands."""


@dataclass(frozen=True)
class LeftOut:
    """An object that is not stored.

    Args:
        number: its place among the objects of its picture as they came.
        where: file and line.
        reason: what is wrong with it.
    """

    number: int
    where: str
    reason: str


def placed(
    example: RawExample, picture: StoredPicture, fields: Collection[str]
) -> tuple[RawExample, tuple[LeftOut, ...]]:
    """The example as `Target.encode` takes it, and the objects that were left out.

    Args:
        example: as the source gives it, in pixels.
        picture: its picture as it is stored, upright.
        fields: what every example of the store holds; `corners`, `masks`, `mask` are made up where this one has none.

    Returns:
        The example with objects in shares of the picture (boxes within 0..1) and masks as PNG bytes.

    Raises:
        BadPicture: the mask is not one of this picture.
    """
    kept, left_out = [], []
    for number, raw in enumerate(example.objects or ()):
        try:
            kept.append(_placed(raw, picture, fields))
        except BadObject as error:
            left_out.append(LeftOut(number, raw.where or example.where, str(error)))
    mask = _mask_of_all(example.mask, picture) if MASK in fields else None
    return replace(example, objects=kept, mask=mask), tuple(left_out)


def in_pixels(raw: RawObject, width: int, height: int) -> RawObject:
    """The object with all its places in pixels of a picture of this size."""
    if raw.unit == "pixel":
        return raw
    box = (
        None if raw.box is None else (raw.box[0] * width, raw.box[1] * height, raw.box[2] * width, raw.box[3] * height)
    )
    return replace(
        raw,
        unit="pixel",
        box=box,
        corners=None if raw.corners is None else [(x * width, y * height) for x, y in raw.corners],
        points=None if raw.points is None else [(x * width, y * height, seen) for x, y, seen in raw.points],
        mask=raw.mask.scaled(width, height) if isinstance(raw.mask, Outline) else raw.mask,
    )


def _placed(given: RawObject, picture: StoredPicture, fields: Collection[str]) -> RawObject:
    if given.unusable:
        raise BadObject(given.unusable)
    raw = in_pixels(given, picture.width, picture.height)
    scale = np.array([picture.width, picture.height])
    pixels = None if raw.mask is None else _object_pixels(raw.mask, picture)
    box = _clipped(_box(raw, pixels), picture.width, picture.height)
    return replace(
        raw,
        box=box,
        corners=_corners(raw.corners, box, scale) if CORNERS in fields else None,
        points=None if raw.points is None else [_point(point, scale) for point in raw.points],
        mask=_object_png(raw.mask, pixels, picture) if MASKS in fields else None,
    )


def _box(raw: RawObject, pixels: np.ndarray | None) -> Box:
    """The box in pixels; around its other parts where none is given."""
    if raw.box is not None:
        x_min, y_min, x_max, y_max = raw.box
        return x_min, y_min, x_max, y_max
    if raw.corners is not None:
        return _around(raw.corners)
    if isinstance(raw.mask, Polygons):
        return raw.mask.bounds()
    if pixels is not None:
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    if seen := [(x, y) for x, y, visibility in raw.points or () if visibility]:
        return _around(seen)
    raise BadObject("it has neither box, corners, mask nor a labelled point")


def _around(points: Sequence[tuple[float, float]]) -> Box:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def clipped_box(box: Box, width: int, height: int) -> Box:
    """The part of a box in pixels that is within the picture.

    Raises:
        BadObject: it is not finite, has no area or is outside.
    """
    shown = f"the box ({', '.join(f'{value:g}' for value in box)})"
    if not all(math.isfinite(value) for value in box):
        raise BadObject(f"{shown} is not finite")
    x_min, y_min, x_max, y_max = box
    if x_min >= x_max or y_min >= y_max:
        raise BadObject(f"{shown} has no area")
    if x_min >= width or y_min >= height or x_max <= 0 or y_max <= 0:
        raise BadObject(f"{shown} is outside the picture of {width} x {height} pixels")
    return max(x_min, 0.0), max(y_min, 0.0), min(x_max, float(width)), min(y_max, float(height))


def _clipped(box: Box, width: int, height: int) -> Box:
    """The same as shares 0..1, exact in float32."""
    inside = np.array(clipped_box(box, width, height)) / (width, height, width, height)
    shares = inside.astype(np.float32)
    if shares[0] >= shares[2] or shares[1] >= shares[3]:
        raise BadObject(f"the box ({', '.join(f'{value:g}' for value in box)}) has no area")
    x_min, y_min, x_max, y_max = shares.tolist()
    return x_min, y_min, x_max, y_max


def _corners(corners: Sequence[tuple[float, float]] | None, box: Box, scale: np.ndarray) -> list[tuple[float, float]]:
    """Four corners in shares; they may leave 0..1 with the object, since clipping would bend a rotated box."""
    if corners is None:
        x_min, y_min, x_max, y_max = box
        return [(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max)]
    pixels = np.array(corners, np.float64)
    if pixels.shape != (4, 2) or not np.isfinite(pixels).all():
        raise BadObject(f"expected four corners x, y, got {list(corners)}")
    return [(x, y) for x, y in (pixels / scale).tolist()]


def _point(point: tuple[float, float, float], scale: np.ndarray) -> tuple[float, float, float]:
    """A key point in shares; one that is not labelled, or outside the picture, is nowhere."""
    x, y = point[0] / scale[0], point[1] / scale[1]
    visibility = point[2] if 0 <= x <= 1 and 0 <= y <= 1 else 0  # false for NaN
    return (float(x), float(y), float(visibility)) if visibility else (0.0, 0.0, 0.0)


def _object_pixels(mask: bytes | np.ndarray | Outline, picture: StoredPicture) -> np.ndarray:
    """bool [h, w]: where the object is."""
    try:
        pixels = mask_pixels(mask, picture) != 0
    except BadPicture as error:
        raise BadObject(str(error)) from error
    if not pixels.any():
        raise BadObject("its mask is empty")
    return pixels


def _object_png(mask: bytes | np.ndarray | Outline | None, pixels: np.ndarray | None, picture: StoredPicture) -> bytes:
    """0 and 1; all 0 where the object has no mask, which says that it is not known."""
    if mask is None or pixels is None:
        return _png(np.zeros((picture.height, picture.width), np.uint8))
    return _png(pixels.astype(np.uint8))


def _mask_of_all(mask: bytes | np.ndarray | None, picture: StoredPicture) -> bytes:
    """The picture's own mask as grey PNG; where it has none, no pixel counts."""
    if mask is None:
        return _png(np.full((picture.height, picture.width), IGNORED, np.uint8))
    return _png(mask_pixels(mask, picture))


def mask_pixels(mask: bytes | np.ndarray | Outline, picture: StoredPicture) -> np.ndarray:
    """uint8 [h, w]: the numbers of a mask's pixels.

    Raises:
        BadPicture: it cannot be read, has colours instead of numbers, or is not of the picture's size.
    """
    if isinstance(mask, Outline):
        try:
            return mask.pixels(picture.height, picture.width)
        except BadOutline as error:
            raise BadPicture(str(error)) from error
    pixels = _read_mask(mask) if isinstance(mask, bytes) else np.asarray(mask)
    if pixels.dtype not in (np.uint8, np.bool_):
        raise BadPicture(f"its mask is {pixels.dtype}, expected uint8 or bool")
    if pixels.shape != (picture.height, picture.width):
        raise BadPicture(
            f"its mask has the shape {list(pixels.shape)}, the upright picture {[picture.height, picture.width]}"
        )
    return pixels.astype(np.uint8)


def _read_mask(data: bytes) -> np.ndarray:
    from PIL import Image

    try:
        opened = Image.open(io.BytesIO(data))
        opened.load()
    except Exception as error:  # Pillow's plug-ins raise whatever their parsers meet
        raise BadPicture(f"its mask cannot be read: {error}") from error
    if opened.mode not in INDEX_MODES:
        raise BadPicture(f"its mask has the mode {opened.mode}, expected one number of 8 bits a pixel")
    return np.asarray(opened).astype(np.uint8)


def _png(pixels: Any) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=PNG_COMPRESSION)
    return stream.getvalue()
