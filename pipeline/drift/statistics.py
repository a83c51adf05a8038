"""How far apart two samples are, and how far chance alone would put them.

Effect sizes decide, not p-values: with enough requests every difference is significant. n, m = examples of the
reference and of production, B = bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_BINS = 10
EXPECTED = 5
"""Least pictures that a bin should hold of the smaller sample (W. G. Cochran, "Some methods for strengthening the
common chi-square tests", Biometrics 10, 1954)."""
HALF = 0.5
"""Added to every count, so that an empty bin has a finite share (H. Jeffreys' prior of a multinomial)."""


@dataclass(frozen=True)
class Stability:
    """A population stability index.

    Args:
        psi: 0: the same shares.
        by_chance: what two samples of these sizes from one population stay below, but for `p_value` of the times.
    """

    psi: float
    by_chance: float


def bins_of(reference: np.ndarray, smaller: int) -> np.ndarray:
    """Where the bins of a numeric measure end, float64 [B-1]: quantiles of the reference.

    A value that fills a whole bin gets one of its own, so that a measure that was always the same in training, such as
    the height of the pictures, is seen to change in either direction.

    Args:
        reference: float64 [n].
        smaller: min(n, m), which decides how many bins can be told apart.
    """
    count = max(2, min(MOST_BINS, smaller // EXPECTED))
    ends = np.quantile(reference, np.arange(1, count) / count, method="inverted_cdf")
    values, repeats = np.unique(ends, return_counts=True)
    filled = values[(repeats > 1) | (values == reference.min())]
    return np.unique(np.concatenate([values, np.nextafter(filled, -np.inf)]))


def binned(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """How many values each bin holds, int64 [B]; a bin holds its end."""
    return np.bincount(np.searchsorted(ends, values, side="left"), minlength=len(ends) + 1)


def pooled(reference: np.ndarray, production: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of categories, int64 [K] each, those that are too rare to be told apart put together at the end."""
    frequent = _frequent(reference, production)
    rest = (counts[~frequent].sum() for counts in (reference, production))
    kept = (counts[frequent] for counts in (reference, production))
    first, second = (np.append(counts, more) for counts, more in zip(kept, rest, strict=True))
    there = first + second > 0
    return first[there], second[there]


def told_apart(reference: np.ndarray, production: np.ndarray) -> float:
    """Share of the counts in categories that `pooled` leaves a bin of their own."""
    total = reference + production
    return float(total[_frequent(reference, production)].sum() / max(total.sum(), 1))


def _frequent(reference: np.ndarray, production: np.ndarray) -> np.ndarray:
    total = reference + production
    return total * min(reference.sum(), production.sum()) >= EXPECTED * total.sum()


def stability_at_least(reference: np.ndarray, production: np.ndarray) -> float:
    """What the stability index of categories is at least, int64 [K] each, however rare they are: 4 d^2, where d is the
    total variation beyond that of chance.

    M. S. Pinsker's inequality, once for each of the two divergences that the index is the sum of. Chance is what two
    samples of one population are apart on average, by the normal approximation of each category's difference; of rare
    ones, which it overestimates, no more than all that they hold.
    """
    counts = np.stack([reference, production]).astype(np.float64)
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / totals
    common = counts.sum(axis=0) / totals.sum()
    spread = np.sqrt(2 / np.pi * common * (1 - common) * (1 / totals).sum())
    by_chance = np.minimum(spread, 2 * common).sum() / 2
    beyond = max(float(np.abs(shares[0] - shares[1]).sum() / 2 - by_chance), 0.0)
    return 4 * beyond**2


def stability(reference: np.ndarray, production: np.ndarray, p_value: float) -> Stability:
    """The population stability index of two counts, int64 [B] each.

    The sum over the bins of (q - p) ln(q / p) for the shares p and q: the divergence J of H. Jeffreys ("An invariant
    form for the prior probability in estimation problems", 1946), which credit scoring made popular. For samples of one
    population it is (1/n + 1/m) times a chi-square of B - 1 degrees of freedom (B. Yurdakul, J. Naranjo, "Statistical
    properties of the population stability index", Journal of Risk Model Validation 14, 2020): few requests, or many
    bins, make it large by chance.
    """
    from scipy.stats import chi2

    there = reference + production > 0
    first, second = (_shares(counts[there]) for counts in (reference, production))
    psi = float(np.sum((second - first) * np.log(second / first)))
    noise = 1 / max(reference.sum(), 1) + 1 / max(production.sum(), 1)
    return Stability(psi, float(noise * chi2.isf(p_value, max(len(first) - 1, 1))))


def requests_needed(reference: int, bins: int, psi: float, p_value: float) -> int | None:
    """How many requests it takes until `psi` is more than chance; None where the reference is too small for it."""
    from scipy.stats import chi2

    room = psi / float(chi2.isf(p_value, max(bins - 1, 1))) - 1 / reference
    return int(np.ceil(1 / room)) if room > 0 else None


def moved(reference: np.ndarray, production: np.ndarray) -> float | None:
    """The Wasserstein distance, in standard deviations of the reference: how far values moved on average; None where
    the reference never varied."""
    from scipy.stats import wasserstein_distance

    spread = float(reference.std())
    return float(wasserstein_distance(reference, production)) / spread if spread > 0 else None


def class_divergence(reference: np.ndarray, production: np.ndarray) -> float:
    """The Jensen-Shannon distance of two counts, 0 (the same shares) to 1 (nothing in common)."""
    from scipy.spatial.distance import jensenshannon

    return float(jensenshannon(reference, production, base=2))


def corrected(p_values: Sequence[float]) -> list[float]:
    """The p-values of several measures of the same pictures, corrected so that the false discovery rate is kept (Y.
    Benjamini, Y. Hochberg, "Controlling the false discovery rate", 1995); where nothing has drifted, the probability of
    any finding at all."""
    from scipy.stats import false_discovery_control

    return [float(value) for value in false_discovery_control(p_values, method="bh")] if p_values else []


def _shares(counts: np.ndarray) -> np.ndarray:
    return (counts + HALF) / (counts.sum() + HALF * len(counts))
