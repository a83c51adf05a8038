"""When requests are due: golden values by hand, and numpy's own exponential draws."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError
from serving.load.arrivals import Constant, Poisson, expected, when
from serving.load.profiles import Ramp, Spike, Steady, profile_of


def test_constant_arrivals_of_a_steady_rate() -> None:
    assert Constant().times(Steady(rate=4, seconds=1.5)).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_constant_arrivals_of_a_ramp() -> None:
    """From 2/s to 6/s in 4 s: after t seconds 2 t + t^2 / 2 requests; request n is due at sqrt(4 + 2 n) - 2."""
    times = Constant().times(Ramp(rate=2, peak=6, seconds=4))
    assert len(times) == 16
    np.testing.assert_allclose(times, np.sqrt(4 + 2 * np.arange(16.0)) - 2, atol=1e-12)
    assert times[6] == 2.0  # 2 * 2 + 2^2 / 2 = 6


def test_a_ramp_may_go_down() -> None:
    """From 4/s to 2/s in 2 s: 4 t - t^2 / 2; the sixth would be due at its very end."""
    times = Constant().times(Ramp(rate=4, peak=2, seconds=2))
    np.testing.assert_allclose(times, 4 - np.sqrt(16 - 2 * np.arange(6.0)), atol=1e-12)


def test_a_spike_stands_in_the_middle() -> None:
    """1/s, but 10/s from the second 4 to 6: 4 requests before, 20 in it, 4 behind it."""
    profile = Spike(rate=1, peak=10, seconds=10, spike_seconds=2)
    times = Constant().times(profile)
    assert expected(profile.corners()) == 28
    np.testing.assert_allclose(times[:5], [0, 1, 2, 3, 4], atol=1e-12)
    np.testing.assert_allclose(times[4:24], 4 + np.arange(20) / 10, atol=1e-12)
    np.testing.assert_allclose(times[24:], [6, 7, 8, 9], atol=1e-12)


def test_poisson_arrivals_have_exponential_gaps_of_the_seed() -> None:
    times = Poisson(seed=3).times(Steady(rate=50, seconds=4))
    gaps = np.random.default_rng(3).standard_exponential(len(times)) / 50
    np.testing.assert_allclose(times, np.cumsum(gaps), rtol=1e-12)
    assert times[-1] < 4 <= times[-1] + np.random.default_rng(3).standard_exponential(len(times) + 1)[-1] / 50
    assert Poisson(seed=3).times(Steady(rate=50, seconds=4)).tolist() == times.tolist()
    assert Poisson(seed=4).times(Steady(rate=50, seconds=4)).tolist() != times.tolist()


def test_poisson_arrivals_follow_the_profile() -> None:
    """200 requests a second from 8 to 12 of 20 s, else 10; the standard deviation of 800 is 28."""
    times = Poisson(seed=1).times(Spike(rate=10, peak=200, seconds=20, spike_seconds=4))
    inside = ((times >= 8) & (times < 12)).sum()
    assert abs(inside - 800) < 5 * 28 and abs(len(times) - inside - 160) < 5 * 13
    assert (np.diff(times) > 0).all() and times[-1] < 20


def test_the_inverse_holds_where_a_rate_begins_at_nothing() -> None:
    assert when([(0.0, 0.0), (2.0, 4.0)], np.array([0.25, 1.0])).tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("steady", {"rate": 0.0}, r"rate: Input should be greater than 0 \(given 0.0\)"),
        ("steady", {"seconds": -1.0}, r"seconds: Input should be greater than 0 \(given -1.0\)"),
        ("steady", {"rate": float("nan")}, "rate: "),
        ("steady", {"peak": 5.0}, r"it has no peak \(given 5.0\)"),
        ("ramp", {"rate": 5.0, "peak": None}, "peak is missing"),
        ("spike", {"peak": 5.0, "seconds": 3.0}, "the spike of 5 s does not fit into 3 s"),
        ("stedy", {}, "Did you mean 'steady'?"),
    ],
)
def test_profiles_that_cannot_be_made(name: str, values: dict[str, float | None], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        profile_of(name, values)
