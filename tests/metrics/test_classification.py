from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pipeline.metrics.classification import ClassificationEvaluator
from pipeline.metrics.regression import RegressionEvaluator

NAMES = ("a", "b", "c", "absent")
LABELS = np.array([0, 0, 1, 2])
SCORES = np.array([[0.7, 0.2, 0.1, 0.0], [0.4, 0.6, 0.0, 0.0], [0.1, 0.8, 0.1, 0.0], [0.2, 0.3, 0.5, 0.0]], np.float32)
IDS = np.array([b"1.png", b"2.png", b"3.png", b"4.png"], object)


def evaluated(scores: np.ndarray = SCORES, labels: np.ndarray = LABELS, names: tuple[str, ...] = NAMES):
    evaluator = ClassificationEvaluator(names)
    ids = IDS if len(labels) == 4 else np.array([f"{row}" for row in range(len(labels))])
    for rows in np.array_split(np.arange(len(labels)), 2):
        evaluator.update({"id": ids[rows], "label": labels[rows]}, {"scores": scores[rows]})
    return evaluator


def test_values_worked_out_by_hand():
    result = evaluated().result()
    assert result["accuracy"] == 0.75
    assert result["top_5"] == 1.0
    # F1: a = 2 * 1 * 0.5 / 1.5 = 2/3, b = 2/3, c = 1; the class without examples is left out.
    assert result["macro_f1"] == pytest.approx(7 / 9)
    assert result["weighted_f1"] == pytest.approx((2 * 2 / 3 + 2 / 3 + 1) / 4)
    assert result["per_class"]["a"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert result["per_class"]["b"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert result["roc_auc"] == 1.0
    assert result["pr_auc"] == 1.0
    # Each answer falls into a bin of its own: |0.7 - 1|, |0.6 - 0|, |0.8 - 1|, |0.5 - 1|.
    assert result["expected_calibration_error"] == pytest.approx((0.3 + 0.6 + 0.2 + 0.5) / 4, abs=1e-6)
    expected = -(math.log(0.7) + math.log(0.4) + math.log(0.8) + math.log(0.5)) / 4
    assert result["log_loss"] == pytest.approx(expected, abs=1e-5)
    low, high = result["intervals"]["accuracy"]
    assert 0.0 <= low <= 0.75 <= high <= 1.0


def test_a_class_without_examples_has_no_measures_and_gives_plain_json():
    result = evaluated().result()
    assert result["per_class"]["absent"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_top_5_counts_the_label_among_the_five_highest():
    scores = np.tile(np.array([0.3, 0.25, 0.2, 0.12, 0.08, 0.05], np.float32), (4, 1))
    result = evaluated(scores, np.array([0, 4, 5, 5]), tuple("abcdef")).result()
    assert result["accuracy"] == 0.25
    assert result["top_5"] == 0.5


def test_equal_scores_count_for_the_first_class_only():
    result = evaluated(np.zeros((2, 8), np.float32), np.array([7, 0]), tuple("abcdefgh")).result()
    assert result["accuracy"] == result["top_5"] == 0.5
    assert result["log_loss"] == pytest.approx(math.log(8))


def test_one_label_only_leaves_roc_auc_undefined():
    result = evaluated(SCORES, np.zeros(4, np.int64)).result()
    assert result["roc_auc"] is None
    assert result["pr_auc"] == 1.0


def test_agreement_is_the_share_of_same_answers():
    other = SCORES.copy()
    other[0] = [0.1, 0.9, 0.0, 0.0]
    assert evaluated().agreement_with(evaluated(other)) == 0.75
    assert evaluated().agreement_with(evaluated()) == 1.0


def test_only_the_same_examples_and_the_same_kind_can_be_compared():
    fewer = ClassificationEvaluator(NAMES)
    fewer.update({"id": IDS[:1], "label": LABELS[:1]}, {"scores": SCORES[:1]})
    with pytest.raises(ValueError, match="4 and 1 examples"):
        evaluated().agreement_with(fewer)
    with pytest.raises(TypeError, match="RegressionEvaluator"):
        evaluated().agreement_with(RegressionEvaluator(["x"]))


def test_mistakes_come_worst_first():
    scores = np.array([[0.1, 0.9], [0.45, 0.55], [0.8, 0.2], [0.3, 0.7]], np.float32)
    mistakes = evaluated(scores, np.array([0, 0, 0, 0]), ("cat", "dog")).mistakes(2)
    assert [(m.id, m.expected, m.answered) for m in mistakes] == [
        ("1.png", "cat", "dog 90%"),
        ("4.png", "cat", "dog 70%"),
    ]
    assert [m.badness for m in mistakes] == pytest.approx([0.8, 0.4])


def test_answers_that_are_not_finite_leave_no_metric_and_agree_with_nothing():
    scores = SCORES.copy()
    scores[0, 0], scores[2, 0] = np.nan, np.inf
    result = evaluated(scores).result()
    assert math.isnan(result.pop("accuracy"))
    assert result == {"non_finite_answers": 2, "num_examples": 4}
    assert evaluated(scores).agreement_with(evaluated(scores)) == 0.5
    assert evaluated().agreement_with(evaluated(scores)) == 0.5


def test_nothing_evaluated_is_said():
    with pytest.raises(ValueError, match="call update"):
        ClassificationEvaluator(NAMES).result()
