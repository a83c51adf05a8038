"""Where a detector answers: the places of its feature maps, one behind the other.

B = batch, P = places of all levels together, A = answers of one cell, C = class numbers, R = box numbers of a place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
        counts = [math.prod(self.cells(stride)) * self.answers for stride in self.strides]
        return np.repeat(np.array(self.strides, np.float32), counts)[:, np.newaxis]

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

    def outputs(self) -> list[str]:
        """Names of the raw outputs of a network."""
        return [f"{kind}_{stride}" for stride in self.strides for kind in (CLASSES, BOXES)]

    def joined(self, raw: Mapping[str, Tensor], kind: str) -> Tensor:
        """The maps `classes_S` (or `boxes_S`) [B, h, w, A*C] of all strides -> [B, P, C], float32."""
        return tf.concat([self._flat(raw[f"{kind}_{stride}"]) for stride in self.strides], axis=1)

    def _flat(self, numbers: Tensor) -> Tensor:
        _, rows, columns, channels = numbers.shape
        return tf.reshape(tf.cast(numbers, tf.float32), [-1, rows * columns * self.answers, channels // self.answers])

    def _middles(self, stride: int) -> np.ndarray:
        rows, columns = self.cells(stride)
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        return (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * stride
