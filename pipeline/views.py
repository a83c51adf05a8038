"""How a picture is looked at to be answered: as a whole, in tiles, mirrored as well.

A view is what the model is shown, and which part of the picture that is. A window is y_min, x_min, y_max, x_max as
shares of the picture, float32 [4]; the view is mirrored where x_min is the larger.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from models.preprocess import PictureFormat


@dataclass(frozen=True)
class View:
    """One look at a picture.

    Args:
        pixels: uint8 [H, W, C], as the model takes them.
        window: where in the picture they are from.
    """

    pixels: np.ndarray
    window: np.ndarray

    def mirrored(self) -> View:
        """The same from left to right."""
        return View(self.pixels[:, ::-1], self.window[[0, 3, 2, 1]])


class Views(ABC):
    """The base of ways to look at a picture."""

    pictures_at_once: ClassVar[int] = 1
    """How many pictures' views are held in memory together."""

    @abstractmethod
    def of(self, picture: bytes, format: PictureFormat) -> list[View]:
        """The views of an encoded picture, the whole one first."""


class Whole(Views):
    """The picture as it was trained on."""

    pictures_at_once: ClassVar[int] = 32

    def of(self, picture: bytes, format: PictureFormat) -> list[View]:
        """That alone."""
        from models.preprocess import decode_and_fit, picture_size

        height, width = picture_size(picture).numpy().tolist()
        return [View(decode_and_fit(picture, format).numpy(), format.window(height, width))]


@dataclass(frozen=True)
class Tiled(Views):
    """The whole picture, and tiles of the model's size, pixel for pixel, for objects that are small in large pictures
    (Akyon et al. 2022, "Slicing aided hyper inference", section 3). Where the picture is narrower or lower than a tile,
    grey bars fill it up, whatever `fit` the model was trained with.

    Args:
        overlap: the least share of a tile's side that it has in common with the next one; objects up to that size are
            whole in some tile.
    """

    overlap: float = 0.25

    def of(self, picture: bytes, format: PictureFormat) -> list[View]:
        """The whole picture alone where it is no larger than a tile."""
        from models.preprocess import decode_picture

        whole = Whole().of(picture, format)
        pixels = decode_picture(picture, format).numpy()
        places = tiles(pixels.shape[:2], (format.height, format.width), self.overlap)
        padded = format.model_copy(update={"fit": "letterbox"})
        return whole if len(places) == 1 else [*whole, *(_tile(pixels, place, padded) for place in places)]


@dataclass(frozen=True)
class Mirrored(Views):
    """Each view a second time, mirrored: for objects that look the same from both sides."""

    views: Views

    def of(self, picture: bytes, format: PictureFormat) -> list[View]:
        """The views, then all of them mirrored."""
        views = self.views.of(picture, format)
        return [*views, *(view.mirrored() for view in views)]


def tiles(size: Sequence[int], tile: tuple[int, int], overlap: float) -> list[tuple[int, int, int, int]]:
    """y_min, x_min, y_max, x_max in pixels of tiles that cover a picture evenly.

    Args:
        size: height and width of the picture.
        tile: those of a tile, which is cut where the picture is smaller.
        overlap: the least share of a tile's side that it has in common with the next one.
    """
    rows, columns = (_spans(*pair, overlap) for pair in zip(size, tile, strict=True))
    return [(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def _spans(length: int, tile: int, overlap: float) -> list[tuple[int, int]]:
    if length <= tile:
        return [(0, length)]
    count = math.ceil((length - tile) / (tile * (1.0 - overlap))) + 1
    return [(start, start + tile) for start in np.linspace(0, length - tile, count).round().astype(int).tolist()]


def _tile(pixels: np.ndarray, place: tuple[int, int, int, int], format: PictureFormat) -> View:
    from models.preprocess import fit_picture

    top, left, bottom, right = place
    height, width = pixels.shape[:2]
    corner, extent = np.array([top, left] * 2), np.array([bottom - top, right - left] * 2)
    window = (corner + format.window(bottom - top, right - left) * extent) / (height, width, height, width)
    shown: Any = fit_picture(pixels[top:bottom, left:right], format)
    return View(shown.numpy(), window.astype(np.float32))
