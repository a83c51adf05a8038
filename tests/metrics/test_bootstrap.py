from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.metrics import bootstrap
from pipeline.metrics.scores import average_precision, calibration, mean_average_precision


def test_the_interval_of_a_share_is_that_of_the_normal_approximation():
    correct = np.repeat([True, False], [800, 200])
    low, high = bootstrap.mean_interval(correct, draws=4000)
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert (low, high) == (pytest.approx(0.8 - half, abs=0.002), pytest.approx(0.8 + half, abs=0.002))


def test_the_interval_of_a_constant_is_a_point_and_the_seed_decides():
    assert bootstrap.mean_interval(np.full(7, 3.0)) == [3.0, 3.0]
    values = np.arange(50.0)
    assert bootstrap.mean_interval(values) == bootstrap.mean_interval(values)
    assert bootstrap.mean_interval(values) != bootstrap.mean_interval(values, seed=1)


def test_blocks_of_draws_do_not_change_their_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bootstrap, "BLOCK_VALUES", 30)
    shapes: list[tuple[int, ...]] = []

    def statistic(weights: np.ndarray) -> np.ndarray:
        shapes.append(weights.shape)
        assert (weights.sum(axis=1) == 10).all()
        return weights[:, 0]

    bootstrap.interval(statistic, 10, draws=8)
    assert shapes == [(3, 10), (3, 10), (2, 10)]


def test_average_precision_is_that_of_scikit_learn_for_every_weighting():
    generator = np.random.default_rng(0)
    present = generator.random(60) < 0.3
    scores = np.round(generator.random(60), 1)
    weights = generator.integers(0, 3, (5, 60)).astype(float)
    expected = [average_precision_score(present, scores, sample_weight=row) for row in weights]
    assert average_precision(present, scores, weights) == pytest.approx(expected)


def test_a_weighting_without_a_class_leaves_it_out():
    present = np.array([[True, False], [False, True]])
    scores = np.array([[0.9, 0.9], [0.1, 0.1]])
    weights = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    assert mean_average_precision(present, scores, weights) == pytest.approx([0.75, 1.0, 0.0])


def test_calibration_puts_the_ends_into_the_outer_bins():
    assert calibration(np.array([0.0, 0.03, 1.0]), np.array([False, True, True])) == [
        (pytest.approx(0.015), 0.5, 2),
        (1.0, 1.0, 1),
    ]
