"""The fast engine: OpenCV on each picture of a batch, outside the graph. cv2 releases Python's lock while it works."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from models.stack import tf
from pipeline.augment import bank, opencv_shapes
from pipeline.augment.engines import Engine
from pipeline.augment.fill import AnyFill, ConstantFill
from pipeline.augment.python_calls import in_python
from pipeline.augment.shapes import Shapes

if TYPE_CHECKING:
    import tensorflow as tf

LAST_ROW_OF_AFFINE = np.array([0.0, 0.0, 1.0], np.float32)
BORDERS = {"CONSTANT": "BORDER_CONSTANT", "REFLECT": "BORDER_REFLECT", "NEAREST": "BORDER_REPLICATE"}


class Room(threading.local):
    """Memory of each thread's own for what is needed on the way, picture after picture of a batch: new memory would
    come from the system page by page, which costs more than what is done with it. Threads of TensorFlow lose theirs
    with each call of Python."""

    largest = 1 << 24
    """Bytes; what is larger is not kept."""

    def __init__(self) -> None:
        self._kept: dict[str, np.ndarray] = {}

    def array(self, use: str, shape: tuple[int, ...]) -> np.ndarray:
        """uint8 of this shape, with anything in it; good until the same use is asked for again."""
        size = math.prod(shape)
        kept = self._kept.get(use)
        if kept is None or len(kept) < size:
            kept = np.empty(size, np.uint8)
            if size <= self.largest:
                self._kept[use] = kept
        return kept[:size].reshape(shape)


room = Room()


class OpenCV(Engine):
    """Every operation is one call of Python for a whole batch; pictures that an operation leaves alone are copied."""

    def warp(self, pictures: tf.Tensor, matrices: tf.Tensor, fill: AnyFill, size: tuple[int, int]) -> tf.Tensor:
        return filled(bilinear(size, fill), (*size, pictures.shape[-1]), pictures, matrices)

    def warp_nearest(self, pictures: tf.Tensor, matrices: tf.Tensor, value: int, size: tuple[int, int]) -> tf.Tensor:
        cv2 = _cv2()
        warp = _warper(size, cv2.INTER_NEAREST, ConstantFill(value=value))

        def channel_by_channel(result: np.ndarray, picture: np.ndarray, matrix: np.ndarray) -> None:
            moved = np.empty(size, np.uint8)  # cv2 writes into whole pictures only, and takes four channels at most
            for channel in range(picture.shape[-1]):
                warp(moved, picture[..., channel], matrix)
                result[..., channel] = moved

        return filled(channel_by_channel, (*size, pictures.shape[-1]), pictures, matrices)

    def remap(self, pictures: tf.Tensor, places: tf.Tensor, fill: AnyFill) -> tf.Tensor:
        cv2 = _cv2()
        border, value = getattr(cv2, BORDERS[fill.mode]), _outside(fill)

        def one(result: np.ndarray, picture: np.ndarray, places: np.ndarray) -> None:
            how = {"interpolation": cv2.INTER_LINEAR, "borderMode": border, "borderValue": value}
            _in_four_channels(result, picture, lambda wide, moved: cv2.remap(wide, places, None, dst=moved, **how))

        return filled(one, (*places.shape[1:3], pictures.shape[-1]), pictures, places)

    def remap_nearest(self, pictures: tf.Tensor, places: tf.Tensor, value: int) -> tf.Tensor:
        cv2 = _cv2()

        def one(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
            planes = np.moveaxis(picture, -1, 0)
            return np.stack(
                [cv2.remap(plane, places, None, cv2.INTER_NEAREST, borderValue=value) for plane in planes], -1
            )

        return each(one, (*places.shape[1:3], pictures.shape[-1]), pictures, places)

    def recolour(self, pictures: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
        return filled(recolouring(pictures.shape[-1]), pictures.shape[1:], pictures, changes)

    def lookup(self, pictures: tf.Tensor, tables: tf.Tensor) -> tf.Tensor:
        cv2 = _cv2()
        unchanged = np.arange(256, dtype=np.uint8)[:, np.newaxis]

        def one(picture: np.ndarray, table: np.ndarray) -> np.ndarray:
            return picture if (table == unchanged).all() else cv2.LUT(picture, table[np.newaxis])

        return each(one, pictures.shape[1:], pictures, tables)

    def filter(self, pictures: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
        cv2 = _cv2()
        unchanged = np.zeros(kernels.shape[1:], np.float32)
        unchanged[kernels.shape[1] // 2, kernels.shape[2] // 2] = 1.0

        def one(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
            return picture if (kernel == unchanged).all() else cv2.filter2D(picture, -1, kernel)

        return each(one, pictures.shape[1:], pictures, kernels)

    def blur(self, pictures: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
        cv2 = _cv2()

        def one(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
            return picture if kernel[len(kernel) // 2] == 1.0 else cv2.sepFilter2D(picture, -1, kernel, kernel)

        return each(one, pictures.shape[1:], pictures, kernels)

    def noise(self, pictures: tf.Tensor, starts: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
        cv2, length = _cv2(), int(np.prod(pictures.shape[1:]))

        def one(picture: np.ndarray, start: int, amount: np.float32) -> np.ndarray:
            if amount == 0.0:
                return picture
            added = bank.long_normal(length)[start : start + length] * (amount / np.float32(bank.UNIT))
            return cv2.add(picture, np.rint(added, out=added).reshape(picture.shape), dtype=cv2.CV_8U)

        return each(one, pictures.shape[1:], pictures, starts, amounts)

    def speckle(self, pictures: tf.Tensor, starts: tf.Tensor, limits: tf.Tensor) -> tf.Tensor:
        height, width = pictures.shape[1:3]

        def one(picture: np.ndarray, start: int, limit: np.float32) -> np.ndarray:
            if np.isinf(limit):
                return picture
            deviates = bank.long_normal(height * width)[start : start + height * width].reshape(height, width)
            speckled, limit = picture.copy(), limit * np.float32(bank.UNIT)
            speckled[deviates > limit] = 255
            speckled[deviates < -limit] = 0
            return speckled

        return each(one, pictures.shape[1:], pictures, starts, limits)

    def cover(self, pictures: tf.Tensor, shapes: Shapes) -> tf.Tensor:
        def one(picture: np.ndarray, *drawn: np.ndarray) -> np.ndarray:
            return opencv_shapes.covered(picture, shapes.outlines, shapes.patterns, *drawn)

        drawn = (shapes.present, shapes.frames, shapes.colours, shapes.outline, shapes.pattern, shapes.starts)
        return each(one, pictures.shape[1:], pictures, *drawn, shapes.hidden)

    def light(self, pictures: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
        cv2, (height, width, channels) = _cv2(), pictures.shape[1:]

        def one(picture: np.ndarray, gains: np.ndarray) -> np.ndarray:
            if (gains == 1.0).all():
                return picture
            field = cv2.merge([cv2.resize(gains, (width, height))] * channels)
            return cv2.multiply(picture, field.reshape(picture.shape), dtype=cv2.CV_8U)

        return each(one, pictures.shape[1:], pictures, gains)

    def jpeg(self, pictures: tf.Tensor, qualities: tf.Tensor) -> tf.Tensor:
        cv2, coloured = _cv2(), pictures.shape[-1] == 3
        how = cv2.IMREAD_COLOR_RGB if coloured else cv2.IMREAD_GRAYSCALE

        def one(picture: np.ndarray, quality: int) -> np.ndarray:
            if not quality:
                return picture
            given = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if coloured else picture
            return cv2.imdecode(cv2.imencode(".jpg", given, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1], how)

        return each(one, pictures.shape[1:], pictures, qualities)

    def blend(self, pictures: Sequence[tf.Tensor], weights: tf.Tensor) -> tf.Tensor:
        cv2 = _cv2()

        def one(weights: np.ndarray, *pictures: np.ndarray) -> np.ndarray:
            if weights.max() == 1.0:
                return pictures[int(weights.argmax())]
            *earlier, (last, share) = zip(pictures, map(float, weights), strict=True)
            total, scale = earlier[0]
            for picture, weight in earlier[1:]:
                total, scale = cv2.addWeighted(total, scale, picture, weight, 0.0, dtype=cv2.CV_32F), 1.0
            return cv2.addWeighted(total, scale, last, share, 0.0, dtype=cv2.CV_8U)

        return each(one, pictures[0].shape[1:], weights, *pictures)

    def histogram(self, pictures: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        cv2, channels = _cv2(), pictures.shape[-1]

        def run(pictures: np.ndarray, wanted: np.ndarray) -> np.ndarray:
            counts = np.zeros((len(pictures), channels, 256), np.int32)
            for number in np.flatnonzero(wanted):
                for channel in range(channels):
                    found = cv2.calcHist([pictures[number]], [channel], None, [256], [0, 256])
                    counts[number, channel] = found.ravel()
            return counts

        counts = in_python(run, [pictures, wanted], tf.int32)
        return tf.ensure_shape(counts, [None, channels, 256])


def bilinear(size: tuple[int, int], fill: AnyFill) -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
    """The function (result uint8 [H,W,C], picture uint8 [h,w,C], matrix float32 [3,3]) that fills the result with what
    the matrix shows of the picture."""
    return _warper(size, _cv2().INTER_LINEAR, fill)


def recolouring(channels: int) -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
    """The function (result uint8 [H,W,C], picture uint8 [H,W,C], change float32 [C,2C+1]) that fills the result with
    M x + S m + b, see `Engine.recolour`."""
    cv2, unchanged = _cv2(), np.eye(channels, 2 * channels + 1, dtype=np.float32)

    def one(result: np.ndarray, picture: np.ndarray, change: np.ndarray) -> None:
        if (change == unchanged).all():
            result[...] = picture
            return
        affine = change[:, : channels + 1].copy()
        affine[:, channels] = change[:, channels:] @ np.array([*cv2.mean(picture)[:channels], 1.0], np.float32)
        cv2.transform(picture, affine, result)

    return one


def _warper(
    size: tuple[int, int], interpolation: int, fill: AnyFill
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
    """The function (result, picture, matrix) that fills the result with the picture moved."""
    cv2 = _cv2()
    how = {
        "dsize": (size[1], size[0]),
        "flags": interpolation | cv2.WARP_INVERSE_MAP,
        "borderMode": getattr(cv2, BORDERS[fill.mode]),
        "borderValue": _outside(fill),
    }
    unchanged = np.eye(3, dtype=np.float32)

    def one(result: np.ndarray, picture: np.ndarray, matrix: np.ndarray) -> None:
        if picture.shape[:2] == size and (matrix == unchanged).all():
            result[...] = picture.reshape(result.shape)
        elif (matrix[2] == LAST_ROW_OF_AFFINE).all():
            _in_four_channels(result, picture, lambda wide, moved: cv2.warpAffine(wide, matrix[:2], dst=moved, **how))
        else:
            _in_four_channels(result, picture, lambda wide, moved: cv2.warpPerspective(wide, matrix, dst=moved, **how))

    return one


def _in_four_channels(
    result: np.ndarray, picture: np.ndarray, operation: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    """Fills the result with what an operation (picture, place for its result) gives. Colour pictures get a fourth
    channel for it, which makes cv2's SIMD twice as fast."""
    cv2 = _cv2()
    if picture.ndim == 3 and picture.shape[2] == 3:
        wide = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA, room.array("before", (*picture.shape[:2], 4)))
        moved = operation(wide, room.array("after", (*result.shape[:2], 4)))
        cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB, result)
    else:
        operation(picture, result)


def _outside(fill: AnyFill) -> tuple[int, ...]:
    return (fill.value if isinstance(fill, ConstantFill) else 0,) * 4


def each(function: Callable[..., np.ndarray], shape: Sequence[int], *inputs: tf.Tensor) -> tf.Tensor:
    """The function's result for each example, uint8 [B,*shape]."""

    def fill(result: np.ndarray, *arguments: np.ndarray) -> None:
        result[...] = function(*arguments).reshape(shape)

    return filled(fill, shape, *inputs)


def filled(fill: Callable[..., None], shape: Sequence[int], *inputs: tf.Tensor) -> tf.Tensor:
    """What `fill` (result, one entry of each input) writes for each example, uint8 [B,*shape]."""

    def run(*arrays: np.ndarray) -> np.ndarray:
        results = np.empty((len(arrays[0]), *shape), np.uint8)
        for result, *arguments in zip(results, *arrays, strict=True):
            fill(result, *arguments)
        return results

    made = in_python(run, inputs, tf.uint8)
    return tf.ensure_shape(made, [inputs[0].shape[0], *shape])


def _cv2() -> Any:
    import cv2

    cv2.setNumThreads(1)  # tf.data works on several batches at once
    return cv2
