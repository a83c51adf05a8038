from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.metrics.multi_label import MultiLabelEvaluator, choose_thresholds

LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], np.float32)
SCORES = np.array([[0.9, 0.1, 0.2], [0.6, 0.8, 0.1], [0.5, 0.3, 0.7], [0.1, 0.2, 0.0]], np.float32)
IDS = np.array(["1", "2", "3", "4"])


def evaluated(scores: np.ndarray = SCORES, thresholds: list[float] | None = None) -> MultiLabelEvaluator:
    evaluator = MultiLabelEvaluator(("a", "b", "absent"), thresholds)
    evaluator.update({"id": IDS, "labels": LABELS}, {"scores": scores})
    return evaluator


def test_values_worked_out_by_hand():
    result = evaluated().result()
    # a: hits at ranks 1 and 3 = (1 + 2/3) / 2; b: hits at ranks 1 and 2 = 1; the class without examples is left out.
    assert result["per_class"]["a"]["average_precision"] == pytest.approx(5 / 6)
    assert result["per_class"]["b"]["average_precision"] == pytest.approx(1.0)
    assert result["mean_average_precision"] == pytest.approx((5 / 6 + 1) / 2)
    # From 0.5 on: a answers 1, 2, 3 (2 of 3 right, all found); b answers 2 (half found); absent answers 3 (wrong).
    assert result["per_class"]["a"]["f1"] == pytest.approx(0.8)
    assert result["per_class"]["b"]["f1"] == pytest.approx(2 / 3)
    assert result["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert result["micro_f1"] == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))
    assert result["exact_match"] == 0.5
    assert result["per_class"]["absent"] == {
        "average_precision": None,
        "precision": None,
        "recall": None,
        "f1": None,
        "support": 0,
    }
    low, high = result["intervals"]["mean_average_precision"]
    assert 0.0 <= low <= result["mean_average_precision"] <= high <= 1.0
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_thresholds_of_the_largest_f1_lie_between_scores():
    # a: from 0.9 on F1 = 2/3, from 0.5 on 0.8 (the best): half-way to the next lower score, 0.1.
    # b: from 0.8 on 2/3, from 0.3 on 1: half-way to 0.2. A class without examples keeps 0.5.
    assert choose_thresholds(LABELS, SCORES) == pytest.approx([0.3, 0.25, 0.5])


def test_thresholds_decide_the_answers():
    result = evaluated(thresholds=[0.3, 0.25, 0.5]).result()
    assert result["per_class"]["b"]["f1"] == 1.0
    assert result["thresholds"] == {"a": 0.3, "b": 0.25, "absent": 0.5}
    with pytest.raises(ValueError, match="Received 2 thresholds; expected one for each of 3 classes"):
        MultiLabelEvaluator(("a", "b", "c"), [0.5, 0.5])


def test_agreement_is_the_overlap_of_the_sets_of_classes():
    other = SCORES.copy()
    other[0, 1] = 0.9  # {a} against {a, b}: one of two; the others are the same, the empty set included
    assert evaluated().agreement_with(evaluated(other)) == (0.5 + 1 + 1 + 1) / 4


def test_scores_that_are_not_finite_leave_no_metric():
    scores = SCORES.copy()
    scores[1, 2] = np.nan
    assert np.isnan(evaluated(scores).result()["mean_average_precision"])
    assert evaluated(scores).agreement_with(evaluated()) == 0.75


def test_mistakes_name_both_sets():
    worst = evaluated().mistakes(5)
    assert {m.id for m in worst} == {"2", "3"}
    assert worst[0].id == "3"
    assert (worst[0].expected, worst[0].answered) == ("a, b", "a 50%, absent 70%")
    assert worst[1].expected == "b"


def test_one_class_that_is_there_or_not():
    evaluator = MultiLabelEvaluator(("a",))
    evaluator.update({"id": IDS, "labels": LABELS[:, :1]}, {"scores": SCORES[:, :1]})
    result = evaluator.result()
    assert result["mean_average_precision"] == pytest.approx(5 / 6)
    assert result["micro_f1"] == result["macro_f1"] == pytest.approx(0.8)


def test_no_class_anywhere_gives_zero():
    evaluator = MultiLabelEvaluator(("a", "b"))
    evaluator.update({"id": IDS, "labels": np.zeros((4, 2))}, {"scores": SCORES[:, :2]})
    result = evaluator.result()
    assert result["mean_average_precision"] == 0.0
    assert result["roc_auc"] is None
    assert evaluator.plots()
