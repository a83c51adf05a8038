"""TIDE's kinds of error, by hand and as the authors' `tidecv` gives them, and the confusion of classes."""

from __future__ import annotations

import pytest

from pipeline.metrics.detection_confusion import confusion_counts, named
from pipeline.metrics.detection_errors import error_costs
from tests.metrics.detections import ANSWERS, OBJECTS, Answer, Object, compared, many

LEFT, RIGHT, NEAR_LEFT = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9), (0.0, 0.0, 0.4, 0.2)


def test_what_each_kind_costs_by_hand() -> None:
    # As found, in recalls of 101 (see `test_the_hand_made_set`): a = 26 + 25 * 2/5 = 36, b = 51.
    # classification: b 0.8 becomes a right answer of a: 51 recalls at 1, 25 at 3/6; b has one wrong answer less: 51.
    # localisation: b 0.6 becomes right: 51 at 1, 50 at 2/3.
    # both, duplicate, background: a has one wrong answer less: 26 at 1, 25 at 2/4.
    # missed: a has 3 objects: 34 at 1, 33 at 2/5.
    better = {
        "classification": (51 + 25 * 3 / 6) - 36,
        "localisation": 50 * 2 / 3,
        "both": 25 * (2 / 4 - 2 / 5),
        "duplicate": 25 * (2 / 4 - 2 / 5),
        "background": 25 * (2 / 4 - 2 / 5),
        "missed": (34 + 33 * 2 / 5) - 36,
    }
    costs = error_costs(compared(OBJECTS, ANSWERS, 2, 3))
    assert costs == {name: {"ap_50_lost": pytest.approx(gain / 202), "count": 1} for name, gain in better.items()}


def test_the_values_of_tidecv() -> None:
    # From tidecv 1.0.1 with the same boxes in pixels: `TIDE().evaluate(truth, answers, mode=TIDE.BOX)`, then
    # `fix_main_errors()` / 100 and `count_errors()`.
    costs = error_costs(compared(*many(8, 30), 30, 3))
    values = {name: (cost["ap_50_lost"], cost["count"]) for name, cost in costs.items()}
    assert values == {
        "classification": (pytest.approx(0.06229399, abs=1e-8), 15),
        "localisation": (pytest.approx(0.06361114, abs=1e-8), 18),
        "both": (pytest.approx(0.0002437, abs=1e-8), 2),
        "duplicate": (pytest.approx(0.04027638, abs=1e-8), 44),
        "background": (pytest.approx(0.09408188, abs=1e-8), 72),
        "missed": (pytest.approx(0.07094446, abs=1e-8), 20),
    }


def test_only_the_best_of_several_answers_puts_an_object_right() -> None:
    answers: list[Answer] = [(0, 0, 0.9, (0.0, 0.0, 0.4, 0.15)), (0, 1, 0.8, LEFT), (1, 1, 0.7, LEFT)]
    costs = error_costs(compared([(0, 0, LEFT), (1, 1, LEFT)], answers, 2, 2))
    assert costs["localisation"] == {"ap_50_lost": 0.5, "count": 1}
    # The object is spoken for: without the wrong class b's right answer comes first, and a stays as it is.
    assert costs["classification"] == {"ap_50_lost": 0.25, "count": 1}
    assert costs["missed"]["count"] == 0


def test_answers_on_what_is_not_asked_for_are_no_errors() -> None:
    objects: list[Object] = [(0, 0, LEFT), (0, 0, RIGHT)]
    answers: list[Answer] = [(0, 0, 0.9, LEFT), (0, 0, 0.8, NEAR_LEFT), (0, 0, 0.7, RIGHT)]
    costs = error_costs(compared(objects, answers, 1, 2, crowd={0: 1.0}))
    assert {name: cost["count"] for name, cost in costs.items()} == dict.fromkeys(costs, 0)


def test_a_class_of_which_everything_is_missed() -> None:
    costs = error_costs(compared([(0, 0, LEFT)], [], 1, 2))
    assert costs["missed"] == {"ap_50_lost": 1.0, "count": 1}
    nothing = error_costs(compared([], [(0, 0, 0.9, LEFT)], 1, 2))
    assert nothing["background"] == {"ap_50_lost": None, "count": 1}


def test_the_confusion_of_the_hand_made_set() -> None:
    # Rows: a (right twice, once taken for b, once missed), b (right once, once missed), background.
    counts = confusion_counts(compared(OBJECTS, ANSWERS, 2, 2), 0.0)
    assert counts.tolist() == [[2, 1, 1], [0, 1, 1], [3, 1, 0]]
    assert named(counts, ("a", "b")) == {
        "a": {"a": 2, "b": 1, "background": 1},
        "b": {"b": 1, "background": 1},
        "background": {"a": 3, "b": 1},
    }
    assert confusion_counts(compared(OBJECTS, ANSWERS, 2, 2), 0.92).tolist() == [[0, 0, 4], [0, 1, 1], [0, 0, 0]]


def test_the_largest_overlaps_go_together_whatever_the_class() -> None:
    # The answer of the right class overlaps less than that of the wrong one; the latter has the object.
    answers: list[Answer] = [(0, 0, 0.9, (0.0, 0.0, 0.4, 0.3)), (0, 1, 0.1, LEFT)]
    assert confusion_counts(compared([(0, 0, LEFT)], answers, 1, 2), 0.0).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    # It is free for another object that it overlaps by half at least.
    both = compared([(0, 0, LEFT), (0, 0, (0.0, 0.0, 0.4, 0.25))], answers, 1, 2)
    assert confusion_counts(both, 0.0).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("flag", ["crowd", "difficult"])
def test_what_is_not_asked_for_is_in_no_row(flag: str) -> None:
    comparison = compared([(0, 0, LEFT)], [(0, 1, 0.9, LEFT), (0, 1, 0.8, RIGHT)], 1, 2, **{flag: {0: 1.0}})
    assert confusion_counts(comparison, 0.5).tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
