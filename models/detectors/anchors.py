"""Anchors: the boxes that each cell of a feature map begins with. Settings, importable without TensorFlow.

S = levels, A = anchors of one cell.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from models.detectors.layout import Layout
from models.settings import Settings

Positive = Annotated[float, Field(gt=0.0)]


class Anchors(Settings):
    """The base of ways to choose anchors."""

    @abstractmethod
    def answers(self, levels: int) -> int:
        """A; ValueError where the levels cannot have the same number."""

    @abstractmethod
    def shapes(self, strides: tuple[int, ...]) -> list[np.ndarray]:
        """Width and height in pixels of the anchors of each level, float32 [A, 2] each."""

    def boxes(self, layout: Layout) -> np.ndarray:
        """float32 [P, 4], in pixels; they may leave the picture."""
        return layout.around(self.shapes(layout.strides))


class RegularAnchors(Anchors):
    """The same sizes, in cells, and proportions on each level (Lin et al. 2017, "Focal loss", section 4)."""

    kind: Literal["regular"] = "regular"
    """Sizes that grow with the level's stride."""
    side: float = Field(default=2.0, gt=0.0)
    """Side of the smallest square anchor in cells; 4 in the paper, whose finest stride is 8."""
    sizes: tuple[Positive, ...] = Field(default=(1.0, 2 ** (1 / 3), 2 ** (2 / 3)), min_length=1)
    """Factors on that side."""
    proportions: tuple[Positive, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """Heights as multiples of the width; the area stays the same."""

    def answers(self, levels: int) -> int:
        """See the base."""
        return len(self.sizes) * len(self.proportions)

    def shapes(self, strides: tuple[int, ...]) -> list[np.ndarray]:
        """See the base."""
        unit = [(size / math.sqrt(part), size * math.sqrt(part)) for size in self.sizes for part in self.proportions]
        return [np.array(unit, np.float32) * self.side * stride for stride in strides]


class FittedAnchors(Anchors):
    """Shapes that `convoy anchors` has fitted to the training boxes: the smallest go to the finest level."""

    kind: Literal["fitted"] = "fitted"
    """Shapes in pixels, fitted to the data."""
    pixels: tuple[tuple[Positive, Positive], ...] = Field(min_length=1)
    """Width and height of each in pixels of the model's picture, such as `convoy anchors` prints; as many for each
    level."""

    def answers(self, levels: int) -> int:
        """See the base."""
        if len(self.pixels) % levels:
            raise ValueError(
                f"{len(self.pixels)} anchors cannot be shared out evenly over {levels} levels; give a multiple of "
                f"{levels} (convoy anchors --count {levels * max(1, round(len(self.pixels) / levels))})"
            )
        return len(self.pixels) // levels

    def shapes(self, strides: tuple[int, ...]) -> list[np.ndarray]:
        """See the base."""
        ordered = sorted(self.pixels, key=math.prod)
        each = self.answers(len(strides))
        return [np.array(ordered[at * each : (at + 1) * each], np.float32) for at in range(len(strides))]


AnyAnchors = Annotated[RegularAnchors | FittedAnchors, Field(discriminator="kind")]
