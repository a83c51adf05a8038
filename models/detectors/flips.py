"""Test-time flips: a detector looks at each picture mirrored as well, and the answers of each place are averaged.

B = batch, V = views of a picture, P = places, K = classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from models.detectors.layout import Layout
from models.stack import tf

Tensor = Any
Flip = Literal["horizontal", "vertical"]

AXES: dict[Flip, int] = {"vertical": 0, "horizontal": 1}
"""Which axis of a picture [H, W] each flip turns around."""


@dataclass(frozen=True)
class Flips:
    """What is shown in place of one picture: itself, each flip of it, and both.

    Args:
        kinds: which there are.
    """

    kinds: Sequence[Flip]

    @property
    def axes(self) -> list[tuple[int, ...]]:
        """The axes that each of the V views turns around; none for the picture itself."""
        used = sorted({AXES[flip] for flip in self.kinds})
        return [axes for count in range(len(used) + 1) for axes in combinations(used, count)]

    def shown(self, image: Tensor) -> Tensor:
        """[B, H, W, C] -> [B*V, H, W, C], the views of one picture one behind the other."""
        views = [tf.reverse(image, [axis + 1 for axis in axes]) if axes else image for axes in self.axes]
        return tf.reshape(tf.stack(views, axis=1), [-1, *image.shape[1:]])

    def apart(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A network's outputs [B*V, ...] by name -> [B, V, ...]."""
        return {name: tf.reshape(one, [-1, len(self.axes), *one.shape[1:]]) for name, one in outputs.items()}

    def together(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The way back."""
        return {name: tf.reshape(one, [-1, *one.shape[2:]]) for name, one in outputs.items()}

    def averaged(self, layout: Layout, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of what the views say of the same place.

        Args:
            boxes: float32 [B*V, P, 4] in pixels of each view.
            scores: float32 [B*V, P, K].

        Returns:
            Boxes [B, P, 4] in pixels of the picture, and scores [B, P, K].
        """
        numbers = tf.concat([boxes, scores], axis=-1)
        views = tf.unstack(tf.reshape(numbers, [-1, len(self.axes), *numbers.shape[1:]]), axis=1)
        turned = [_turned_back(layout, view, axes) for view, axes in zip(views, self.axes, strict=True)]
        mean = tf.reduce_mean(tf.stack(turned), axis=0)
        return mean[..., :4], mean[..., 4:]


def _turned_back(layout: Layout, numbers: Tensor, axes: Sequence[int]) -> Tensor:
    """Boxes and scores [B, P, 4 + K] of a view, as those of the picture: each at the place that lies mirrored."""
    for axis in axes:
        numbers = tf.gather(numbers, layout.mirrored(axis), axis=1)
        mirrored = tf.gather(numbers[..., :4], [0, 3, 2, 1] if axis == 0 else [2, 1, 0, 3], axis=-1)
        side = np.where(np.arange(4) % 2 == 1 - axis, [layout.width, layout.height] * 2, 0.0).astype(np.float32)
        boxes = side + mirrored * np.where(side > 0, -1.0, 1.0).astype(np.float32)
        numbers = tf.concat([boxes, numbers[..., 4:]], axis=-1)
    return numbers
