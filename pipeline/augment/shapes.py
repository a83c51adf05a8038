"""Shapes that cover a part of a picture: what each pixel of a shape is, written once for both engines.

A shape has coordinates of its own, u to its right and v downwards, which a 2x3 matrix gives for each pixel (x, y, 1),
where (0, 0) is the middle of the top left pixel. Within a rectangle and around an ellipse or triangle, u and v run from
-1 to 1; a grid's units have side 1. The functions here use nothing but operators that numpy and TensorFlow share.

B = batch, N = shapes of a picture, C = channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.stack import tf

if TYPE_CHECKING:
    import tensorflow as tf

Outline = Callable[[Any, Any, Any], Any]
"""Whether a pixel at (u, v) belongs to the shape; the third number is the shape's `hidden`."""
Pattern = Callable[[Any, Any], Any]
"""How much of the second colour a pixel at u shows, 0..255; the second number is random for each channel, 0..255."""

NUM_STRIPES = 6
"""From one side of a shape to the other, in two colours by turns."""


def rectangle(u: Any, v: Any, hidden: Any) -> Any:
    """Upright in its own coordinates."""
    return (abs(u) <= 1.0) & (abs(v) <= 1.0)


def ellipse(u: Any, v: Any, hidden: Any) -> Any:
    """Touches the sides of the rectangle in their middles."""
    return u * u + v * v <= 1.0


def triangle(u: Any, v: Any, hidden: Any) -> Any:
    """Tip at (0, -1), base from (-1, 1) to (1, 1)."""
    return (2.0 * abs(u) <= v + 1.0) & (v <= 1.0)


def grid(u: Any, v: Any, hidden: Any) -> Any:
    """A square in each unit, from its top left corner, with sides of the share `hidden`."""
    return (u % 1.0 < hidden) & (v % 1.0 < hidden)


def flat(u: Any, noise: Any) -> Any:
    """The first colour alone."""
    return noise * 0.0


def stripes(u: Any, noise: Any) -> Any:
    """Both colours by turns, across u."""
    return noise * 0.0 + 255.0 * ((u + 1.0) * (NUM_STRIPES / 2) // 1.0 % 2.0)


def noisy(u: Any, noise: Any) -> Any:
    """Any mixture of both, for each channel of each pixel."""
    return noise


def mixed(first: Any, second: Any, share: Any) -> Any:
    """Colours 0..255 mixed, plus a half, so that cutting the fraction off rounds; float32 that holds every step exactly
    but the division."""
    return (first * (255.0 - share) + second * share) / 255.0 + 0.5


@dataclass(frozen=True)
class Shapes:
    """N shapes for each picture of a batch, later ones over earlier ones.

    Args:
        present: bool [B,N].
        frames: float32 [B,N,2,3], from a pixel to (u, v).
        colours: float32 [B,N,2,C], first and second colour, whole numbers 0..255; one number for all channels if flat.
        outlines: what shapes there may be.
        outline: int32 [B,N], index into `outlines`.
        patterns: how shapes may be filled.
        pattern: int32 [B,N], index into `patterns`.
        starts: int32 [B,N], where in the bank of uniform numbers a shape's noise begins.
        hidden: float32 [B,N], of a grid.
    """

    present: tf.Tensor
    frames: tf.Tensor
    colours: tf.Tensor
    outlines: tuple[Outline, ...]
    outline: tf.Tensor
    patterns: tuple[Pattern, ...]
    pattern: tf.Tensor
    starts: tf.Tensor
    hidden: tf.Tensor

    def recoloured(self, value: int) -> Shapes:
        """The same places filled with one value, in pictures with any number of channels."""
        nothing = tf.zeros_like(self.pattern)
        colours = tf.fill(tf.concat([tf.shape(nothing), [2, 1]], 0), float(value))
        return Shapes(
            self.present, self.frames, colours, self.outlines, self.outline, (flat,), nothing, self.starts, self.hidden
        )


def plain(present: tf.Tensor, frames: tf.Tensor, colours: tf.Tensor, outline: Outline, hidden: float = 0.0) -> Shapes:
    """Shapes of one outline, each filled with one colour float32 [B,N,C]."""
    nothing = tf.zeros_like(present, tf.int32)
    return Shapes(
        present=present,
        frames=frames,
        colours=tf.stack([colours, colours], axis=2),
        outlines=(outline,),
        outline=nothing,
        patterns=(flat,),
        pattern=nothing,
        starts=nothing,
        hidden=tf.fill(tf.shape(nothing), hidden),
    )


def frames(centre: tf.Tensor, half: tf.Tensor, angle: tf.Tensor | None = None) -> tf.Tensor:
    """Frames of shapes with these middles (x, y) and half sides (along u, v) float32 [...,2] in pixels.

    Args:
        angle: turn in radians, clockwise as seen, [...]; None = upright.

    Returns:
        float32 [...,2,3].
    """
    cos, sin = (
        (tf.ones_like(half[..., 0]), tf.zeros_like(half[..., 0])) if angle is None else (tf.cos(angle), tf.sin(angle))
    )
    axes = tf.stack([tf.stack([cos, sin], -1), tf.stack([-sin, cos], -1)], -2) / half[..., tf.newaxis]
    return tf.concat([axes, -tf.linalg.matmul(axes, centre[..., tf.newaxis])], axis=-1)


def pixels(start: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Frames of rectangles that cover whole pixels: first pixel and size (x, y) float32 [...,2] -> [...,2,3]."""
    half = tf.maximum(size, 1.0) / 2
    return frames(start + half - 0.5, half)
