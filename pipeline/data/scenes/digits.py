"""One digit in a scene: how it looks, where it is, and the pixels that are its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.data.scenes.handwriting import FINER, Glyph, any_glyph

Generator = np.random.Generator

INKS: dict[str, tuple[float, float, float]] = {
    "black": (0.06, 0.06, 0.07),
    "white": (0.95, 0.95, 0.93),
    "red": (0.85, 0.12, 0.12),
    "green": (0.10, 0.60, 0.20),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.15),
    "orange": (0.95, 0.50, 0.08),
    "purple": (0.50, 0.18, 0.65),
}
"""What captions call the colours, before light falls on them."""
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
ROWS = 8
"""Of a digit in the set; it fills all of them."""


@dataclass(frozen=True)
class Digit:
    """A digit as it is in one picture.

    Args:
        glyph: the handwriting.
        ink: name of its colour.
        shade: float32 [3], the colour itself.
        height: in pixels, before it is turned.
        aspect: its width by its height, 1 as it was written.
        angle: turned so far, in degrees, anticlockwise.
        slant: sheared so far, as a share of its height.
        weight: how much ink a pixel needs to be dark, 0..1; less makes thicker strokes.
        opacity: 0..1.
        x, y: its middle, in pixels.
        track: its number within a sequence, from 1; 0 in a scene of its own.
    """

    glyph: Glyph
    ink: str
    shade: np.ndarray
    height: float
    aspect: float
    angle: float
    slant: float
    weight: float
    opacity: float
    x: float
    y: float
    track: int = 0

    @classmethod
    def drawn(cls, generator: Generator, split: str, height: float) -> Digit:
        """A digit of a split at no particular place, in black."""
        return cls(
            glyph=any_glyph(generator, split),
            ink="black",
            shade=np.zeros(3, np.float32),
            height=height,
            aspect=generator.uniform(0.85, 1.2),
            angle=generator.uniform(-25.0, 25.0),
            slant=generator.uniform(-0.25, 0.25),
            weight=generator.uniform(0.38, 0.58),
            opacity=generator.uniform(0.85, 1.0),
            x=0.0,
            y=0.0,
        )

    def at(self, x: float, y: float) -> Digit:
        """The same at another place."""
        return replace(self, x=x, y=y)

    def inked(
        self, generator: Generator, grounds: np.ndarray, least_contrast: float, taken: Collection[str] = ()
    ) -> Digit:
        """The same in a colour that can be read on all that it lies on, of those that are not taken if it can be; black
        or white where that is hard.

        Args:
            grounds: float32 [n, 3], n >= 1: the mean of what is below, in each of the places where it is to be read.
            least_contrast: of ink and grounds, in luminance.
        """
        names, shift = list(INKS), generator.normal(0, 0.04, 3)
        for number in sorted(generator.permutation(len(names)), key=lambda one: names[one] in taken):
            shade = np.clip(np.array(INKS[names[number]]) + shift, 0, 1).astype(np.float32)
            if contrast(shade, grounds) >= least_contrast:
                return replace(self, ink=names[number], shade=shade)
        luminance = grounds @ LUMINANCE
        name = "white" if float(1.0 - luminance.max()) > float(luminance.min()) else "black"
        return replace(self, ink=name, shade=np.array(INKS[name], np.float32))

    def stamp(self) -> Stamp:
        """Its strokes at the size and turn that it has."""
        scale = self.height / (ROWS * FINER)
        angle = np.deg2rad(self.angle)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        shape = turn @ np.array([[1.0, -self.slant], [0.0, 1.0]]) @ np.diag([self.aspect * scale, scale])
        middle = (np.array(self.glyph.ink.shape[::-1]) - 1) / 2
        across, down = (int(np.ceil(reach)) for reach in np.abs(shape) @ middle)
        left, top = int(np.floor(self.x)) - across, int(np.floor(self.y)) - down
        centre = np.array([self.x - left, self.y - top]) - 0.5
        matrix = np.column_stack([shape, centre - shape @ middle])
        ink = cv2.warpAffine(self.glyph.ink, matrix, (2 * across + 1, 2 * down + 1), flags=cv2.INTER_LINEAR)
        softness = np.float32(np.clip(1.6 * ROWS / self.height, 0.12, 0.5))
        return Stamp(left, top, np.clip((ink - np.float32(self.weight)) / softness + np.float32(0.5), 0, 1))


@dataclass(frozen=True)
class Stamp:
    """Something with an outline of its own at a place, which may lie outside the picture.

    Args:
        left, top: of its pixels in the picture.
        alpha: float32 [a, b], 0..1: how far it hides what is below.
    """

    left: int
    top: int
    alpha: np.ndarray

    def within(self, height: int, width: int) -> tuple[slice, slice, np.ndarray]:
        """Rows and columns of a picture that it lies on, and the alpha of these."""
        rows = slice(max(self.top, 0), max(min(self.top + self.alpha.shape[0], height), 0))
        columns = slice(max(self.left, 0), max(min(self.left + self.alpha.shape[1], width), 0))
        inner = self.alpha[
            rows.start - self.top : max(rows.stop - self.top, 0),
            columns.start - self.left : max(columns.stop - self.left, 0),
        ]
        return rows, columns, inner

    def box(self, height: int, width: int) -> tuple[float, float, float, float] | None:
        """Around its own pixels within a picture: x_min, y_min, x_max, y_max; None where it has none there."""
        rows, columns, alpha = self.within(height, width)
        ys, xs = np.nonzero(alpha > OWN)
        if not len(ys):
            return None
        left, top = columns.start, rows.start
        return float(left + xs.min()), float(top + ys.min()), float(left + xs.max() + 1), float(top + ys.max() + 1)

    def moved(self, x: int, y: int) -> Stamp:
        """The same at another place, so many pixels away."""
        return Stamp(self.left + x, self.top + y, self.alpha)

    def touches(self, other: Stamp) -> bool:
        """Whether their rectangles have pixels in common."""
        down = self.top < other.top + other.alpha.shape[0] and other.top < self.top + self.alpha.shape[0]
        across = self.left < other.left + other.alpha.shape[1] and other.left < self.left + self.alpha.shape[1]
        return down and across

    @property
    def area(self) -> int:
        """Pixels that it has as its own, within the picture or not."""
        return int(np.count_nonzero(self.alpha > OWN))


def contrast(shade: np.ndarray, grounds: np.ndarray) -> float:
    """The least difference in luminance, 0..1, of a colour float32 [3] and grounds float32 [n, 3]."""
    return float(np.abs(grounds @ LUMINANCE - shade @ LUMINANCE).min())


OWN = 0.5
"""Alpha from which a pixel belongs to what is stamped on it."""
