"""One resampling for any number of geometric operations.

A Warp maps pixels of the result to places in the picture by a 3x3 matrix an example, over columns (x, y, 1) in
pixels, where (0, 0) is the middle of the top left pixel. Warps that follow each other are multiplied. Where all that
happens is mirroring and shifting by whole pixels, pixels are copied, which is exact and about four times as fast as
interpolating.

B = batch, H, W, C = picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from models.settings import Settings
from models.stack import tf
from pipeline.augment.base import PictureShape, Transform, to_uint8
from pipeline.data.example import IMAGE, Example

if TYPE_CHECKING:
    import tensorflow as tf


class ConstantFill(Settings):
    """One value for all channels."""

    kind: Literal["constant"] = "constant"
    """One value for all channels."""
    value: int = Field(default=0, ge=0, le=255)
    """The value, 0 (black) to 255 (white)."""
    mode: ClassVar[str] = "CONSTANT"


class ReflectFill(Settings):
    """The picture mirrored at its edge, the edge's pixels included: `c b a | a b c | c b a`."""

    kind: Literal["reflect"] = "reflect"
    """The picture mirrored at its edge."""
    mode: ClassVar[str] = "REFLECT"


class NearestFill(Settings):
    """The nearest pixel of the edge: `a a a | a b c | c c c`."""

    kind: Literal["nearest"] = "nearest"
    """The nearest pixel of the edge."""
    mode: ClassVar[str] = "NEAREST"


AnyFill = ConstantFill | ReflectFill | NearestFill
Fill = Annotated[AnyFill, Field(discriminator="kind")]


class Warp(Transform):
    """An affine change of place.

    Args:
        matrices: float32 [B,3,3], from a pixel of the result to a place in the picture.
        fill: what is outside the picture; None where the result never looks there.
        whole_pixels: every matrix holds only 0, 1, -1, and whole shifts.
    """

    def __init__(self, matrices: tf.Tensor, fill: AnyFill | None = None, whole_pixels: bool = False):
        self.matrices = matrices
        self.fill = fill
        self.whole_pixels = whole_pixels

    def then(self, later: Transform) -> Warp | None:
        """Both as one, if they agree on the fill, which is then decided once: what left the picture may come back."""
        if not isinstance(later, Warp) or (self.fill and later.fill and self.fill != later.fill):
            return None
        whole_pixels = self.whole_pixels and later.whole_pixels
        return Warp(self.matrices @ later.matrices, self.fill or later.fill, whole_pixels)

    def __call__(self, examples: Example) -> Example:
        pictures, fill = examples[IMAGE], self.fill or NearestFill()
        if self.whole_pixels:
            return {**examples, IMAGE: copy_pixels(pictures, self.matrices, fill)}
        return {**examples, IMAGE: interpolate(pictures, self.matrices, fill, pictures.shape[1:3])}


def linear(xx: tf.Tensor, xy: tf.Tensor, yx: tf.Tensor, yy: tf.Tensor, shape: PictureShape) -> tf.Tensor:
    """Matrices [B,3,3] of x' = xx x + xy y, y' = yx x + yy y about the picture's centre, from numbers [B]."""
    x, y = (shape.width - 1) / 2, (shape.height - 1) / 2
    return affine([[xx, xy, x - xx * x - xy * y], [yx, yy, y - yx * x - yy * y]])


def shift(right: tf.Tensor, down: tf.Tensor) -> tf.Tensor:
    """Matrices [B,3,3] that move the picture by so many pixels [B]."""
    zero, one = tf.zeros_like(right), tf.ones_like(right)
    return affine([[one, zero, -right], [zero, one, -down]])


def affine(rows: list[list[tf.Tensor]]) -> tf.Tensor:
    """Matrices [B,3,3] from their two upper rows of numbers [B]."""
    zero, one = tf.zeros_like(rows[0][0]), tf.ones_like(rows[0][0])
    return tf.stack([tf.stack(row, axis=-1) for row in (*rows, [zero, zero, one])], axis=-2)


def interpolate(pictures: tf.Tensor, matrices: tf.Tensor, fill: AnyFill, size: tuple[int, int]) -> tf.Tensor:
    """Bilinear interpolation at the places that the matrices give: uint8 [B,h,w,C] -> uint8 [B,*size,C]."""
    # In float32, because the operator cuts off the fraction where pixels are uint8.
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pictures, tf.float32),
        transforms=tf.reshape(matrices, [-1, 9])[:, :8],
        output_shape=size,
        fill_value=float(getattr(fill, "value", 0)),
        interpolation="BILINEAR",
        fill_mode=fill.mode,
    )
    return to_uint8(moved)


def enlarge(pictures: tf.Tensor, windows: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Windows of pictures brought to a size, for a whole batch at once where nothing is shrunk.

    The same as `models.preprocess.crop_and_fit` picture by picture (at most one grey level apart by rounding), which
    costs far more than its arithmetic where pictures are small.

    Args:
        pictures: uint8 [B,h,w,C], no larger than `size`.
        windows: float32 [B,4], y_min, x_min, y_max, x_max as shares of the picture.
        size: height and width of the result in pixels.

    Returns:
        uint8 [B,*size,C].
    """
    shape = np.array(pictures.shape[1:3], np.float32)
    start = windows[:, :2] * shape
    step = (windows[:, 2:] - windows[:, :2]) * (shape / np.array(size, np.float32))
    first = start + step / 2 - 0.5
    zero = tf.zeros_like(step[:, 0])
    matrices = affine([[step[:, 1], zero, first[:, 1]], [zero, step[:, 0], first[:, 0]]])
    return interpolate(pictures, matrices, NearestFill(), size)


def copy_pixels(pictures: tf.Tensor, matrices: tf.Tensor, fill: AnyFill) -> tf.Tensor:
    """The same for mirroring and whole shifts only, by one gather: uint8 [B,H,W,C] -> uint8 [B,H,W,C]."""
    batch, (height, width, channels) = tf.shape(pictures)[0], pictures.shape[1:]
    matrices = tf.cast(tf.round(matrices), tf.int32)
    rows = matrices[:, 1, 1, None] * tf.range(height) + matrices[:, 1, 2, None]
    columns = matrices[:, 0, 0, None] * tf.range(width) + matrices[:, 0, 2, None]
    index = (tf.range(batch)[:, None, None] * height + inside(rows, height, fill)[:, :, None]) * width
    index += inside(columns, width, fill)[:, None, :]
    pixels = tf.reshape(pictures, [-1, channels])
    if isinstance(fill, ConstantFill):
        beyond = outside(rows, height)[:, :, None] | outside(columns, width)[:, None, :]
        index = tf.where(beyond, batch * height * width, index)
        pixels = tf.concat([pixels, np.full([1, channels], fill.value, np.uint8)], axis=0)
    return tf.gather(pixels, index)


def outside(places: tf.Tensor, size: int) -> tf.Tensor:
    """Which places are not in 0..size-1."""
    return (places < 0) | (places >= size)


def inside(places: tf.Tensor, size: int, fill: AnyFill) -> tf.Tensor:
    """The pixel, 0..size-1, that is seen at each place."""
    if isinstance(fill, ReflectFill):
        place = tf.math.floormod(places, 2 * size)
        return tf.minimum(place, 2 * size - 1 - place)
    return tf.clip_by_value(places, 0, size - 1)
