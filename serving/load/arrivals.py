"""When requests are due: drawn before the first one is sent, so that no answer can move them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from serving.load.profiles import Profile

SPARE = 6.0
"""Standard deviations above the expected number that are drawn at once."""


class Arrivals(Protocol):
    """A way to draw them."""

    def times(self, profile: Profile) -> np.ndarray:
        """float64 [N], seconds from the beginning, ascending; all below the profile's."""


class Constant:
    """Evenly spaced: the first at once, then one whenever the profile has come to another whole request."""

    def times(self, profile: Profile) -> np.ndarray:
        """See `Arrivals`."""
        return when(profile.corners(), np.arange(np.ceil(expected(profile.corners()))))

    def __str__(self) -> str:
        return "constant arrivals"


class Poisson:
    """As of many users who know nothing of each other: gaps are exponential.

    Args:
        seed: the same one gives the same times.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def times(self, profile: Profile) -> np.ndarray:
        """See `Arrivals`."""
        total = expected(profile.corners())
        generator = np.random.default_rng(self.seed)
        places = np.zeros(0)
        while not len(places) or places[-1] < total:
            gaps = generator.standard_exponential(int(total + SPARE * np.sqrt(total)) + 1)
            places = np.concatenate([places, (places[-1] if len(places) else 0.0) + np.cumsum(gaps)])
        return when(profile.corners(), places[places < total])

    def __str__(self) -> str:
        return f"Poisson arrivals, seed {self.seed}"


def arrivals_of(name: str, seed: int) -> Arrivals:
    """By name: `constant` or `poisson`; the seed is of the latter."""
    return Constant() if name == "constant" else Poisson(seed)


def expected(corners: Sequence[tuple[float, float]]) -> float:
    """Requests of a whole profile: the area below its rate."""
    return float(_counts(corners)[-1])


def when(corners: Sequence[tuple[float, float]], counts: np.ndarray) -> np.ndarray:
    """The times at which a profile has come to so many requests: the inverse of the area below its rate.

    Args:
        corners: of the profile.
        counts: float [N] >= 0, below `expected`.
    """
    times, rates = np.array(corners).T
    reached = _counts(corners)
    part = np.searchsorted(reached, counts, side="right") - 1
    begin, rate, missing = times[part], rates[part], counts - reached[part]
    width = times[part + 1] - begin
    slope = (rates[part + 1] - rate) / np.where(width > 0, width, 1.0)
    # The root of rate * t + slope * t^2 / 2 = missing, in the form that also holds where the slope is 0.
    return begin + 2 * missing / (rate + np.sqrt(rate**2 + 2 * slope * missing))


def _counts(corners: Sequence[tuple[float, float]]) -> np.ndarray:
    times, rates = np.array(corners).T
    return np.concatenate([[0.0], np.cumsum(np.diff(times) * (rates[1:] + rates[:-1]) / 2)])
