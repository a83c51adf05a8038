"""One resampling for any number of geometric operations.

A relocation says for each pixel of the result where in the picture it is seen, and so moves pictures, masks, boxes,
corners and key points alike. A Warp does so by a 3x3 matrix an example, over columns (x, y, 1) in pixels, where (0, 0)
is the middle of the top left pixel; Warps that follow each other are multiplied. Where a relocation of another kind is
among them, they are followed one after the other, for a lattice of the result's pixels.

B = batch, H, W, C = picture, M = any number of points.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf
from pipeline.augment.base import PictureShape, Transform
from pipeline.augment.engines import Engine
from pipeline.augment.fill import AnyFill, NearestFill
from pipeline.augment.places import Move, move_objects, swap_points
from pipeline.data.example import IGNORED, IMAGE, KNOWN, MASK, MASKS, Example

if TYPE_CHECKING:
    import tensorflow as tf

MIN_VISIBLE = 0.1
"""Objects of which less than this share is left are dropped, unless an operation says otherwise."""
LATTICE = 4
"""Pixels between the places that are computed where a picture is bent; those between are interpolated. The fields that
bend pictures are smooth: this is right to a thirtieth of a pixel (root mean square) for the strongest of them."""
HORIZON = 1e-4
"""Points at or behind the horizon of a perspective, which no picture shows, are taken as this far before it."""

Size = tuple[int, int]
"""Height and width in pixels."""
Resample = Callable[..., "tf.Tensor"]


@dataclass(frozen=True)
class Swap:
    """Key points that change over in the examples that are mirrored.

    Args:
        pairs: numbers of two key points each.
        mirrored: bool [B].
    """

    pairs: tuple[tuple[int, int], ...]
    mirrored: tf.Tensor


class Relocation(Transform):
    """A change of place.

    Args:
        fill: what is outside the picture; None where the result never looks there.
        min_visible: least share of an object's box that must stay inside for the object to stay.
        size: height and width of the result; None = those of the picture.
        swaps: key points that change over.
    """

    outline_steps: int = 8
    """Points on each side of a box that are followed."""

    def __init__(
        self,
        fill: AnyFill | None = None,
        min_visible: float = MIN_VISIBLE,
        size: Size | None = None,
        swaps: Sequence[Swap] = (),
    ):
        self.fill = fill
        self.min_visible = min_visible
        self.size = size
        self.swaps = swaps

    @abstractmethod
    def looking(self, before: Size, after: Size) -> Move:
        """Where in a picture of one size the points of a result of another size are seen."""

    @abstractmethod
    def moving(self, before: Size, after: Size) -> Move:
        """Where the points of a picture go: the inverse of `looking`."""

    @abstractmethod
    def changed(self) -> tf.Tensor:
        """False for the examples where nothing moves: bool [B]."""

    def steps(self) -> list[Relocation]:
        """The relocations that this one is made of."""
        return [self]

    def then(self, later: Transform) -> Relocation | None:
        """Both as one, if they agree on the fill, which is then decided once: what left the picture may come back."""
        if not isinstance(later, Relocation) or (self.fill and later.fill and self.fill != later.fill):
            return None
        return Relocations([*self.steps(), *later.steps()])

    def __call__(self, examples: Example, engine: Engine) -> Example:
        height, width = examples[IMAGE].shape[1:3]
        before, after = (height, width), self.size or (height, width)
        bilinear, nearest = self.resampling(before, after, engine)
        moved = {IMAGE: bilinear(examples[IMAGE], fill=self.fill or NearestFill())}
        if MASK in examples:
            moved[MASK] = nearest(examples[MASK], value=IGNORED)
        if KNOWN in examples:
            moved[KNOWN] = nearest(examples[KNOWN], value=0)
        if MASKS in examples:
            moved[MASKS] = tf.transpose(nearest(tf.transpose(examples[MASKS], [0, 2, 3, 1]), value=0), [0, 3, 1, 2])
        return self.follow({**examples, **moved}, before, after)

    def follow(self, examples: Example, before: Size, after: Size) -> Example:
        """The batch with all that are places in a picture moved: boxes, corners, key points."""
        changed = self.changed() | (before != after)
        examples = move_objects(examples, self.moving(before, after), self.min_visible, self.outline_steps, changed)
        for swap in self.swaps:
            examples = swap_points(examples, swap.pairs, swap.mirrored)
        return examples

    def resampling(self, before: Size, after: Size, engine: Engine) -> tuple[Resample, Resample]:
        """How pictures of one size give another: bilinear (pictures, fill) and nearest (pictures, value)."""
        places = self.places(before, after)
        return partial(engine.remap, places=places), partial(engine.remap_nearest, places=places)

    def places(self, before: Size, after: Size) -> tf.Tensor:
        """Where each pixel of the result is seen, in pixels of the picture: float32 [B,H,W,2]."""
        rows, columns = (np.linspace(0, side - 1, -(-(side - 1) // LATTICE) + 1) for side in after)
        nodes = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(1, -1, 2)
        shares = tf.constant((nodes + 0.5) / after[::-1], tf.float32)
        changed = self.changed()
        seen = self.looking(before, after)(tf.tile(shares, [tf.shape(changed)[0], 1, 1])) * _sides(before)
        lattice = tf.reshape(seen - 0.5, [-1, len(rows), len(columns), 2])
        places = tf.raw_ops.ResizeBilinear(images=lattice, size=after, align_corners=True)
        if before != after:
            return places
        still = np.stack(np.meshgrid(np.arange(after[1]), np.arange(after[0])), axis=-1).astype(np.float32)
        return tf.where(changed[:, tf.newaxis, tf.newaxis, tf.newaxis], places, still)

    def describe(self) -> str:
        return "one resampling of picture and labels"


class Relocations(Relocation):
    """Relocations of any kind that follow each other, as one."""

    def __init__(self, steps: list[Relocation]):
        fill = next((step.fill for step in steps if step.fill), None)
        size = next((step.size for step in reversed(steps) if step.size), None)
        swaps = [swap for step in steps for swap in step.swaps]
        super().__init__(fill, max(step.min_visible for step in steps), size, swaps)
        self._steps = steps

    def steps(self) -> list[Relocation]:
        return self._steps

    def looking(self, before: Size, after: Size) -> Move:
        sizes = self._sizes(before)
        return _one_after_the_other(
            [step.looking(*pair) for step, pair in zip(reversed(self._steps), reversed(sizes), strict=True)]
        )

    def moving(self, before: Size, after: Size) -> Move:
        return _one_after_the_other(
            [step.moving(*pair) for step, pair in zip(self._steps, self._sizes(before), strict=True)]
        )

    def changed(self) -> tf.Tensor:
        return tf.reduce_any(tf.stack([step.changed() for step in self._steps]), axis=0)

    def _sizes(self, size: Size) -> list[tuple[Size, Size]]:
        """The sizes before and after each step."""
        sizes = [size]
        for step in self._steps:
            sizes.append(step.size or sizes[-1])
        return list(pairwise(sizes))


class Warp(Relocation):
    """A projective change of place.

    Args:
        matrices: float32 [B,3,3], from a pixel of the result to a place in the picture; invertible, with a third row
            that gives more than 0 for every place that is seen.
        fill, min_visible, size, swaps: as for every Relocation.
    """

    outline_steps = 1

    def __init__(
        self,
        matrices: tf.Tensor,
        fill: AnyFill | None = None,
        min_visible: float = MIN_VISIBLE,
        size: Size | None = None,
        swaps: Sequence[Swap] = (),
    ):
        super().__init__(fill, min_visible, size, swaps)
        self.matrices = matrices

    def then(self, later: Transform) -> Relocation | None:
        together = super().then(later)
        if together is None or not isinstance(later, Warp):
            return together
        matrices = self.matrices @ later.matrices
        return Warp(matrices, together.fill, together.min_visible, together.size, together.swaps)

    def looking(self, before: Size, after: Size) -> Move:
        return _projection(self.matrices, after, before)

    def moving(self, before: Size, after: Size) -> Move:
        return _projection(tf.linalg.inv(self.matrices), before, after)

    def changed(self) -> tf.Tensor:
        return tf.reduce_any(self.matrices != np.eye(3, dtype=np.float32), axis=[1, 2])

    def resampling(self, before: Size, after: Size, engine: Engine) -> tuple[Resample, Resample]:
        how = {"matrices": self.matrices, "size": after}
        return partial(engine.warp, **how), partial(engine.warp_nearest, **how)


def _sides(size: Size) -> np.ndarray:
    """Width and height, float32 [2], in the order of x and y."""
    return np.array(size[::-1], np.float32)


def _projection(matrices: tf.Tensor, before: Size, after: Size) -> Move:
    """What matrices [B,3,3] over pixels do to points, for pictures of these sizes."""

    def move(points: tf.Tensor) -> tf.Tensor:
        pixels = points * _sides(before) - 0.5
        moved = tf.matmul(tf.pad(pixels, [[0, 0], [0, 0], [0, 1]], constant_values=1.0), matrices, transpose_b=True)
        return (moved[..., :2] / tf.maximum(moved[..., 2:], HORIZON) + 0.5) / _sides(after)

    return move


def _one_after_the_other(moves: Sequence[Move]) -> Move:
    def move(points: tf.Tensor) -> tf.Tensor:
        for step in moves:
            points = step(points)
        return points

    return move


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


def enlarge(pictures: tf.Tensor, windows: tf.Tensor, size: tuple[int, int], engine: Engine) -> tf.Tensor:
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
    return engine.warp(pictures, window_matrices(windows, pictures.shape[1:3], size), NearestFill(), size)


def window_matrices(windows: tf.Tensor, before: Size | tf.Tensor, after: Size) -> tf.Tensor:
    """Matrices [B,3,3] that make windows float32 [B,4] of pictures of one size the whole result."""
    shape = tf.cast(before, tf.float32)
    start = windows[:, :2] * shape
    step = (windows[:, 2:] - windows[:, :2]) * (shape / np.array(after, np.float32))
    first = start + step / 2 - 0.5
    zero = tf.zeros_like(step[:, 0])
    return affine([[step[:, 1], zero, first[:, 1]], [zero, step[:, 0], first[:, 0]]])
