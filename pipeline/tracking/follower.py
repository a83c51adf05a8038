"""Follows one object through a video, from the box that it is shown in: a Siamese network looks for the template in
windows around the place where the object was.

The window's cosine, the penalty of changes and the smoothing of sizes are those of B. Li et al., "High performance
visual tracking with Siamese region proposal network", 2018, section 4.3; how much they count is as its authors'
successor sets it (SiamRPN++, 2019, its AlexNet). While the object is lost, windows of the same
scale around the place where it was are searched as well, more and more of them, as in Z. Zhu et al., "Distractor-aware
Siamese networks for visual object tracking" (DaSiamRPN), 2018, section 3.4.

S = side of the crops, P = places of one, h = w = rows and columns of them, k, F = the template's features, m = windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydantic import Field

from models.settings import Settings
from pipeline.data.search_windows import Window, window_side

LEAST_SIDE = 4.0
"""Of a followed box, in pixels."""


class SiameseNetwork(Protocol):
    """The two parts of a trained network.

    Attributes:
        side: S.
        threshold: score below which the object counts as hidden.
    """

    side: int
    threshold: float

    def template(self, crops: np.ndarray) -> np.ndarray:
        """uint8 [1,S,S,3] -> float32 [1,k,k,F]."""

    def search(self, crops: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [m,S,S,3] and a template [1,k,k,F] -> scores [m,P], 0..1; boxes [m,P,4], shares of each crop."""


class FollowSettings(Settings):
    """How one object is followed."""

    least_score: float | None = Field(default=None, ge=0, le=1)
    """Score below which the object counts as hidden or gone; left out, the model's own `threshold`."""
    near: float = Field(default=0.4, ge=0, lt=1)
    """How much a place counts for being near to where the object was, beside its score."""
    steady: float = Field(default=0.16, ge=0)
    """How much a change of size and proportions takes from a score."""
    smoothing: float = Field(default=0.3, gt=0, le=1)
    """The share that a new size has in the size of the box, where the score is 1."""
    update_every: int = Field(default=5, ge=1)
    """Frames between two updates of the template."""
    update_score: float = Field(default=0.9, ge=0, le=1)
    """Score from which on an object is sure enough to become a part of the template."""
    update_share: float = Field(default=0.1, ge=0, le=1)
    """The share of each update in the template; 0 keeps the first one."""
    first_share: float = Field(default=0.5, ge=0, le=1)
    """The share of the first template, which is certain, beside that of all updates."""
    widen_every: int = Field(default=3, ge=1)
    """Frames that an object is lost before the next ring of windows around its place is searched as well."""
    most_rings: int = Field(default=2, ge=0, le=8)
    """Rings at the most: with two, 25 windows."""

    def least(self, threshold: float) -> float:
        """Score below which the object counts as hidden, where the model's own is `threshold`."""
        return threshold if self.least_score is None else self.least_score


@dataclass(frozen=True)
class Followed:
    """The object in one frame.

    Args:
        box: corners float64 [4] in pixels; where the object is lost, of the frame in which it was seen last.
        score: 0..1, of the place that is believed.
        lost: it is hidden or gone.
    """

    box: np.ndarray
    score: float
    lost: bool


@dataclass(frozen=True)
class Found:
    """What a place says: corners in pixels, its score, and that score with all that counts beside it."""

    box: np.ndarray
    score: float
    weighed: float


class Follower:
    """Follows the object of one video.

    Args:
        network: trained.
        pixels: the first frame, uint8 [h,w,3].
        box: of the object in it, corners [4] in pixels.

    Raises:
        ValueError: the box has no area within the frame.
    """

    def __init__(self, network: SiameseNetwork, settings: FollowSettings, pixels: np.ndarray, box: np.ndarray):
        height, width = pixels.shape[:2]
        corners = np.asarray(box, np.float64)
        inside = np.clip(corners, 0, [width, height, width, height])
        if not (np.isfinite(corners).all() and np.all(inside[2:] > inside[:2])):
            raise ValueError(
                f"expected a box x_min, y_min, x_max, y_max within the frame of {width} x {height} pixels, got "
                f"{corners.tolist()}"
            )
        self._network, self._settings = network, settings
        self._least = settings.least(network.threshold)
        self._box, self._lost, self._frames = corners, 0, 0
        self._first = self._recent = self._looks(pixels)

    def update(self, pixels: np.ndarray) -> Followed:
        """The next frame, uint8 [h,w,3] of the same size."""
        self._frames += 1
        found = self._best(pixels)
        if found.score < self._least:
            self._lost += 1
            return Followed(self._box, found.score, True)
        self._box = self._moved(found, pixels.shape[:2])
        self._lost = 0
        if found.score >= self._settings.update_score and self._frames % self._settings.update_every == 0:
            share = self._settings.update_share
            self._recent = (1 - share) * self._recent + share * self._looks(pixels)
        return Followed(self._box, found.score, False)

    def skip(self) -> Followed:
        """A frame that cannot be read."""
        return Followed(self._box, 0.0, True)

    @property
    def _template(self) -> np.ndarray:
        first = self._settings.first_share
        return np.asarray(first * self._first + (1 - first) * self._recent, np.float32)

    def _looks(self, pixels: np.ndarray) -> np.ndarray:
        """The features of the object where it is now, [1,k,k,F]."""
        return self._network.template(Window.around(self._box).cut(pixels, self._network.side)[np.newaxis])

    def _best(self, pixels: np.ndarray) -> Found:
        """What the place that counts most says, of all windows."""
        windows = self._windows(pixels.shape[:2])
        crops = np.stack([window.cut(pixels, self._network.side) for window in windows])
        scores, boxes = self._network.search(crops, self._template)
        each = [self._best_of(*one) for one in zip(windows, scores, boxes, strict=True)]
        return max(each, key=lambda one: one.weighed)

    def _best_of(self, window: Window, scores: np.ndarray, shares: np.ndarray) -> Found:
        boxes = window.corners(shares)
        weighed = scores * np.exp(-self._settings.steady * (changes(self._box, boxes) - 1))
        if not self._lost:  # then it may be anywhere
            near = self._settings.near
            weighed = (1 - near) * weighed + near * cosine_window(len(scores))
        place = int(np.argmax(weighed))
        return Found(boxes[place], float(scores[place]), float(weighed[place]))

    def _windows(self, size: tuple[int, int]) -> list[Window]:
        """The usual window; while the object is lost, rings of windows half a side apart, their middles in the
        frame."""
        width, height = self._box[2:] - self._box[:2]
        side, middle = window_side(width, height), (self._box[:2] + self._box[2:]) / 2
        rings = min(self._lost // self._settings.widen_every, self._settings.most_rings)
        steps = np.arange(-rings, rings + 1) * side / 2
        places = [(x, y) for y in middle[1] + steps for x in middle[0] + steps]
        inside = [(x, y) for x, y in places if 0 <= x < size[1] and 0 <= y < size[0]]
        return [Window.at(x, y, side) for x, y in inside or [tuple(middle)]]

    def _moved(self, found: Found, size: tuple[int, int]) -> np.ndarray:
        """The box at its new place, its size changed by a share; its middle stays in the frame."""
        share = min(1.0, found.score * self._settings.smoothing)
        sides = (1 - share) * (self._box[2:] - self._box[:2]) + share * (found.box[2:] - found.box[:2])
        sides = np.clip(sides, LEAST_SIDE, [size[1], size[0]])
        middle = np.clip((found.box[:2] + found.box[2:]) / 2, 0, [size[1], size[0]])
        return np.concatenate([middle - sides / 2, middle + sides / 2])


def changes(before: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """By what factor boxes [P,4] differ from one [4], of size times of proportions: float64 [P], from 1."""
    old = np.maximum(before[2:] - before[:2], LEAST_SIDE)
    new = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
    size = _either_way(_mean_sides(new[:, 0], new[:, 1]) / _mean_sides(old[0], old[1]))
    shape = _either_way((new[:, 0] / new[:, 1]) / (old[0] / old[1]))
    return np.asarray(size * shape)


def cosine_window(places: int) -> np.ndarray:
    """float64 [P], 1 in the middle and towards 0 at the edges of a square of places."""
    cells = round(places**0.5)
    one = np.hanning(cells + 2)[1:-1]
    return np.outer(one, one).ravel()


def _mean_sides(width: np.ndarray, height: np.ndarray) -> np.ndarray:
    margin = (width + height) / 2
    return np.asarray(np.sqrt((width + margin) * (height + margin)))


def _either_way(ratio: np.ndarray) -> np.ndarray:
    return np.maximum(ratio, 1 / ratio)
