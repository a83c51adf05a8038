"""How the camera moved between two frames, by what stands still in them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field

from models.settings import Settings

MOST_POINTS = 300
QUALITY = 0.01
APART = 7
"""Pixels between two points, of the picture that the flow is taken of."""
LEAST_POINTS = 10
"""Fewer say nothing of the camera."""
LEAST_SHARE = 0.3
"""Of the points that have to move as the camera is said to."""


class CameraMotion(Protocol):
    """Told of every frame in turn."""

    def __call__(self, pixels: np.ndarray | None, boxes: np.ndarray) -> np.ndarray | None:
        """How places of the frame before became places of this one, float64 [2,3]; None: not at all, or not known.

        Args:
            pixels: uint8 [h,w,3].
            boxes: of objects that may move by themselves, corners [n,4] in pixels.
        """


class Camera(Settings):
    """Whether the camera moves."""

    @abstractmethod
    def start(self) -> CameraMotion:
        """What looks at the frames of one video."""


class StillCamera(Camera):
    """The camera stands still, or moves so little that it does not matter."""

    kind: Literal["still"] = "still"
    """The camera stands still, or moves so little that it does not matter."""

    def start(self) -> CameraMotion:
        return lambda pixels, boxes: None


class MovingCamera(Camera):
    """The camera pans, turns or zooms: its motion is taken from the background, and tracks are moved along with it."""

    kind: Literal["moving"] = "moving"
    """The camera pans, turns or zooms: its motion is taken from the background, and tracks are moved along with it."""
    height: int = Field(default=360, ge=32, le=4320)
    """Frames that are higher are made so many pixels high for it."""

    def start(self) -> CameraMotion:
        return BackgroundFlow(self.height)


AnyCamera = Annotated[StillCamera | MovingCamera, Field(discriminator="kind")]


class BackgroundFlow:
    """Sparse optical flow outside the boxes, and the similarity that most of it agrees with (BoT-SORT, 2022, section
    3.2): corners of J. Shi and C. Tomasi, "Good features to track", 1994; the pyramidal flow of Lucas and Kanade;
    RANSAC.

    Args:
        height: of the pictures that the flow is taken of, in pixels, at the most.
    """

    def __init__(self, height: int):
        self._height = height
        self._before: np.ndarray | None = None
        self._points = np.zeros((0, 1, 2), np.float32)

    def __call__(self, pixels: np.ndarray | None, boxes: np.ndarray) -> np.ndarray | None:
        """See `CameraMotion`."""
        if pixels is None:
            return None
        scale = min(1.0, self._height / pixels.shape[0])
        now, before = _grey(pixels, scale), self._before
        matrix = _motion(before, now, self._points) if before is not None and before.shape == now.shape else None
        self._before, self._points = now, _corners(now, boxes * scale)
        return None if matrix is None else np.hstack([matrix[:, :2], matrix[:, 2:] / scale])


def _grey(pixels: np.ndarray, scale: float) -> np.ndarray:
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return grey if scale == 1.0 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _corners(grey: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Places that can be found again outside the boxes, float32 [p,1,2]."""
    import cv2

    outside = np.full(grey.shape, 255, np.uint8)
    for x_min, y_min, x_max, y_max in np.rint(np.maximum(boxes, 0)).astype(int).tolist():
        outside[y_min : y_max + 1, x_min : x_max + 1] = 0
    found = cv2.goodFeaturesToTrack(grey, MOST_POINTS, QUALITY, APART, mask=outside)
    return np.zeros((0, 1, 2), np.float32) if found is None else found


def _motion(before: np.ndarray, now: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """The similarity [2,3] that most of the points agree with; None where too few do."""
    import cv2

    if len(points) < LEAST_POINTS:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, now, points, np.empty_like(points))
    there = found.ravel() == 1
    if there.sum() < LEAST_POINTS:
        return None
    matrix, agree = cv2.estimateAffinePartial2D(points[there], moved[there], method=cv2.RANSAC)
    if matrix is None or agree.mean() < LEAST_SHARE:
        return None
    return np.asarray(matrix, np.float64)
