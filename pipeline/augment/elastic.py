"""Elastic deformation: the picture as if it were printed on rubber.

The displacements are a uniform cubic B-spline over a coarse grid of control points: smooth (twice differentiable),
never larger than the largest control point, and exact at any place, so boxes and points follow the picture exactly.

B = batch, M = points, K = control points along one axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from models.stack import tf
from pipeline.augment.base import PictureShape, between
from pipeline.augment.fill import AnyFill, Fill, ReflectFill
from pipeline.augment.geometry import GeometricOperation
from pipeline.augment.places import Move
from pipeline.augment.warp import Relocation, Size

if TYPE_CHECKING:
    import tensorflow as tf

MOST_CELLS = 10
INVERSE_STEPS = 6
"""Fixed-point steps to find where a point goes. Each makes the error smaller by the steepness of the deformation. What
is left, in cells: below 2e-5 at the default magnitude and 1e-4 at the largest one; 1e-3 in the worst case, where every
control point is at one of its extremes (tested)."""


class ElasticDeformation(GeometricOperation):
    """Bends the picture by smooth random displacements, as tissue does: for microscopy, and for handwriting.

    A grid of cells is laid over the picture. The displacements at its corners are drawn uniformly, and smooth between.
    Source: Ronneberger, Fischer and Brox, "U-Net", 2015, section 3.1 (3 x 3 grid, smooth interpolation); Simard,
        Steinkraus and Platt, "Best practices for convolutional neural networks", 2003, section 2 (the idea). Up to a
        displacement of 0.48 of a cell the picture is never folded: Choi and Lee, "Injectivity conditions of 2D and 3D
        uniform cubic B-spline functions", 2000.
    """

    kind: Literal["elastic"] = "elastic"
    """Bends the picture by smooth random displacements."""
    fill: Fill = ReflectFill()
    """What is seen where the bent picture does not reach; masks then hold 255 (does not count)."""
    magnitude: float = Field(default=0.2, ge=0.0, le=0.25)
    """Largest displacement, as a share of a cell's height and width."""
    cells: int = Field(default=4, ge=1, le=MOST_CELLS)
    """Cells of the grid along each side: few bend the picture as a whole, many ripple it."""
    num_draws: ClassVar[int] = 1 + 2 * (MOST_CELLS + 3) ** 2

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Elastic:
        side = self.cells + 3
        drawn = tf.reshape(draws[:, 1 : 1 + 2 * side**2], [-1, side, side, 2])
        limit = self.magnitude / self.cells
        control = between(drawn, -limit, limit) * self.applies(draws)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        return Elastic(control, self.fill, self.min_visible)


class Elastic(Relocation):
    """Every place of the result looks at another one near it.

    Args:
        control: float32 [B,K,K,2], displacements (x, y) at the control points, by row and column, as shares of the
            picture; K = cells + 3, because the spline needs one more on each side.
        fill, min_visible: as for every Relocation.
    """

    def __init__(self, control: tf.Tensor, fill: AnyFill | None, min_visible: float):
        super().__init__(fill, min_visible)
        self.control = control

    def looking(self, before: Size, after: Size) -> Move:
        return lambda points: points + self.displacement(points)

    def moving(self, before: Size, after: Size) -> Move:
        def move(points: tf.Tensor) -> tf.Tensor:
            moved = points
            for _ in range(INVERSE_STEPS):
                moved = points - self.displacement(moved)
            return moved

        return move

    def changed(self) -> tf.Tensor:
        return tf.reduce_any(self.control != 0.0, axis=[1, 2, 3])

    def displacement(self, points: tf.Tensor) -> tf.Tensor:
        """The displacements at points (x, y) float32 [B,M,2]; outside the picture, those of its edge."""
        count = self.control.shape[1]
        cell = tf.clip_by_value(points, 0.0, 1.0)[..., tf.newaxis] * (count - 3.0)
        distance = cell - np.arange(-1.0, count - 1.0, dtype=np.float32)
        across, down = tf.unstack(cubic_spline(tf.abs(distance)), axis=2)
        rows = tf.reshape(down @ tf.reshape(self.control, [-1, count, 2 * count]), [-1, tf.shape(points)[1], count, 2])
        return tf.reduce_sum(rows * across[..., tf.newaxis], axis=2)


def cubic_spline(distance: tf.Tensor) -> tf.Tensor:
    """The uniform cubic B-spline at distances 0.. from its middle; 0 from 2 on."""
    near, far = tf.maximum(1.0 - distance, 0.0), tf.maximum(2.0 - distance, 0.0)
    return (far * far * far - 4.0 * near * near * near) / 6.0
