"""COCO's and Pascal VOC's numbers, against pycocotools and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.metrics.detection_coco import class_precisions, coco_numbers, voc_map_50
from pipeline.metrics.detection_comparison import HALF, Comparison
from pipeline.metrics.detection_conditions import by_condition
from pipeline.metrics.detection_interval import map_interval
from tests.metrics.detections import ANSWERS, OBJECTS, Answer, Object, compared, many

STATS = (
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("recall_1", "recall_10", "recall_100"),
)
LEFT, RIGHT = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)


class WithDifficult(COCOeval):
    """pycocotools, which sets its own mark of objects that do not count anew from `iscrowd`."""

    def _prepare(self) -> None:
        super()._prepare()
        for annotation in self.cocoGt.dataset["annotations"]:
            annotation["ignore"] |= annotation["difficult"]


def pycocotools(comparison: Comparison) -> Any:
    """Its twelve numbers, and its precisions [T,R,K,A,M]."""

    def annotations(these: Any, **columns: Any) -> list[dict[str, Any]]:
        corners = these.boxes * 100
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        columns |= {"image_id": these.picture, "category_id": these.classes, "area": boxes[:, 2:].prod(axis=1)}
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        return [
            {"id": number + 1, "bbox": box, **dict(zip(columns, row, strict=True))}
            for number, (box, row) in enumerate(zip(boxes.tolist(), rows, strict=True))
        ]

    objects, answers = comparison.objects, comparison.answers
    sets = (
        annotations(objects, iscrowd=objects.crowd * 1, difficult=objects.difficult * 1),
        annotations(answers, score=answers.scores),
    )
    theirs = []
    for one in sets:
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(comparison.num_pictures)],
            "categories": [{"id": number} for number in range(comparison.num_classes)],
            "annotations": one,
        }
        coco.createIndex()
        theirs.append(coco)
    evaluation = WithDifficult(*theirs, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_numbers_are_those_of_pycocotools(seed: int) -> None:
    objects, answers = many(seed, 40)
    generator = np.random.RandomState(seed)
    flags = {
        name: {int(row): 1.0 for row in generator.choice(len(objects), 12, replace=False)}
        for name in ("difficult", "crowd")
    }
    comparison = compared(objects, answers, 41, 4, **flags)  # a picture and a class without anything
    theirs = pycocotools(comparison)
    numbers = coco_numbers(comparison)
    for name, value in zip(STATS, theirs.stats, strict=False):
        assert numbers[name] == (None if value == -1 else pytest.approx(value, abs=1e-9)), name
    assert 0.05 < numbers["map"] < 0.6  # type: ignore[operator]
    per_class = theirs.eval["precision"][:, :, :, 0, 2].mean(axis=1)
    np.testing.assert_allclose(class_precisions(comparison), np.where(per_class < 0, np.nan, per_class), atol=1e-9)
    assert np.isnan(class_precisions(comparison)[:, 3]).all()


def test_only_a_hundred_answers_of_a_class_count() -> None:
    answers: list[Answer] = [(0, 0, 0.9 - number / 1000, (0.0, 0.0, 0.1, 0.1)) for number in range(100)]
    objects: list[Object] = [(0, 0, LEFT), (0, 0, RIGHT)]
    comparison = compared(objects, [*answers, (0, 0, 0.1, LEFT)], 1, 1)
    assert coco_numbers(comparison)["map"] == pycocotools(comparison).stats[0] == 0.0
    sooner = compared(objects, [*answers[1:], (0, 0, 0.1, LEFT)], 1, 1)
    # Half of the objects at the hundredth answer: 51 of 101 recalls at a precision of 1/100.
    assert coco_numbers(sooner)["map"] == pytest.approx(51 / 100 / 101) == pycocotools(sooner).stats[0]
    # The objects that are found at a score know of no such limit.
    assert comparison.found_at(0.1).tolist() == [True, False]


def test_the_hand_made_set() -> None:
    numbers = coco_numbers(compared(OBJECTS, ANSWERS, 2, 3))
    # Class a, 4 objects, by score: right, wrong, wrong, wrong, right. A precision of 1 up to a recall of 1/4 (26 of the
    # 101 recalls) and of 2/5 up to 2/4 (25 more). Class b, 2 objects: right, wrong, wrong: 51 recalls.
    a, b = (26 + 25 * 2 / 5) / 101, 51 / 101
    assert [numbers[name] for name in ("map", "map_50", "map_75")] == pytest.approx([(a + b) / 2] * 3)
    # Of objects under 32 x 32 pixels b has one, which no answer finds; the answer on its large one does not count.
    assert numbers["map_small"] == pytest.approx(a / 2)
    assert numbers["map_medium"] == 1.0
    assert numbers["map_large"] is None
    # The first answers to each picture find 2 of 4 and 1 of 2 objects, and so do all.
    assert numbers["recall_1"] == numbers["recall_10"] == numbers["recall_100"] == 0.5


def test_pascal_voc_by_hand() -> None:
    # The whole area: class a 1/4 at a precision of 1 and 1/4 at one of 2/5; class b 1/2 at 1.
    assert voc_map_50(compared(OBJECTS, ANSWERS, 2, 3)) == pytest.approx((0.35 + 0.5) / 2)


def test_pascal_voc_holds_an_answer_against_the_object_it_overlaps_most() -> None:
    # The second answer overlaps the first object by 0.8 and the second one by 0.625. COCO gives it the second, since
    # the first is taken; VOC calls it one too many.
    objects: list[Object] = [(0, 0, (0.0, 0.0, 0.5, 1.0)), (0, 0, (0.15, 0.0, 0.4, 1.0))]
    answers: list[Answer] = [(0, 0, 0.9, (0.0, 0.0, 0.5, 1.0)), (0, 0, 0.8, (0.0, 0.0, 0.4, 1.0))]
    comparison = compared(objects, answers, 1, 1)
    assert coco_numbers(comparison)["map_50"] == 1.0
    assert voc_map_50(comparison) == 0.5


@pytest.mark.parametrize(("flag", "voc", "coco"), [("difficult", 1.0, 0.5), ("crowd", 1.0, 1.0)])
def test_what_is_not_asked_for_is_neither_missed_nor_wrong_to_find(flag: str, voc: float, coco: float) -> None:
    # Two answers on an object that is not asked for, then the one that is right.
    answers: list[Answer] = [(0, 0, 0.9, LEFT), (0, 0, 0.8, LEFT), (0, 0, 0.7, RIGHT)]
    comparison = compared([(0, 0, LEFT), (0, 0, RIGHT)], answers, 1, 1, **{flag: {0: 1.0}})
    assert voc_map_50(comparison) == voc
    # As of one outside the areas asked for, COCO forgives one answer on a difficult object; any number in a crowd.
    assert coco_numbers(comparison)["map_50"] == pytest.approx(coco, abs=1e-9)


@pytest.mark.parametrize("condition", ["visible", "brightness"])
def test_recall_and_precision_by_how_objects_are_seen(condition: str) -> None:
    objects: list[Object] = [(0, 0, LEFT), (0, 0, RIGHT), (1, 0, LEFT), (1, 1, RIGHT)]
    nothing = (0.0, 0.8, 0.1, 0.9)
    answers: list[Answer] = [(0, 0, 0.9, RIGHT), (0, 0, 0.8, nothing), (1, 0, 0.7, LEFT), (1, 1, 0.2, RIGHT)]
    shares = {0: 0.1, 1: 1.0, 2: 0.2, 3: 0.25}
    comparison = compared(objects, answers, 2, 2, **{condition: shares})
    rows = by_condition(comparison, getattr(comparison.objects, condition), 0.5)
    assert rows == {
        # The wrong answer comes before the right one: 1/2 up to a recall of 1/2, 51 of 101 recalls.
        "0% to 25%": {"objects": 2, "recall": 0.5, "ap_50": pytest.approx(51 / 2 / 101)},
        "25% to 50%": {"objects": 1, "recall": 0.0, "ap_50": 1.0},
        "75% to 100%": {"objects": 1, "recall": 1.0, "ap_50": 1.0},
    }
    unknown = compared(objects, answers, 2, 2)
    assert by_condition(unknown, getattr(unknown.objects, condition), 0.5) == {}


def test_the_interval_holds_the_value_and_closes_where_nothing_is_wrong() -> None:
    objects, answers = many(5, 40)
    comparison = compared(objects, answers, 40, 3)
    low, high = map_interval(comparison)
    assert 0.0 < low < coco_numbers(comparison)["map"] < high < 1.0  # type: ignore[operator]
    perfect: list[Answer] = [(picture, k, 0.5, box) for picture, k, box in objects]
    assert map_interval(compared(objects, perfect, 40, 3)) == pytest.approx([1.0, 1.0])
    assert coco_numbers(compared(objects, perfect, 40, 3))["map"] == 1.0


def test_the_resampled_value_is_the_value_where_every_picture_is_drawn_once() -> None:
    from pipeline.metrics import detection_interval as interval

    comparison = compared(*many(6, 40), 40, 3)
    once = interval._mean_precision(list(interval._curves(comparison)), np.ones((1, 40)))
    assert once[0] == pytest.approx(coco_numbers(comparison)["map"], abs=1e-3)
    twice = interval._mean_precision(list(interval._curves(comparison)), np.full((1, 40), 2.0))
    # A picture drawn twice has its answers twice: the better curves between two right answers are all that changes.
    assert twice[0] == pytest.approx(once[0], abs=0.02)


def test_equal_overlaps_and_equal_scores_as_in_pycocotools() -> None:
    objects: list[Object] = [(0, 0, LEFT), (0, 0, LEFT), (0, 0, RIGHT), (1, 0, RIGHT)]
    answers: list[Answer] = [(1, 0, 0.5, LEFT), (1, 0, 0.5, RIGHT), *[(0, 0, 0.5, LEFT)] * 3]
    comparison = compared(objects, answers, 2, 1)
    np.testing.assert_allclose(coco_numbers(comparison)["map_50"], pycocotools(comparison).stats[1], atol=1e-12)
    assert comparison.matches.right[HALF].tolist() == [True, True, False, False, True]
