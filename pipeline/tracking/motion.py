"""How tracked boxes move: the interface of the filters. T = tracks, m, n = some of them, D = detections.

Boxes are centred (middle, width, height), float64, in pixels; speeds in pixels a frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from models.settings import Settings


class MotionFilter(ABC):
    """Where T boxes are and where they are going, all in a few arrays. A track is known by its place in them."""

    @property
    @abstractmethod
    def boxes(self) -> np.ndarray:
        """The most likely boxes [T,4]; sides above 0."""

    @abstractmethod
    def add(self, boxes: np.ndarray) -> None:
        """Puts new tracks, seen for the first time at boxes [n,4], behind those that are there."""

    @abstractmethod
    def keep(self, kept: np.ndarray) -> None:
        """Drops the tracks where bool [T] is false; the others move up."""

    @abstractmethod
    def predict(self, unseen: np.ndarray) -> None:
        """Moves all tracks on by one frame. Those where bool [T] is true keep their size, which nothing corrects."""

    @abstractmethod
    def update(self, places: np.ndarray, boxes: np.ndarray) -> None:
        """Corrects the tracks at int64 [m], each once, by the boxes [m,4] that were seen."""

    @abstractmethod
    def distances(self, boxes: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance of each track to boxes [D,4] that are seen, [T,D]: chi-square of four degrees of
        freedom where the box is that track's."""

    @abstractmethod
    def warp(self, matrix: np.ndarray) -> None:
        """Moves all tracks as the camera moved: [2,3] takes places of the frame before to those of this one."""


class Motion(Settings):
    """How objects are expected to move between frames."""

    @abstractmethod
    def start(self) -> MotionFilter:
        """A filter without tracks."""


def scale_of(matrix: np.ndarray) -> float:
    """By how much a [2,3] matrix enlarges lengths."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
