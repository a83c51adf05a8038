"""The Kalman filter of a constant velocity in box space, for all tracks at once.

The state is x, y, width, height and their velocities (N. Aharon, R. Orfaig, B. Bobrovsky, "BoT-SORT: Robust
associations multi-pedestrian tracking", 2022, section 3.1), with noise in proportion to the box, as there. Transition,
measurement and noise never mix two of the four numbers, so that the 8 x 8 covariance consists of four 2 x 2 blocks: the
filter is exact with three numbers for each of them, and no matrix is inverted. T = tracks.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.tracking.boxes import LEAST_SIDE
from pipeline.tracking.motion import Motion, MotionFilter, scale_of

FIRST_PLACE, FIRST_VELOCITY = 2.0, 10.0
"""How much less is known of a new track than noise adds in one frame, as factors of standard deviations."""


class Kalman(Motion):
    """Steady motion: a Kalman filter of a constant velocity."""

    kind: Literal["kalman"] = "kalman"
    """Steady motion: a Kalman filter of a constant velocity."""
    place_noise: float = Field(default=0.05, gt=0, le=10)
    """Standard deviation of what moves a box besides its velocity in one frame, and of a detection's error, as a share
    of the box's sides."""
    velocity_noise: float = Field(default=0.00625, gt=0, le=10)
    """The same of the change of its velocity."""

    def start(self) -> MotionFilter:
        return KalmanFilter(self.place_noise, self.velocity_noise)


class KalmanFilter(MotionFilter):
    """See the module.

    Args:
        place_noise, velocity_noise: as in `Kalman`.
    """

    def __init__(self, place_noise: float, velocity_noise: float):
        self._place_noise, self._velocity_noise = place_noise, velocity_noise
        self._place, self._velocity = np.zeros((0, 4)), np.zeros((0, 4))
        self._variance, self._shared, self._velocity_variance = (np.zeros((0, 4)) for _ in range(3))

    @property
    def boxes(self) -> np.ndarray:
        boxes = self._place.copy()
        np.maximum(boxes[:, 2:], LEAST_SIDE, out=boxes[:, 2:])
        return boxes

    def add(self, boxes: np.ndarray) -> None:
        sides = _sides(boxes)
        still = np.zeros_like(sides)
        self._place = np.concatenate([self._place, boxes])
        self._velocity = np.concatenate([self._velocity, still])
        self._variance = np.concatenate([self._variance, (FIRST_PLACE * self._place_noise * sides) ** 2])
        self._shared = np.concatenate([self._shared, still])
        first = (FIRST_VELOCITY * self._velocity_noise * sides) ** 2
        self._velocity_variance = np.concatenate([self._velocity_variance, first])

    def keep(self, kept: np.ndarray) -> None:
        self._place, self._velocity = self._place[kept], self._velocity[kept]
        self._variance, self._shared = self._variance[kept], self._shared[kept]
        self._velocity_variance = self._velocity_variance[kept]

    def predict(self, unseen: np.ndarray) -> None:
        squares = _sides(self._place) ** 2
        self._velocity[unseen, 2:] = 0.0
        self._place += self._velocity
        self._variance += 2 * self._shared + self._velocity_variance + self._place_noise**2 * squares
        self._shared += self._velocity_variance
        self._velocity_variance += self._velocity_noise**2 * squares

    def update(self, places: np.ndarray, boxes: np.ndarray) -> None:
        variance, shared = self._variance[places], self._shared[places]
        expected = variance + self._measured(places)
        gain, velocity_gain = variance / expected, shared / expected
        error = boxes - self._place[places]
        self._place[places] += gain * error
        self._velocity[places] += velocity_gain * error
        self._variance[places] -= gain * variance
        self._shared[places] -= gain * shared
        self._velocity_variance[places] -= velocity_gain * shared

    def distances(self, boxes: np.ndarray) -> np.ndarray:
        expected = self._variance + self._measured(slice(None))
        return np.asarray(((boxes - self._place[:, None]) ** 2 / expected[:, None]).sum(axis=-1))

    def warp(self, matrix: np.ndarray) -> None:
        """Exact for shifts and scales. Of a rotation, only the variance along each axis is kept: a block would mix x
        and y otherwise."""
        scale, turn = scale_of(matrix), matrix[:, :2]
        self._place[:, :2] = self._place[:, :2] @ turn.T + matrix[:, 2]
        self._velocity[:, :2] = self._velocity[:, :2] @ turn.T
        self._place[:, 2:] *= scale
        self._velocity[:, 2:] *= scale
        for variance in (self._variance, self._shared, self._velocity_variance):
            variance[:, :2] = variance[:, :2] @ (turn**2).T
            variance[:, 2:] *= scale**2

    def _measured(self, places: np.ndarray | slice) -> np.ndarray:
        """Variance of what is seen of tracks, [m,4]."""
        return np.asarray((self._place_noise * _sides(self._place[places])) ** 2)


def _sides(boxes: np.ndarray) -> np.ndarray:
    """width, height, width, height of centred boxes [T,4]; above 0."""
    return np.maximum(boxes[:, [2, 3, 2, 3]], LEAST_SIDE)
