"""Decoding, the random crop at the head and the geometry behind it as one step: from the file to the model's size with
one resampling, a whole batch at once.

Where a window has at least twice the pixels that the model takes, the picture is made smaller by 2, 4 or 8 first: a
JPEG by libjpeg while it is decoded, any other by the mean of its pixels. A window is thus shrunk by 1 to 2 at most, up
to where bilinear interpolation sees every pixel. A JPEG is decoded down to the last row of its window. OpenCV's decoder
gives the same pixels as TensorFlow's accurate one (tested). Colours that are changed next are changed while the picture
is still in the processor's cache.

B = batch, H, W, C = the model's pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from models.preprocess import RATIOS, PictureFormat
from models.stack import tf
from pipeline.augment import Augmentation, RandomResizedCrop, plan, random
from pipeline.augment.base import PictureShape
from pipeline.augment.colour import no_change
from pipeline.augment.fill import AnyFill, NearestFill
from pipeline.augment.opencv_engine import OpenCV, bilinear, recolouring, room
from pipeline.augment.python_calls import as_written, in_python
from pipeline.augment.windows import apply_window
from pipeline.data.example import EPOCH, ID, IMAGE, Example
from pipeline.data.jpeg import START, first_rows, frame_size
from pipeline.data.store import UNDECODABLE
from pipeline.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

MARGIN = 4
"""Rows decoded behind the last one that is needed: colour of half the resolution is interpolated from them."""


@as_written
def crop_and_augment(
    examples: Example, crop: RandomResizedCrop, operations: Sequence[Augmentation], format: PictureFormat, seed: int
) -> Example:
    """A batch of whole pictures -> the same cropped, and changed by all operations behind the crop.

    Args:
        examples: `id`, `epoch`, `image` string [B] (JPEG or PNG) or uint8 [B,h,w,C], and any other fields but masks.
        crop: the head of `operations`.
        format: what the model takes; its `fit` plays no part (see `decides_alone`).
        seed: of the whole run.

    Returns:
        The batch with `image` uint8 [B,H,W,C].
    """
    keys = random.keys(examples[ID], examples[EPOCH], seed)
    steps = plan.fuse(plan.transforms(operations, keys, PictureShape(*format.shape)))
    joined = plan.with_crop(steps)
    warp, colours, rest = joined.warp, joined.colours, steps[joined.steps :]
    sizes = picture_sizes(examples[IMAGE])
    windows = crop.window(keys, sizes[:, 0], sizes[:, 1])
    seen = Seen(
        windows,
        warp.matrices if warp else for_each(np.eye(3), keys),
        warp.fill if warp and warp.fill else NearestFill(),
        colours.combined(format.channels) if colours else for_each(no_change(format.channels)[: format.channels], keys),
    )
    pictures = decode_seen(examples[IMAGE], sizes, seen, format)
    examples = {**apply_window(examples, windows, crop.min_visible), IMAGE: pictures}
    size = (format.height, format.width)
    return plan.carry_out(rest, warp.follow(examples, size, size) if warp else examples, OpenCV())


def for_each(matrix: np.ndarray, keys: tf.Tensor) -> tf.Tensor:
    """A matrix for as many examples as there are keys: float32 [B,*matrix.shape]."""
    return tf.tile(matrix.astype(np.float32)[np.newaxis], [tf.shape(keys)[0], 1, 1])


@dataclass(frozen=True)
class Seen:
    """What the model sees of each picture, and in which colours.

    Args:
        windows: float32 [B,4], y_min, x_min, y_max, x_max as shares of the picture.
        matrices: float32 [B,3,3], from a pixel of the result to one of the window at the model's size.
        fill: what is outside the window.
        changes: float32 [B,C,2C+1], of colour (see `Engine.recolour`).
    """

    windows: tf.Tensor
    matrices: tf.Tensor
    fill: AnyFill
    changes: tf.Tensor


def decides_alone(crop: RandomResizedCrop, format: PictureFormat) -> bool:
    """Whether the crop's window is what is seen of every picture; else those that it spares are fitted in another way:
    the middle of them, or all of them between bars."""
    return crop.probability >= 1.0 or format.fit == "stretch"


def picture_sizes(pictures: tf.Tensor) -> tf.Tensor:
    """Height and width of pictures, uint8 [B,h,w,C] or string [B] (read from the head of a file): int32 [B,2]."""
    if pictures.dtype == tf.uint8:
        return tf.tile([[*pictures.shape[1:3]]], [tf.shape(pictures)[0], 1])

    def run(files: np.ndarray) -> np.ndarray:
        return np.array([size_of_file(file) for file in files], np.int32).reshape(-1, 2)

    return tf.ensure_shape(in_python(run, [pictures], tf.int32), [None, 2])


def size_of_file(data: bytes) -> tuple[int, int]:
    """Height and width of a JPEG or PNG file, from its head."""
    if data.startswith(START):
        return frame_size(data)
    from PIL import Image

    width, height = Image.open(BytesIO(data)).size
    return height, width


def decode_seen(pictures: tf.Tensor, sizes: tf.Tensor, seen: Seen, format: PictureFormat) -> tf.Tensor:
    """What is seen of pictures, string [B] or uint8 [B,h,w,C] of `sizes` int32 [B,2], in pixels: uint8 [B,H,W,C]."""
    target = (format.height, format.width)
    warp, recolour = bilinear(target, seen.fill), recolouring(format.channels)

    def run(
        pictures: np.ndarray, sizes: np.ndarray, windows: np.ndarray, matrices: np.ndarray, changes: np.ndarray
    ) -> np.ndarray:
        results, needed = np.empty((len(pictures), *format.shape), np.uint8), parts(sizes, windows, matrices, target)
        for result, picture, change, ratio, part, matrix in zip(results, pictures, changes, *needed, strict=True):
            top, left, bottom, right = part
            encoded, moved = isinstance(picture, bytes), room.array("moved", format.shape)
            smaller = decoded(picture, format.channels, ratio, bottom) if encoded else shrunk(picture, ratio)
            warp(moved, smaller[top:bottom, left:right], matrix)
            recolour(result, moved, change)
        return results

    made = in_python(run, [pictures, sizes, seen.windows, seen.matrices, seen.changes], tf.uint8)
    return tf.ensure_shape(made, [None, *format.shape])


def parts(
    sizes: np.ndarray, windows: np.ndarray, matrices: np.ndarray, target: tuple[int, int]
) -> tuple[list[int], list[list[int]], np.ndarray]:
    """What is needed of each picture, for sizes int32 [B,2] (height, width) and what `Seen` holds.

    Returns:
        How much smaller it may be made first; the part of that which is seen, y_min, x_min, y_max, x_max in pixels,
        with one pixel around for the interpolation; and the matrices that lead into that part, float32 [B,3,3].
    """
    pixels = windows * np.tile(sizes, 2)
    ratios = shrinking(window_matrices(pixels, target) @ matrices)
    pixels, ends = pixels / ratios[:, np.newaxis], -(-sizes // ratios[:, np.newaxis])
    first = np.clip(np.floor(pixels[:, :2]).astype(int) - 1, 0, ends - 1)
    last = np.clip(np.ceil(pixels[:, 2:]).astype(int) + 1, first + 1, ends)
    inside = window_matrices(pixels - np.tile(first, 2), target) @ matrices
    return ratios.tolist(), np.hstack([first, last]).tolist(), inside.astype(np.float32)


def shrinking(matrices: np.ndarray) -> np.ndarray:
    """1, 2, 4 or 8: how much smaller pictures may be made first, so that they still have the pixels that are needed.

    Args:
        matrices: float [B,3,3], from a pixel of the result to one of the whole picture.
    """
    steps = np.linalg.norm(matrices[:, :2, :2], axis=1).min(axis=-1)
    return np.array(RATIOS)[np.searchsorted(RATIOS, np.maximum(steps, 1.0), side="right") - 1]


def decoded(data: bytes, channels: int, ratio: int, rows: int) -> np.ndarray:
    """JPEG or PNG bytes -> uint8 [h,w,C], at its size divided by the ratio, rounded up; the first `rows` at least.

    Raises:
        DataError: it cannot be decoded, which `prepare` makes sure of.
    """
    import cv2

    is_jpeg = data.startswith(START)
    colour = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR_RGB}[channels]
    smaller = {
        1: 0,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    }[ratio if is_jpeg else 1]
    flags = colour | smaller | cv2.IMREAD_IGNORE_ORIENTATION  # `prepare` has turned pictures upright
    picture = cv2.imdecode(first_rows(data, (rows + MARGIN) * ratio), flags) if is_jpeg else None
    if picture is None:  # a PNG, or a JPEG that lacks pixels, which is filled up to its end
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise DataError(UNDECODABLE.format(f"{'JPEG' if is_jpeg else 'PNG'}, {len(data)} bytes"))
    return picture if is_jpeg else shrunk(picture, ratio)


def shrunk(picture: np.ndarray, ratio: int) -> np.ndarray:
    """A picture at its size divided by the ratio, rounded up: the mean of each ratio x ratio pixels."""
    if ratio == 1:
        return picture
    import cv2

    missing = [(0, -side % ratio) for side in picture.shape[:2]]
    whole = np.pad(picture, [*missing, *[(0, 0)] * (picture.ndim - 2)], "edge")
    return cv2.resize(whole, (whole.shape[1] // ratio, whole.shape[0] // ratio), interpolation=cv2.INTER_AREA)


def window_matrices(windows: np.ndarray, target: tuple[int, int]) -> np.ndarray:
    """From a pixel of the result to one of a picture, for windows [B,4] in pixels: float64 [B,3,3]."""
    steps = (windows[:, 2:] - windows[:, :2]) / target
    matrices = np.zeros((len(windows), 3, 3))
    matrices[:, [1, 0], [1, 0]] = steps
    matrices[:, [1, 0], 2] = windows[:, :2] + steps / 2 - 0.5
    matrices[:, 2, 2] = 1.0
    return matrices
