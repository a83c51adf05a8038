"""Augmentations that change the light over the picture: gradients and shadows.

Pixels are multiplied by gains, which are worked out on a coarse grid and spread over the picture by bilinear
interpolation: light changes slowly, and a few hundred numbers cost nothing.

B = batch, g = GRID.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from models.stack import tf
from pipeline.augment.base import PictureOperation, PictureShape, Transform, between
from pipeline.augment.engines import Engine
from pipeline.augment.ranges import within
from pipeline.data.example import IMAGE, Example

if TYPE_CHECKING:
    import tensorflow as tf

GRID = 32
"""Rows and columns of gains; an edge of light is at least a 32nd of the picture wide."""
PLACES = ((np.arange(GRID, dtype=np.float32) + 0.5) / GRID - 0.5) * 2
"""Middles of the grid's cells, from the left (top) edge -1 to the right (bottom) edge 1."""


class LightGradient(PictureOperation):
    """Makes one side of the picture brighter and the opposite one darker, as light from the side."""

    kind: Literal["light_gradient"] = "light_gradient"
    """Makes one side of the picture brighter and the opposite one darker."""
    probability: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    strength: Annotated[tuple[float, float], within(0.0, 1.0)] = (0.1, 0.5)
    """Least and largest strength: values are multiplied by 1 - strength on one side to 1 + strength on the other. The
    direction is any."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Light:
        strength = between(draws[:, 1], *self.strength) * self.applies(draws)
        across, reach = along(2 * math.pi * draws[:, 2])
        return Light(1.0 + strength[:, tf.newaxis, tf.newaxis] * across / reach)


class Shadow(PictureOperation):
    """Darkens a strip of random place, width and direction with soft edges, as the shadow of a pole or a house."""

    kind: Literal["shadow"] = "shadow"
    """Darkens a strip of random place, width and direction with soft edges."""
    probability: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""
    strength: Annotated[tuple[float, float], within(0.0, 1.0)] = (0.2, 0.6)
    """Least and largest share of the light that the shadow takes, drawn uniformly."""
    width: Annotated[tuple[float, float], within(0.0, 1.0)] = (0.1, 0.6)
    """Least and largest width of the strip as a share of the picture's extent across it, drawn uniformly. Its middle is
    anywhere, so that a part of it may lie outside."""
    softness: float = Field(default=0.1, ge=0.03, le=1.0)
    """Width of its edges, within which the light falls evenly, as a share of the same extent."""
    num_draws: ClassVar[int] = 5

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Light:
        strength, half, middle = (
            tf.reshape(each, [-1, 1, 1])
            for each in (
                between(draws[:, 1], *self.strength) * self.applies(draws),
                between(draws[:, 2], *self.width),  # as extents are 2 wide, half the width in their unit
                between(draws[:, 3], -1.0, 1.0),
            )
        )
        across, reach = along(math.pi * draws[:, 4])
        inside = half - tf.abs(across / reach - middle)
        return Light(1.0 - strength * tf.clip_by_value(inside / (2 * self.softness) + 0.5, 0.0, 1.0))


class Light(Transform):
    """Pixels times gains float32 [B,g,g]; all 1 = no change."""

    def __init__(self, gains: tf.Tensor):
        self.gains = gains

    def then(self, later: Transform) -> Light | None:
        """Both as one, so that values are clipped once."""
        return Light(self.gains * later.gains) if isinstance(later, Light) else None

    def __call__(self, examples: Example, engine: Engine) -> Example:
        return {**examples, IMAGE: engine.light(examples[IMAGE], self.gains)}

    def describe(self) -> str:
        return "light changed"


def along(angle: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """How far each cell of the grid lies in a direction in radians [B], and how far the picture's corner does.

    Returns:
        float32 [B,g,g] and [B,1,1].
    """
    cos, sin = (tf.reshape(part, [-1, 1, 1]) for part in (tf.cos(angle), tf.sin(angle)))
    return cos * PLACES + sin * PLACES[:, np.newaxis], tf.abs(cos) + tf.abs(sin)
