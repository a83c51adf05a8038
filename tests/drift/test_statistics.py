"""Distances between samples: by hand, against SciPy, and against what chance does to many samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy, norm

from pipeline.drift.statistics import (
    binned,
    bins_of,
    class_divergence,
    corrected,
    moved,
    pooled,
    requests_needed,
    stability,
)


def test_the_index_by_hand() -> None:
    """Shares of 3/4 and 1/4 against 1/4 and 3/4, once half a picture is added to every bin: twice 1/2 ln 3."""
    counts = np.array([7, 2]), np.array([2, 7])
    assert stability(*counts, 0.01).psi == pytest.approx(2 * (0.75 - 0.25) * math.log(7.5 / 2.5))
    assert stability(np.array([5, 5]), np.array([50, 50]), 0.01).psi == 0


def test_the_index_is_the_symmetric_divergence() -> None:
    first, second = np.array([500, 300, 200]), np.array([100, 400, 500])
    shares = [(counts + 0.5) / (counts.sum() + 1.5) for counts in (first, second)]
    assert stability(first, second, 0.01).psi == pytest.approx(entropy(*shares) + entropy(*reversed(shares)))


@pytest.mark.parametrize(("n", "m"), [(2000, 2000), (500, 100), (2000, 60)])
def test_chance_stays_below_what_is_said_of_it(n: int, m: int) -> None:
    """Of 1000 pairs of samples from one population about one in a hundred is further apart."""
    generator, beyond = np.random.default_rng(0), 0
    for _ in range(1000):
        first, second = generator.normal(size=n), generator.normal(size=m)
        ends = bins_of(first, min(n, m))
        found = stability(binned(first, ends), binned(second, ends), 0.01)
        beyond += found.psi > found.by_chance
    assert 1 <= beyond <= 25


def test_bins_are_quantiles_of_the_reference() -> None:
    values = np.arange(1000.0)
    ends = bins_of(values, 1000)
    assert ends.tolist() == [99, 199, 299, 399, 499, 599, 699, 799, 899]
    assert binned(values, ends).tolist() == [100] * 10
    assert len(bins_of(values, 20)) == 3 and len(bins_of(values, 1)) == 1  # few requests, few bins


@pytest.mark.parametrize("other", [499.0, 501.0])
def test_what_never_varied_is_seen_to_move_either_way(other: float) -> None:
    reference, production = np.full(1000, 500.0), np.full(50, other)
    ends = bins_of(reference, 50)
    found = stability(binned(reference, ends), binned(production, ends), 0.01)
    assert found.psi > 5 and found.psi > found.by_chance
    same = stability(binned(reference, ends), binned(np.full(50, 500.0), ends), 0.01)
    assert same.psi == 0


def test_rare_categories_are_put_together() -> None:
    reference, production = np.array([900, 60, 3, 2, 1, 0]), np.array([80, 10, 1, 0, 0, 2])
    first, second = pooled(reference, production)
    assert first.tolist() == [900, 60, 6] and second.tolist() == [80, 10, 3]
    first, second = pooled(np.array([50, 50]), np.array([50, 50]))
    assert first.tolist() == second.tolist() == [50, 50]


def test_how_many_requests_it_takes() -> None:
    """So many that chance alone stays just below the limit."""
    needed = requests_needed(2000, 10, 0.25, 0.01)
    assert needed is not None and 85 < needed < 95
    even = np.full(10, 200)
    for count, enough in ((needed, True), (needed - 1, False)):
        shares = np.diff(np.round(np.linspace(0, count, 11))).astype(int)
        assert (stability(even, shares, 0.01).by_chance <= 0.25) is enough
    assert requests_needed(50, 10, 0.25, 0.01) is None


def test_how_far_values_moved() -> None:
    reference = norm.ppf((np.arange(2000) + 0.5) / 2000, 10, 2)
    assert moved(reference, reference + 3) == pytest.approx(3 / reference.std())
    assert moved(np.ones(3), np.ones(3)) is None


def test_the_divergence_of_classes() -> None:
    assert class_divergence(np.array([3, 0]), np.array([0, 9])) == pytest.approx(1)
    assert class_divergence(np.array([3, 1]), np.array([9, 3])) == pytest.approx(0, abs=1e-7)
    half = entropy([1, 0], [0.75, 0.25], base=2) / 2 + entropy([0.5, 0.5], [0.75, 0.25], base=2) / 2
    assert class_divergence(np.array([1, 0]), np.array([1, 1])) == pytest.approx(math.sqrt(half))


def test_the_correction_by_hand() -> None:
    """Benjamini and Hochberg: p times the number of measures by its rank, never above that of the next."""
    assert corrected([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.5])
    assert corrected([]) == []
