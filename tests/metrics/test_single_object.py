"""Pairs of single-object tracking, judged by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.metrics.single_object import SingleObjectEvaluator, chance_of_more, paired_iou

TRUTH = np.array([[0.0, 0.0, 0.5, 0.25], [0.25, 0.25, 0.75, 0.5], [0.0, 0.0, 0.0, 0.0]], np.float32)
"""Shares of the pair; of the search crop (0, 0, 0.5, 0.5), (0.25, 0.5, 0.75, 1), and none."""


def examples() -> dict[str, np.ndarray]:
    classes = np.array([[0], [0], [-1]])
    return {"id": np.array([b"a", b"b", b"c"], object), "boxes": TRUTH[:, None], "classes": classes}


def predictions(scores: Any = ((0.9, 0.1), (0.3, 0.6), (0.2, 0.4))) -> dict[str, np.ndarray]:
    exact, half, far = [0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 0.5, 1.0], [0.9, 0.9, 1.0, 1.0]
    return {
        "scores": np.array(scores, np.float32),
        "boxes": np.array([[exact, far], [far, half], [exact, far]], np.float32),
    }


def evaluated(**settings: Any) -> SingleObjectEvaluator:
    evaluator = SingleObjectEvaluator(0.5)
    evaluator.update(examples(), predictions(**settings))
    return evaluator


def test_the_surest_place_is_judged() -> None:
    result = evaluated().result()
    assert result["mean_iou"] == pytest.approx((1.0 + 0.5) / 2)
    # Above 20 of 21 thresholds, and above the 10 below one half.
    assert result["success"] == pytest.approx((20 / 21 + 10 / 21) / 2)
    assert (result["num_examples"], result["num_present"]) == (3, 2)


def test_found_and_false_alarms_are_counted_at_the_threshold() -> None:
    result = evaluated().result()
    assert (result["presence_auc"], result["found"], result["false_alarms"]) == (1.0, 1.0, 0.0)
    result = evaluated(scores=((0.9, 0.1), (0.3, 0.4), (0.2, 0.6))).result()
    assert (result["presence_auc"], result["found"], result["false_alarms"]) == (0.5, 0.5, 1.0)


def test_the_best_threshold_divides_present_from_absent() -> None:
    assert evaluated().best_threshold() == pytest.approx(0.6)
    assert evaluated(scores=((0.9, 0.1), (0.3, 0.4), (0.2, 0.3))).best_threshold() == pytest.approx(0.4)


def test_the_chance_is_the_area_under_the_curve() -> None:
    random = np.random.default_rng(0)
    scores, there = random.integers(0, 8, 50) / 8, random.random(50) < 0.4
    assert chance_of_more(scores[there], scores[~there]) == pytest.approx(roc_auc_score(there, scores))
    assert chance_of_more(scores, np.zeros(0)) is None


def test_overlaps_are_row_by_row() -> None:
    one = np.array([[0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]], float)
    other = np.array([[1, 1, 3, 3], [2, 2, 3, 3], [0, 0, 0, 0]], float)
    assert paired_iou(one, other).tolist() == pytest.approx([1 / 7, 0, 0])


def test_answers_that_are_not_finite_are_not_scored() -> None:
    result = evaluated(scores=((np.nan, 0.1), (0.3, 0.6), (0.2, 0.4))).result()
    assert np.isnan(result["mean_iou"])
    assert result["non_finite_answers"] == 1


def test_two_evaluators_agree_by_how_far_their_boxes_overlap() -> None:
    moved = evaluated(scores=((0.9, 0.1), (0.6, 0.3), (0.2, 0.4)))
    assert evaluated().agreement_with(evaluated()) == 1.0
    assert evaluated().agreement_with(moved) == pytest.approx(2 / 3)
    silent = evaluated(scores=((0.9, 0.1), (0.2, 0.3), (0.4, 0.2)))  # of the second not found, of the third neither
    assert evaluated().agreement_with(silent) == pytest.approx(2 / 3)


def test_the_worst_pairs_come_first() -> None:
    (worst, other) = evaluated().mistakes(5)
    assert (worst.id, other.id) == ("b", "a")
    assert worst.badness == pytest.approx(0.5)
    assert worst.expected == "0.25, 0.50, 0.75, 1.00"


def test_the_success_curve_is_drawn() -> None:
    (figure,) = evaluated().plots().values()
    line = figure.axes[0].lines[0].get_ydata()
    assert (line[0], line[9], line[10], line[20]) == (1.0, 1.0, 0.5, 0.0)
