"""Where an object is, as annotation files say it: by outlines, or by runs of pixels. Both become a mask when they are
needed, so that going through a file of labels costs no pixels.

h, w = the picture's height and width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Ring = Sequence[tuple[float, float]]

LEAST_CORNERS = 3
"""Of an outline; fewer enclose nothing."""
SMALLEST_CHARACTER = 48
"""What COCO's compressed runs add to each six bits."""


class BadOutline(ValueError):
    """An outline that cannot be used; the message is the reason."""


class Outline(ABC):
    """The pixels of an object, said in another way than pixel by pixel."""

    @abstractmethod
    def pixels(self, height: int, width: int) -> np.ndarray:
        """uint8 [h, w]: 1 where the object is.

        Raises:
            BadOutline: it does not fit a picture of this size, or is damaged.
        """

    @abstractmethod
    def bounds(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max around the object.

        Raises:
            BadOutline: it is empty.
        """

    @abstractmethod
    def scaled(self, x: float, y: float) -> Outline:
        """The same with all places multiplied, such as from shares of the picture to pixels."""


@dataclass(frozen=True)
class Polygons(Outline):
    """One or more closed outlines; the object is what any of them encloses.

    Args:
        rings: corners x, y of each, in the unit of the object that they belong to.
    """

    rings: tuple[tuple[tuple[float, float], ...], ...]

    @classmethod
    def of(cls, rings: Sequence[Ring]) -> Polygons:
        """Outlines from any lists of corners.

        Raises:
            BadOutline: one has fewer than three corners, or one that is not finite; or there is none.
        """
        if not rings:
            raise BadOutline("it has no outline")
        for ring in rings:
            if len(ring) < LEAST_CORNERS:
                raise BadOutline(f"an outline has {len(ring)} corners, expected at least {LEAST_CORNERS}")
            if not all(math.isfinite(x) and math.isfinite(y) for x, y in ring):
                raise BadOutline("an outline has a corner that is not finite")
        return cls(tuple(tuple((float(x), float(y)) for x, y in ring) for ring in rings))

    def pixels(self, height: int, width: int) -> np.ndarray:
        """As pycocotools fills outlines, which most instance masks are measured with."""
        from pycocotools import mask

        flat = [[value for corner in ring for value in corner] for ring in self.rings]
        runs = mask.merge(mask.frPyObjects(flat, height, width))  # whose `decode` numpy 2 warns about
        return RunLengths.of(height, width, runs["counts"].decode()).pixels(height, width)

    def scaled(self, x: float, y: float) -> Polygons:
        return Polygons(tuple(tuple((px * x, py * y) for px, py in ring) for ring in self.rings))

    def bounds(self) -> tuple[float, float, float, float]:
        xs, ys = zip(*(corner for ring in self.rings for corner in ring), strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class RunLengths(Outline):
    """COCO's runs of pixels, column by column: how many are 0, then how many are 1, and so on.

    Args:
        height, width: of the picture.
        counts: the lengths of the runs.
    """

    height: int
    width: int
    counts: tuple[int, ...]

    @classmethod
    def of(cls, height: int, width: int, counts: Sequence[int] | str) -> RunLengths:
        """Runs as COCO's JSON has them: a list of lengths, or text in which they are compressed.

        Raises:
            BadOutline: the runs do not add up to the picture, or the text is damaged.
        """
        lengths = _uncompressed(counts) if isinstance(counts, str) else [int(count) for count in counts]
        if sum(lengths) != height * width or any(length < 0 for length in lengths):
            raise BadOutline(f"its runs are {sum(lengths)} pixels long, the picture has {height} x {width}")
        return cls(height, width, tuple(lengths))

    def pixels(self, height: int, width: int) -> np.ndarray:
        if (height, width) != (self.height, self.width):
            raise BadOutline(
                f"its runs are of a picture of {self.width} x {self.height} pixels, this one has {width} x {height}"
            )
        values = np.arange(len(self.counts), dtype=np.uint8) % 2
        return np.repeat(values, self.counts).reshape(width, height).T

    def bounds(self) -> tuple[float, float, float, float]:
        pixels = self.pixels(self.height, self.width)
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if not len(rows):
            raise BadOutline("its mask is empty")
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)

    def scaled(self, x: float, y: float) -> RunLengths:
        if (x, y) != (1.0, 1.0):
            raise BadOutline("runs of pixels cannot be scaled")
        return self


def run_lengths(pixels: np.ndarray) -> RunLengths:
    """The runs of a mask, [h, w], not 0 where the object is."""
    flat = (pixels != 0).T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, len(flat)]).tolist()
    height, width = pixels.shape
    return RunLengths(height, width, tuple([0, *counts] if flat[0] else counts))


def _uncompressed(text: str) -> list[int]:
    """The lengths in COCO's compressed text: five bits a character, lowest first, the sixth says that more follow; from
    the third on, each is the difference to the one two before (`rleFrString` of pycocotools, which leaves memory that
    was never written where a text is cut short)."""
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - SMALLEST_CHARACTER
        if not 0 <= bits < 64:
            raise BadOutline(f"its runs hold the character {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise BadOutline("its runs are cut short")
    return lengths
