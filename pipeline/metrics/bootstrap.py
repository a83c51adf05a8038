"""Confidence intervals by resampling the evaluated examples.

N = examples, D = draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]

# Keeps one block of draws near 16 MB, whatever the number of examples.
BLOCK_VALUES = 2_000_000


def interval(
    statistic: Statistic, num_examples: int, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> list[float]:
    """The percentile bootstrap interval of a statistic (Efron & Tibshirani 1993, chapter 13).

    Args:
        statistic: from weights float64 [D, N], how often each draw holds each example, to the statistic's values [D].
        num_examples: N, at least 1.
        draws: how many resamples.
        level: the share of them inside the interval, 0..1.
        seed: of the resampling; the same seed gives the same interval.

    Returns:
        [low, high].
    """
    values = np.concatenate([statistic(weights) for weights in _resamples(num_examples, draws, seed)])
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return [float(low), float(high)]


def mean_interval(values: np.ndarray, *, draws: int = 1000, level: float = 0.95, seed: int = 0) -> list[float]:
    """The interval of the mean of one number per example [N]."""
    values = np.asarray(values, np.float64)
    return interval(lambda weights: weights @ values / len(values), len(values), draws=draws, level=level, seed=seed)


def _resamples(num_examples: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of weights float64 [at most D, N]; each row sums to N."""
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK_VALUES // num_examples)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        chosen = generator.integers(num_examples, size=(rows, num_examples))
        yield np.stack([np.bincount(row, minlength=num_examples) for row in chosen]).astype(np.float64)
