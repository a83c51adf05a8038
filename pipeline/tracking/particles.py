"""The particle filter, for motion that is not linear: objects that turn, and turn the other way.

A particle is a guess of where a track is, how fast it goes and how fast it turns. M. S. Arulampalam et al., "A tutorial
on particle filters for online nonlinear/non-Gaussian Bayesian tracking", 2002: sampling importance resampling
(algorithm 4), resampled systematically (algorithm 2) where too few particles carry the weight (equation 51); the motion
is a coordinated turn with a rate that drifts. T = tracks, m = some of them, P = particles of each.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.tracking.boxes import LEAST_SIDE
from pipeline.tracking.motion import Motion, MotionFilter, scale_of

STEADY_VELOCITY = 0.02
"""Standard deviation of the change of the velocity in one frame, as a share of the box's sides."""
X, Y, WIDTH, HEIGHT, ACROSS, DOWN, TURN = range(7)
"""Numbers of a particle: a centred box, the velocity, and by how many radians that turns a frame."""


class Particles(Motion):
    """Motion in curves: a particle filter of a velocity that turns."""

    kind: Literal["particles"] = "particles"
    """Motion in curves: a particle filter of a velocity that turns."""
    count: int = Field(default=300, ge=10, le=100_000)
    """Particles of a track."""
    place_noise: float = Field(default=0.05, gt=0, le=10)
    """Standard deviation of what moves a box besides its velocity in one frame, and of a detection's error, as a share
    of the box's sides."""
    first_velocity: float = Field(default=0.15, gt=0, le=10)
    """Standard deviation of a new track's velocity, as a share of the box's sides a frame."""
    turn_noise: float = Field(default=0.03, gt=0, le=3)
    """Standard deviation of the change of the rate of turn, in radians a frame."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of the random numbers."""

    def start(self) -> MotionFilter:
        return ParticleFilter(self)


class ParticleFilter(MotionFilter):
    """See the module."""

    def __init__(self, settings: Particles):
        self._settings = settings
        self._random = np.random.default_rng(settings.seed)
        self._states = np.zeros((0, settings.count, TURN + 1))  # [T,P,7]
        self._weights = np.zeros((0, settings.count))  # [T,P], each row sums to 1

    @property
    def boxes(self) -> np.ndarray:
        return _means(self._weights, self._states[..., : HEIGHT + 1])

    def add(self, boxes: np.ndarray) -> None:
        count = self._settings.count
        states = np.zeros((len(boxes), count, TURN + 1))
        sides = np.maximum(boxes[:, None, 2:], LEAST_SIDE)
        noise = self._random.standard_normal((*states.shape[:2], 4))
        states[..., : HEIGHT + 1] = boxes[:, None]
        states[..., :WIDTH] += self._settings.place_noise * sides * noise[..., :2]
        states[..., ACROSS:TURN] = self._settings.first_velocity * sides * noise[..., 2:]
        self._states = np.concatenate([self._states, states])
        self._weights = np.concatenate([self._weights, np.full((len(boxes), count), 1 / count)])

    def keep(self, kept: np.ndarray) -> None:
        self._states, self._weights = self._states[kept], self._weights[kept]

    def predict(self, unseen: np.ndarray) -> None:
        states, settings = self._states, self._settings
        noise = self._random.standard_normal(states.shape)
        sides = states[..., WIDTH:ACROSS]
        states[..., TURN] += settings.turn_noise * noise[..., TURN]
        states[..., ACROSS:TURN] = _turned(states[..., ACROSS:TURN], states[..., TURN])
        states[..., ACROSS:TURN] += STEADY_VELOCITY * sides * noise[..., ACROSS:TURN]
        states[..., :WIDTH] += states[..., ACROSS:TURN] + settings.place_noise * sides * noise[..., :WIDTH]
        noise[unseen, :, WIDTH:ACROSS] = 0.0
        sides *= np.exp(settings.place_noise * noise[..., WIDTH:ACROSS])

    def update(self, places: np.ndarray, boxes: np.ndarray) -> None:
        states = self._states[places]
        errors = (boxes[:, None] - states[..., : HEIGHT + 1]) / self._measured(boxes)[:, None]
        with np.errstate(divide="ignore"):
            logs = np.log(self._weights[places]) - 0.5 * (errors**2).sum(axis=-1)
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        few = (weights**2).sum(axis=1) * weights.shape[1] > 2.0  # fewer than half of them count
        states[few] = self._resampled(states[few], weights[few])
        weights[few] = 1 / weights.shape[1]
        self._states[places], self._weights[places] = states, weights

    def distances(self, boxes: np.ndarray) -> np.ndarray:
        means = self.boxes
        spread = _means(self._weights, (self._states[..., : HEIGHT + 1] - means[:, None]) ** 2)
        expected = spread + self._measured(means) ** 2
        return np.asarray(((boxes - means[:, None]) ** 2 / expected[:, None]).sum(axis=-1))

    def warp(self, matrix: np.ndarray) -> None:
        turn = matrix[:, :2]
        self._states[..., :WIDTH] = self._states[..., :WIDTH] @ turn.T + matrix[:, 2]
        self._states[..., ACROSS:TURN] = self._states[..., ACROSS:TURN] @ turn.T
        self._states[..., WIDTH:ACROSS] *= scale_of(matrix)

    def _measured(self, boxes: np.ndarray) -> np.ndarray:
        """Standard deviation of what is seen of boxes, [m,4]."""
        return np.asarray(self._settings.place_noise * np.tile(np.maximum(boxes[:, 2:], LEAST_SIDE), 2))

    def _resampled(self, states: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Each particle as often as its weight says, [m,P,7]."""
        tracks, count = weights.shape
        ends = np.cumsum(weights, axis=1)
        ends[:, -1] = 1.0
        steps = (np.arange(count) + self._random.random((tracks, 1))) / count
        rows = np.arange(tracks)[:, None]
        chosen = np.searchsorted((ends + rows).ravel(), (steps + rows).ravel()).reshape(tracks, count) - rows * count
        return np.asarray(states[rows, np.minimum(chosen, count - 1)])


def _means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[T,P] and [T,P,N] -> [T,N]."""
    return np.einsum("tp,tpn->tn", weights, values)


def _turned(velocities: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """[T,P,2] and [T,P] -> [T,P,2]."""
    cosine, sine = np.cos(angles), np.sin(angles)
    across, down = velocities[..., 0], velocities[..., 1]
    return np.stack([cosine * across - sine * down, sine * across + cosine * down], axis=-1)
