"""What is not known does not count: scores are those of the known part alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pipeline.metrics.classification import ClassificationEvaluator
from pipeline.metrics.multi_label import MultiLabelEvaluator, choose_thresholds
from pipeline.metrics.plots import to_svg
from pipeline.metrics.regression import RegressionEvaluator

NAN = np.nan


def ids(count: int) -> np.ndarray:
    return np.array([f"{number}".encode() for number in range(count)])


def plain(evaluator: Any) -> dict[str, Any]:
    """The result, once everything else has been asked for too."""
    assert all(to_svg(figure, title) for title, figure in evaluator.plots().items())
    evaluator.mistakes(5)
    result = evaluator.result()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    return result


def test_pictures_without_a_class_are_left_out() -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(-1, 3, 40)
    scores = generator.dirichlet(np.ones(3), 40)
    known = labels >= 0
    whole, part = ClassificationEvaluator("abc"), ClassificationEvaluator("abc")
    for rows in (slice(0, 25), slice(25, None)):
        whole.update({"id": ids(40)[rows], "label": labels[rows]}, {"scores": scores[rows]})
    part.update({"id": ids(40)[known], "label": labels[known]}, {"scores": scores[known]})
    assert plain(whole) == plain(part)
    assert whole.result()["num_examples"] == known.sum() < 40
    assert [one.id for one in whole.mistakes(40)] == [one.id for one in part.mistakes(40)]


def test_every_class_is_scored_where_it_is_known() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, (40, 2)).astype(np.float32)
    scores = generator.uniform(size=(40, 2))
    labels[:10, 0] = NAN
    labels[30:, :] = NAN
    evaluator = MultiLabelEvaluator("ab")
    evaluator.update({"id": ids(40), "labels": labels}, {"scores": scores})
    result = plain(evaluator)
    for name, rows, k in (("a", slice(10, 30), 0), ("b", slice(0, 30), 1)):
        one = MultiLabelEvaluator(name)
        one.update({"id": ids(40)[rows], "labels": labels[rows, k : k + 1]}, {"scores": scores[rows, k : k + 1]})
        assert result["per_class"][name] == one.result()["per_class"][name]
        assert evaluator.best_thresholds()[k] == one.best_thresholds()[0]
    means = [result["per_class"][name]["average_precision"] for name in "ab"]
    assert result["mean_average_precision"] == pytest.approx(np.mean(means))
    low, high = result["intervals"]["mean_average_precision"]
    assert low < result["mean_average_precision"] < high
    answers, known = scores >= 0.5, np.isfinite(labels)
    right = (((labels > 0) == answers) | ~known).all(axis=1)
    assert result["exact_match"] == pytest.approx(right[:30].mean())
    assert {one.id for one in evaluator.mistakes(99)} == {str(number) for number in np.flatnonzero(~right)}


def test_thresholds_are_chosen_on_what_is_known() -> None:
    labels = np.array([[1], [0], [NAN], [NAN]])
    np.testing.assert_allclose(choose_thresholds(labels, np.array([[0.8], [0.4], [0.9], [0.1]])), [0.6])


def test_every_target_is_scored_where_it_is_known() -> None:
    truth = np.array([[1.0, NAN], [2.0, 10.0], [NAN, NAN], [3.0, 20.0]], np.float32)
    values = np.array([[1.5, 7.0], [2.0, 13.0], [9.0, 9.0], [2.0, 20.0]], np.float32)
    evaluator = RegressionEvaluator(["x", "y"])
    evaluator.update({"id": ids(4), "value": truth}, {"values": values})
    result = plain(evaluator)
    assert result["per_target"]["x"]["mean_absolute_error"] == pytest.approx(0.5)
    assert result["per_target"]["y"]["mean_absolute_error"] == pytest.approx(1.5)
    assert result["mean_absolute_error"] == pytest.approx(1.0)
    low, high = result["intervals"]["mean_absolute_error"]
    assert 0 <= low <= 1.0 <= high
    worst = evaluator.mistakes(4)
    assert [one.id for one in worst] == ["3", "0", "1"]  # 1 / 0.82, 0.5 / 0.82, 3 / 5 deviations
    assert worst[1].expected == "x 1, y not known"
