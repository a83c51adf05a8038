from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.metrics.regression import RegressionEvaluator

TRUTH = np.array([[1.0, 10.0], [2.0, 10.0], [3.0, 10.0], [4.0, 10.0]], np.float32)
VALUES = np.array([[1.0, 11.0], [2.0, 9.0], [3.0, 11.0], [6.0, 10.0]], np.float32)
IDS = np.array(["1", "2", "3", "4"])


def evaluated(values: np.ndarray = VALUES) -> RegressionEvaluator:
    evaluator = RegressionEvaluator(("cells", "age"))
    for rows in (slice(0, 3), slice(3, 4)):
        evaluator.update({"id": IDS[rows], "value": TRUTH[rows]}, {"values": values[rows]})
    return evaluator


def test_values_worked_out_by_hand():
    result = evaluated().result()
    # cells: errors 0, 0, 0, 2; the truth's squares about its mean 2.5 sum to 5. age: errors 1, -1, 1, 0.
    assert result["per_target"]["cells"] == pytest.approx(
        {"mean_absolute_error": 0.5, "rmse": 1.0, "r2": 0.2, "bias": 0.5}
    )
    assert result["per_target"]["age"]["rmse"] == pytest.approx(np.sqrt(3) / 2)
    assert result["per_target"]["age"]["bias"] == 0.25
    assert result["per_target"]["age"]["r2"] is None
    assert result["mean_absolute_error"] == pytest.approx((0.5 + 0.75) / 2)
    assert result["rmse"] == pytest.approx((1 + np.sqrt(3) / 2) / 2)
    assert result["r2"] == pytest.approx(0.2)
    low, high = result["intervals"]["mean_absolute_error"]
    assert low <= 0.625 <= high
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_agreement_allows_a_twentieth_of_the_spread():
    # The spread of cells is sqrt(1.25) = 1.118, of age 0 and so 1: 0.055 and 0.05 are the same answer still.
    assert evaluated().agreement_with(evaluated(VALUES + 0.049)) == 1.0
    assert evaluated().agreement_with(evaluated(VALUES + [[0.06, 0.0]] + 0)) == 0.0


def test_mistakes_are_measured_in_spreads():
    worst = evaluated().mistakes(2)
    assert worst[0].id == "4"
    assert (worst[0].expected, worst[0].answered) == ("cells 4, age 10", "cells 6, age 10")
    assert worst[0].badness == pytest.approx(2 / np.sqrt(1.25))
    assert worst[1].badness == pytest.approx(1.0)


def test_one_target_given_without_its_axis():
    evaluator = RegressionEvaluator(("count",))
    evaluator.update({"id": IDS, "value": TRUTH[:, 0]}, {"values": VALUES[:, :1]})
    assert evaluator.result()["mean_absolute_error"] == 0.5
    assert evaluator.mistakes(1)[0].answered == "6"


def test_values_that_are_not_finite_leave_no_metric():
    values = VALUES.copy()
    values[1, 0] = np.nan
    result = evaluated(values).result()
    assert np.isnan(result["mean_absolute_error"])
    assert result["non_finite_answers"] == 1
    assert evaluated(values).agreement_with(evaluated()) == 0.75


def test_one_example_is_enough():
    evaluator = RegressionEvaluator(("count",))
    evaluator.update({"id": IDS[:1], "value": TRUTH[:1, :1]}, {"values": VALUES[:1, :1]})
    assert evaluator.result()["intervals"]["mean_absolute_error"] == [0.0, 0.0]
    assert evaluator.plots()
