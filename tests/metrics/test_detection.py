from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from pipeline.metrics import plots
from pipeline.metrics.classification import ClassificationEvaluator
from pipeline.metrics.detection import DetectionEvaluator
from tests.metrics.detections import ANSWERS, OBJECTS, Answer, Object, evaluated, many, padded

LEFT, RIGHT = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)


def test_values_worked_out_by_hand() -> None:
    result = evaluated().result()
    # From 0.45 on: 2 right of 6 answers (a 0.9, b 0.95), and 6 objects.
    assert (result["precision"], result["recall"], result["f1"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    a, b = (result["per_class"][name] for name in "ab")
    assert a == pytest.approx(
        {"ap": 36 / 101, "ap_50": 36 / 101, "precision": 1 / 3, "recall": 1 / 4, "f1": 2 / 7, "objects": 4}
    )
    assert b == pytest.approx(
        {"ap": 51 / 101, "ap_50": 51 / 101, "precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5, "objects": 2}
    )
    assert result["map"] == pytest.approx(87 / 202)
    assert (result["num_examples"], result["num_objects"], result["threshold"]) == (2, 6, 0.45)
    assert (result["by_visible"], result["by_brightness"]) == ({}, {})
    assert result["confusion"]["background"] == {"a": 2, "b": 1}


def test_the_best_threshold_lies_below_the_last_answer_that_pays() -> None:
    # F1 by the least score taken: 0.95 2/7, 0.9 4/8, 0.8 4/9, ..., 0.3 6/14; half-way between 0.9 and 0.8.
    assert evaluated().best_threshold() == pytest.approx(0.85)
    assert evaluated(threshold=0.8).result()["best_threshold"] == pytest.approx(0.85)
    # Where the lowest score is taken too, between it and 0.
    assert evaluated(answers=[(1, 1, 0.6, RIGHT)]).best_threshold() == pytest.approx(0.3)
    assert evaluated(answers=[(1, 1, 0.6, LEFT)]).best_threshold() == 0.45


def test_batches_add_up() -> None:
    examples, predictions = padded(OBJECTS, ANSWERS, 2)
    evaluator = DetectionEvaluator(("a", "b"), 0.45, (100, 100))
    for row in range(2):
        evaluator.update(*({name: v[row : row + 1] for name, v in part.items()} for part in (examples, predictions)))
        evaluator.mistakes(3)  # what was worked out of the first batch must not stay
    assert evaluator.result() == evaluated().result()


def test_what_lies_beyond_the_count_is_no_answer() -> None:
    examples, predictions = padded(OBJECTS, ANSWERS, 2)
    predictions["boxes"][1, 2:], predictions["scores"][1, 2:] = (0.0, 0.0, 0.9, 0.9), np.nan
    evaluator = DetectionEvaluator(("a", "b"), 0.45, (100, 100))
    evaluator.update(examples, {name: values.astype(np.float32) for name, values in predictions.items()})
    assert evaluator.result()["map"] == pytest.approx(87 / 202)


def test_objects_are_sorted_by_each_condition_for_itself() -> None:
    hidden_in_the_light = {"visible": dict.fromkeys(range(6), 0.1), "brightness": dict.fromkeys(range(6), 0.9)}
    result = evaluated(**hidden_in_the_light).result()
    assert {name: [(key, row["objects"]) for key, row in result[name].items()] for name in result if "by_" in name} == {
        "by_visible": [("0% to 25%", 6)],
        "by_brightness": [("75% to 100%", 6)],
    }


def test_the_result_is_plain_json_and_a_class_without_objects_has_no_measures() -> None:
    flags = {"visible": dict.fromkeys(range(6), 0.8), "crowd": {0: 1.0}, "difficult": {1: 1.0}}
    for evaluator in (evaluated(**flags), evaluated(objects=[]), evaluated(answers=[]), evaluated([], [])):
        result = evaluator.result()
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert isinstance(result["map"], float)
    absent = evaluated(objects=[one for one in OBJECTS if one[1] == 0]).result()
    assert absent["per_class"]["b"] == {
        **dict.fromkeys(("ap", "ap_50", "precision", "recall", "f1")),
        "objects": 0,
    }
    assert absent["map"] == absent["per_class"]["a"]["ap"]
    empty = evaluated(objects=[]).result()
    assert (empty["map"], empty["map_50"], empty["precision"], empty["voc_map_50"]) == (0.0, None, None, None)
    assert evaluated(answers=[]).result()["precision"] == 0.0
    assert all(plots.to_svg(figure, title) for title, figure in evaluated([], []).plots().items())


def test_identical_answers_agree_wholly() -> None:
    objects, answers = many(3, 20, classes=2)
    answers += [(0, 0, 0.9, (0.3, 0.3, 0.3, 0.6)), (0, 1, 0.9, LEFT), (0, 1, 0.9, LEFT)]  # one has no area
    mine, same = (evaluated(objects, answers, 20, threshold=0.2) for _ in range(2))
    assert mine.agreement_with(same) == 1.0


def test_agreement_is_the_share_of_answers_that_the_other_has_too() -> None:
    first: list[Answer] = [(0, 0, 0.9, LEFT), (0, 1, 0.8, RIGHT), (0, 0, 0.1, RIGHT)]
    near = (0.0, 0.0, 0.4, 0.37)  # an overlap of 0.925
    second: list[Answer] = [(0, 0, 0.6, near), (0, 0, 0.7, RIGHT), (0, 1, 0.7, LEFT)]
    # One of 2 and 3 answers above 0.45 is the same; the second picture is empty for both.
    mine, theirs = evaluated(answers=first), evaluated(answers=second)
    assert mine.agreement_with(theirs) == theirs.agreement_with(mine) == pytest.approx((2 / 5 + 1) / 2)
    far = (0.0, 0.0, 0.4, 0.35)  # 0.875
    assert mine.agreement_with(evaluated(answers=[(0, 0, 0.6, far)])) == 0.5
    # Each answer serves once.
    assert evaluated(answers=[first[0]]).agreement_with(evaluated(answers=[first[0]] * 3)) == (2 / 4 + 1) / 2


def test_only_the_same_pictures_and_the_same_kind_can_be_compared() -> None:
    with pytest.raises(ValueError, match="2 and 3 examples"):
        evaluated().agreement_with(evaluated(pictures=3))
    with pytest.raises(TypeError, match="ClassificationEvaluator"):
        evaluated().agreement_with(ClassificationEvaluator(["a"]))


@pytest.mark.parametrize("name", ["boxes", "scores", "classes"])
def test_answers_that_are_not_finite_leave_no_metric_and_agree_with_nothing(name: str) -> None:
    examples, predictions = padded(OBJECTS, ANSWERS, 2)
    predictions[name][0, 1] = np.nan
    evaluator = DetectionEvaluator(("a", "b"), 0.45, (100, 100))
    evaluator.update(examples, predictions)
    result = evaluator.result()
    assert math.isnan(result.pop("map"))
    assert result == {"non_finite_answers": 1, "num_examples": 2}
    assert evaluator.agreement_with(evaluator) == evaluated().agreement_with(evaluator) == 0.5


def test_mistakes_come_worst_first() -> None:
    # Picture 0 misses two objects and has four wrong answers from 0.45 on: 0.8, 0.7, 0.6, 0.5. Picture 1 misses two.
    worst, other = evaluated().mistakes(5)
    assert (worst.id, worst.expected) == ("0.png", "2 a, 1 b")
    assert worst.answered == "3 a, 2 b; missed 1 a, 1 b; wrong 2 a, 2 b"
    assert worst.badness == pytest.approx(2 + 2.6)
    assert (other.id, other.expected, other.answered) == ("1.png", "2 a, 1 b", "1 b; missed 2 a")
    assert len(evaluated().mistakes(1)) == 1
    assert evaluated([(0, 0, LEFT)], [(0, 0, 0.9, LEFT)]).mistakes(5) == []
    spurious = evaluated([], [(0, 0, 0.9, LEFT)]).mistakes(5)
    assert [(one.expected, one.answered) for one in spurious] == [("nothing", "1 a; wrong 1 a")]
    assert evaluated([(0, 0, LEFT)], []).mistakes(1)[0].answered == "missed 1 a"


def test_the_figures_name_all_and_hold_only_the_page_s_colours() -> None:
    names = [f"class {k}" for k in range(24)]
    objects: list[Object] = [(k, k, LEFT) for k in range(24)]
    answers: list[Answer] = [(k, k, 0.5 + k / 100, LEFT if k % 2 else RIGHT) for k in range(24)]
    evaluator = DetectionEvaluator(tuple(names), 0.5, (100, 100))
    evaluator.update(*padded(objects, answers, 24))
    figures = evaluator.plots()
    assert list(figures) == ["Precision and recall", "Threshold", "Confusion matrix", "What errors cost"]
    drawn = {title: plots.to_svg(figure, title) for title, figure in figures.items()}
    allowed = {plots.INK, plots.MUTED, plots.LINE, plots.ACCENT, plots.SECOND, plots.PAPER}
    assert set(re.findall(r"#[0-9a-f]{6}\b", "".join(drawn.values()))) <= allowed
    # The twelve that are not found come before those that are; the last three do not fit.
    panels = re.findall(r"class \d+ [01]\.\d\d", drawn["Precision and recall"])
    assert [panel.endswith("0.00") for panel in panels] == [True] * 12 + [False] * 9
    assert {"background (12)", "missed (12)"} <= set(re.findall(r"\w+ \(\d+\)", drawn["What errors cost"]))
    assert sum(len(svg) for svg in drawn.values()) < 400_000


def test_nothing_evaluated_is_said() -> None:
    with pytest.raises(ValueError, match="call update"):
        DetectionEvaluator(("a",), 0.5, (100, 100)).result()
