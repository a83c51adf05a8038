"""Where a detector answers: the places of its feature maps, one behind the other.

B = batch, P = places of all levels together, A = answers of one cell, C = class numbers, R = box numbers of a place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.stack import tf

Tensor = Any

CLASSES = "classes"
BOXES = "boxes"


@dataclass(frozen=True)
class Layout:
    """The maps of one network.

    Args:
        height, width: of the model's picture, in pixels.
        strides: pixels between the cells of each map, the finest first.
        answers: A, of each cell.
    """

    height: int
    width: int
    strides: tuple[int, ...]
    answers: int

    def cells(self, stride: int) -> tuple[int, int]:
        """(rows, columns) of a map."""
        return math.ceil(self.height / stride), math.ceil(self.width / stride)

    def middles(self) -> np.ndarray:
        """float32 [P, 2]: x, y in pixels of the middle of each place's cell."""
        return np.concatenate([np.repeat(self._middles(stride), self.answers, axis=0) for stride in self.strides])

    def steps(self) -> np.ndarray:
        """float32 [P, 1]: the stride of each place."""
        return self.spread([np.full((self.answers, 1), stride, np.float32) for stride in self.strides])

    def spread(self, of_cells: Sequence[np.ndarray]) -> np.ndarray:
        """What the answers of a cell have, [A, k] of each level -> what each place has, [P, k]."""
        counts = [math.prod(self.cells(stride)) for stride in self.strides]
        return np.concatenate([np.tile(rows, (count, 1)) for rows, count in zip(of_cells, counts, strict=True)])

    def around(self, sides: Sequence[np.ndarray]) -> np.ndarray:
        """Boxes of these widths and heights, float32 [A, 2] of each level, around the middle of each place: [P, 4]."""
        middles, halves = self.middles(), 0.5 * self.spread(sides)
        return np.concatenate([middles - halves, middles + halves], axis=1).astype(np.float32)

    def scale(self) -> np.ndarray:
        """float32 [4]: what shares of the picture are in pixels."""
        return np.array([self.width, self.height] * 2, np.float32)

    def levels(self) -> list[Layout]:
        """Each level by itself."""
        return [replace(self, strides=(stride,)) for stride in self.strides]

    def shared_out(self, values: np.ndarray) -> list[np.ndarray]:
        """What belongs to the places [P, ...], as the parts of each level."""
        counts = [math.prod(self.cells(stride)) * self.answers for stride in self.strides]
        return np.split(values, np.cumsum(counts)[:-1])

    def mirrored(self, axis: int) -> np.ndarray:
        """int64 [P]: for each place the one that lies where it would in the picture turned around an axis: 0 upside
        down, 1 left to right."""
        places = self.shared_out(np.arange(sum(math.prod(self.cells(at)) for at in self.strides) * self.answers))
        grids = [one.reshape(*self.cells(at), self.answers) for one, at in zip(places, self.strides, strict=True)]
        return np.concatenate([np.flip(grid, axis).reshape(-1) for grid in grids])

    def outputs(self) -> list[str]:
        """Names of the raw outputs of a network."""
        return [f"{kind}_{stride}" for stride in self.strides for kind in (CLASSES, BOXES)]

    def joined(self, raw: Mapping[str, Tensor], kind: str) -> Tensor:
        """The maps `classes_S` (or `boxes_S`) [B, h, w, A*C] of all strides -> [B, P, C], float32."""
        return tf.concat([self._flat(raw[f"{kind}_{stride}"]) for stride in self.strides], axis=1)

    def _flat(self, numbers: Tensor) -> Tensor:
        _, rows, columns, channels = numbers.shape
        sizes = [-1, rows * columns * self.answers] if rows and columns else [tf.shape(numbers)[0], -1]
        return tf.reshape(tf.cast(numbers, tf.float32), [*sizes, channels // self.answers])

    def _middles(self, stride: int) -> np.ndarray:
        rows, columns = self.cells(stride)
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        return (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * stride


class LayoutOfBatch(Layout):
    """The maps of a network for pictures whose size is known only as they come, as in training at several sizes:
    `height` and `width` are int32 tensors, and what is numpy above is a tensor."""

    def cells(self, stride: int) -> tuple[Tensor, Tensor]:
        """See the base."""
        return (self.height + stride - 1) // stride, (self.width + stride - 1) // stride

    def middles(self) -> Tensor:
        """See the base."""
        return tf.concat([tf.repeat(self._middles(stride), self.answers, axis=0) for stride in self.strides], axis=0)

    def spread(self, of_cells: Sequence[np.ndarray]) -> Tensor:
        """See the base."""
        counts = [tf.reduce_prod(self.cells(stride)) for stride in self.strides]
        return tf.concat([tf.tile(rows, [count, 1]) for rows, count in zip(of_cells, counts, strict=True)], axis=0)

    def around(self, sides: Sequence[np.ndarray]) -> Tensor:
        """See the base."""
        middles, halves = self.middles(), 0.5 * self.spread(sides)
        return tf.concat([middles - halves, middles + halves], axis=1)

    def scale(self) -> Tensor:
        """See the base."""
        return tf.cast(tf.stack([self.width, self.height] * 2), tf.float32)

    def _middles(self, stride: int) -> Tensor:
        rows, columns = (tf.range(tf.cast(count, tf.float32)) for count in self.cells(stride))
        x, y = tf.meshgrid(columns, rows)
        return (tf.reshape(tf.stack([x, y], axis=-1), [-1, 2]) + 0.5) * stride
