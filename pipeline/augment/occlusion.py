"""Augmentations that hide a part of the picture under shapes.

The labels stay as they are: an object under a shape is still there, and its box is still around all of it.

B = batch, N = shapes of a picture, C = channels.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from models.stack import tf
from pipeline.augment import bank, shapes
from pipeline.augment.base import PictureOperation, PictureShape, Transform, between
from pipeline.augment.engines import Engine
from pipeline.augment.ranges import whole, within
from pipeline.augment.shapes import Shapes
from pipeline.data.example import IGNORED, IMAGE, MASK, MASKS, Example

if TYPE_CHECKING:
    import tensorflow as tf


class Cutout(PictureOperation):
    """Hides a square whose centre may be any pixel, so that a part of the square may lie outside.

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017, section
        3.2.
    """

    kind: Literal["cutout"] = "cutout"
    """Hides a square somewhere in the picture."""
    size: float = Field(default=0.5, ge=0.0, le=1.0)
    """Side of the square as a share of the picture's shorter side."""
    value: int = Field(default=128, ge=0, le=255)
    """What the square is filled with, 0 (black) to 255 (white)."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Cover:
        side = round(self.size * min(shape.height, shape.width))
        centre = tf.floor(draws[:, 2:0:-1] * (float(shape.width), float(shape.height)))
        frames = shapes.pixels(centre - side // 2, float(side) * tf.ones_like(centre))
        return one_shape(self.applies(draws) * side > 0.0, frames, self.value, shape)


class RandomErasing(PictureOperation):
    """Hides a rectangle of random size, shape and place inside the picture.

    Of ten sizes the first that fits is taken, else the last one cut to fit.
    Source: Zhong et al., "Random erasing data augmentation", 2017, algorithm 1.
    """

    kind: Literal["random_erasing"] = "random_erasing"
    """Hides a rectangle of random size, shape and place."""
    probability: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    area: Annotated[tuple[float, float], within(0.0, 1.0)] = (0.02, 0.4)
    """Least and largest share of the picture's area, drawn uniformly."""
    aspect: Annotated[tuple[float, float], within(0.01, 100.0)] = (0.3, 1 / 0.3)
    """Least and largest height divided by width in pixels, drawn uniformly."""
    value: int | None = Field(default=None, ge=0, le=255)
    """What the rectangle is filled with, 0 to 255; none: each value of each pixel is random, the paper's choice."""
    num_draws: ClassVar[int] = 4 + 20

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Cover:
        size = self._size(draws[:, 4:], shape)
        start = tf.floor(draws[:, 1:3] * (np.array([shape.width, shape.height], np.float32) - size + 1.0))
        frames = shapes.pixels(start, size)
        present = (self.applies(draws) > 0.0) & (tf.reduce_min(size, axis=-1) > 0.0)
        covering = one_shape(present, frames, self.value or 0, shape)
        return covering if self.value is not None else covering.with_noise(bank.starts(draws[:, 3]))

    def _size(self, draws: tf.Tensor, shape: PictureShape) -> tf.Tensor:
        """Width and height in whole pixels, float32 [B,2]."""
        area = between(draws[:, :10], *self.area) * (shape.height * shape.width)
        aspect = between(draws[:, 10:], *self.aspect)
        sizes = tf.round(tf.stack([tf.sqrt(area / aspect), tf.sqrt(area * aspect)], axis=-1))
        whole = np.array([shape.width, shape.height], np.float32)
        fits = tf.cast(tf.reduce_all(sizes <= whole, axis=-1), tf.float32)
        chosen = tf.argmax(tf.maximum(fits, tf.one_hot(9, 10, on_value=0.5)), axis=-1)
        return tf.minimum(tf.gather(sizes, chosen, axis=1, batch_dims=1), whole)


class GridMask(PictureOperation):
    """Hides squares on a regular grid.

    Source: Chen et al., "GridMask data augmentation", 2020, section 3: a unit of the grid is d pixels wide, of which a
        share r stays visible on each side, and the grid begins anywhere.
    """

    kind: Literal["grid_mask"] = "grid_mask"
    """Hides squares on a regular grid."""
    probability: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    unit: Annotated[tuple[float, float], within(0.01, 2.0)] = (96 / 224, 1.0)
    """Least and largest side of a unit as a share of the picture's shorter side; whole pixels, drawn uniformly."""
    visible: float = Field(default=0.6, ge=0.0, le=1.0)
    """Share of a unit's side that stays visible, the paper's r; (1 - visible) squared of the picture is hidden."""
    degrees: float = Field(default=0.0, ge=0.0, le=180.0)
    """The grid is turned by an angle drawn from -degrees to +degrees."""
    value: int = Field(default=0, ge=0, le=255)
    """What the squares are filled with, 0 (black) to 255 (white)."""
    num_draws: ClassVar[int] = 5

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Cover:
        least, most = (max(1, round(share * min(shape.height, shape.width))) for share in self.unit)
        unit = whole(draws[:, 1, tf.newaxis], (least, most)) * np.ones(2, np.float32)
        limit = math.radians(self.degrees)
        angle = between(draws[:, 4], -limit, limit)
        # Places are told from the middle of pixels, where the first pixel's edge is at -0.5.
        frames = shapes.frames(tf.floor(draws[:, 2:4] * unit) - 0.5, unit, angle)
        return one_shape(self.applies(draws) > 0.0, frames, self.value, shape, shapes.grid, 1.0 - self.visible)


MOST_OCCLUDERS = 8
DRAWS_OF_AN_OCCLUDER = 15


class Occluders(PictureOperation):
    """Pastes rectangles, ellipses and triangles of random colours, plain, striped or noisy, over parts of the picture.

    Boxes, classes, key points and labels stay as they are, since an object that is partly hidden is still there; masks
    follow `hidden_pixels`.
    """

    kind: Literal["occluders"] = "occluders"
    """Pastes shapes of random colours and patterns over parts of the picture; boxes stay."""
    probability: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    count: Annotated[tuple[int, int], within(1, MOST_OCCLUDERS)] = (1, 3)
    """Fewest and most shapes, drawn uniformly."""
    size: Annotated[tuple[float, float], within(0.0, 1.0)] = (0.1, 0.3)
    """Least and largest side of a shape as a share of the picture's shorter side, drawn for both sides; of 0 nothing is
    seen, above 0 at least a pixel."""
    hidden_pixels: Literal["keep", "drop"] = "keep"
    """What masks say of hidden pixels. keep: what is behind them; drop: they do not count in `mask` (255) and do not
    belong to any object in `masks`."""
    num_draws: ClassVar[int] = 2 + MOST_OCCLUDERS * DRAWS_OF_AN_OCCLUDER

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Cover:
        most = self.count[1]
        count = whole(draws[:, 1], self.count) * self.applies(draws)
        each = tf.reshape(draws[:, 2 : 2 + most * DRAWS_OF_AN_OCCLUDER], [-1, most, DRAWS_OF_AN_OCCLUDER])
        of_some_size = tf.reduce_max(between(each[..., 2:4], *self.size), axis=-1) > 0.0
        present = (np.arange(most, dtype=np.float32) < count[:, tf.newaxis]) & of_some_size
        return Cover(self._shapes(present, each, shape), self.hidden_pixels == "drop")

    def _shapes(self, present: tf.Tensor, draws: tf.Tensor, shape: PictureShape) -> Shapes:
        """Shapes from draws float32 [B,N,DRAWS_OF_AN_OCCLUDER]."""
        outlines, patterns = (
            (shapes.rectangle, shapes.ellipse, shapes.triangle),
            (shapes.flat, shapes.stripes, shapes.noisy),
        )
        middle = draws[..., 0:2] * np.array([shape.width, shape.height], np.float32) - 0.5
        half = tf.maximum(between(draws[..., 2:4], *self.size) * (min(shape.height, shape.width) / 2), 0.5)
        colours = tf.floor(draws[..., 8:14] * 256.0)
        return Shapes(
            present=present,
            frames=shapes.frames(middle, half, 2 * math.pi * draws[..., 4]),
            colours=tf.reshape(colours, [-1, self.count[1], 2, 3])[..., : shape.channels],
            outlines=outlines,
            outline=tf.cast(draws[..., 5] * len(outlines), tf.int32),
            patterns=patterns,
            pattern=tf.cast(draws[..., 6] * len(patterns), tf.int32),
            starts=bank.starts(draws[..., 7]),
            hidden=tf.zeros_like(draws[..., 0]),
        )


class Cover(Transform):
    """Shapes painted over the pictures.

    Args:
        shapes: what is painted where.
        drops_pixels: whether masks lose what is hidden.
    """

    def __init__(self, shapes: Shapes, drops_pixels: bool = False):
        self.shapes = shapes
        self.drops_pixels = drops_pixels

    def __call__(self, examples: Example, engine: Engine) -> Example:
        covered = {IMAGE: engine.cover(examples[IMAGE], self.shapes)}
        if self.drops_pixels and MASK in examples:
            covered[MASK] = engine.cover(examples[MASK], self.shapes.recoloured(IGNORED))
        if self.drops_pixels and MASKS in examples:
            planes = tf.transpose(examples[MASKS], [0, 2, 3, 1])
            planes = engine.cover(planes, self.shapes.recoloured(0))
            covered[MASKS] = tf.transpose(planes, [0, 3, 1, 2])
        return {**examples, **covered}

    def with_noise(self, starts: tf.Tensor) -> Cover:
        """The same places filled with random numbers, a shape for each picture: starts int32 [B]."""
        white = tf.fill(tf.shape(self.shapes.colours[:, :, :1]), 255.0)
        colours = tf.concat([tf.zeros_like(white), white], axis=2)
        filled = replace(self.shapes, colours=colours, patterns=(shapes.noisy,), starts=starts[:, tf.newaxis])
        return Cover(filled, self.drops_pixels)

    def describe(self) -> str:
        count = self.shapes.present.shape[1]
        return "a part hidden" if count == 1 else f"up to {count} parts hidden"


def one_shape(
    present: tf.Tensor,
    frames: tf.Tensor,
    value: int,
    shape: PictureShape,
    outline: shapes.Outline = shapes.rectangle,
    hidden: float = 0.0,
) -> Cover:
    """One shape for each picture, filled with one value: present bool [B], frames float32 [B,2,3]."""
    present = present[:, tf.newaxis]
    colours = tf.fill([tf.shape(present)[0], 1, shape.channels], float(value))
    return Cover(shapes.plain(present, frames[:, tf.newaxis], colours, outline, hidden))
