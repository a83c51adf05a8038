"""Masks of objects as the formats want them."""

from __future__ import annotations

import numpy as np

from pipeline.data.convert.base import Picture
from pipeline.data.objects import mask_pixels
from pipeline.data.outlines import Outline, Polygons, Ring
from pipeline.data.pictures import StoredPicture


def pixels_of(mask: bytes | np.ndarray | Outline, picture: Picture) -> np.ndarray:
    """uint8 [h, w]: 1 where the object is.

    Raises:
        BadPicture: the mask does not fit the picture.
    """
    stored = StoredPicture(b"", picture.height, picture.width, 3, "")
    return (mask_pixels(mask, stored) != 0).astype(np.uint8)


def largest_ring(mask: bytes | np.ndarray | Outline, picture: Picture) -> tuple[Ring | None, int]:
    """The outline around the largest part of an object, in pixels, and how many parts it has; None where it has no
    outline with an area."""
    rings = list(mask.rings) if isinstance(mask, Polygons) else _contours(pixels_of(mask, picture))
    if not rings:
        return None, 0
    return max(rings, key=area_of), len(rings)


def area_of(ring: Ring) -> float:
    """The area inside an outline that does not cross itself."""
    x, y = np.array(ring, np.float64).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _contours(pixels: np.ndarray) -> list[Ring]:
    """Around the outer edges of the pixels: each is drawn as 2x2, so that an outline of one pixel has an area too."""
    import cv2

    doubled = np.kron(pixels, np.ones((2, 2), np.uint8))
    found, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rings = [[((x + 0.5) / 2, (y + 0.5) / 2) for x, y in ring[:, 0].tolist()] for ring in found if len(ring) > 2]
    return [ring for ring in rings if area_of(ring) > 0]
