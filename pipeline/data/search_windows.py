"""Square parts of frames around an object, as Siamese trackers look at them: of whole pixels, so that what is found in
one is exactly known in the frame.

S = side of a crop, n = boxes, h, w = the frame. Corners: x_min, y_min, x_max, y_max in pixels of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONTEXT = 0.5
"""Margin of a template on each side, as a share of the mean of the object's width and height (L. Bertinetto et al.,
"Fully-convolutional Siamese networks for object tracking", 2016, section 3.2)."""
REACH = 2.0
"""Side of a window, in sides of a template with its margin (as there: 255 pixels to 127)."""
LEAST_SIDE = 8
"""Of a window, in pixels of the frame."""


def window_side(width: float, height: float) -> float:
    """The side of the window around an object, in pixels: four times that of a square object."""
    margin = 2 * CONTEXT * (width + height) / 2
    return REACH * float(np.sqrt((width + margin) * (height + margin)))


@dataclass(frozen=True)
class Window:
    """A square of a frame; it may reach beyond it.

    Args:
        left, top: of its first pixel.
        side: in pixels.
    """

    left: int
    top: int
    side: int

    @classmethod
    def at(cls, x: float, y: float, side: float) -> Window:
        """The window with its middle nearest to a point."""
        whole = max(LEAST_SIDE, round(side))
        return cls(round(x - whole / 2), round(y - whole / 2), whole)

    @classmethod
    def around(cls, box: np.ndarray) -> Window:
        """The usual window around an object's corners [4]."""
        width, height = box[2:] - box[:2]
        x, y = (box[:2] + box[2:]) / 2
        return cls.at(x, y, window_side(width, height))

    def cut(self, pixels: np.ndarray, size: int) -> np.ndarray:
        """The crop uint8 [S,S,3] of a frame uint8 [h,w,3]; beyond the frame stands its mean colour."""
        import cv2

        height, width = pixels.shape[:2]
        low = np.clip([self.top, self.left], 0, [height, width])
        high = np.clip([self.top + self.side, self.left + self.side], 0, [height, width])
        colour = np.rint(pixels[::8, ::8].mean(axis=(0, 1))).astype(np.uint8)
        # Row by row: colour by colour it would take longer than all the rest.
        part = np.tile(np.tile(colour, self.side), (self.side, 1)).reshape(self.side, self.side, -1)
        rows, columns = slice(low[0] - self.top, high[0] - self.top), slice(low[1] - self.left, high[1] - self.left)
        part[rows, columns] = pixels[low[0] : high[0], low[1] : high[1]]
        shrinks = self.side > size
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def shares(self, corners: np.ndarray) -> np.ndarray:
        """Corners [n,4] as shares of the window, float64 [n,4]; what lies outside is below 0 or above 1."""
        return np.asarray((corners - self._origin) / self.side, np.float64)

    def corners(self, shares: np.ndarray) -> np.ndarray:
        """The inverse."""
        return np.asarray(shares, np.float64) * self.side + self._origin

    def touches(self, box: np.ndarray) -> bool:
        """Whether any of a box [4] lies in it."""
        low, high = self._origin[:2], self._origin[:2] + self.side
        return bool(np.all(box[:2] < high) and np.all(box[2:] > low))

    @property
    def _origin(self) -> np.ndarray:
        return np.array([self.left, self.top] * 2, np.float64)
