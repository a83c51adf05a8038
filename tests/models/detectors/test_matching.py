"""Which place answers for which object, on examples small enough to be seen through."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.detectors import matching, truth
from models.detectors.truth import Truth
from models.stack import tf

SCALE = np.full(4, 100.0, np.float32)


def objects(*rows: tuple[float, ...]) -> Truth:
    """Boxes in pixels of a picture of 100, class, and whether asked."""
    values = np.array(rows, np.float32).reshape(1, -1, 6) / np.array([100, 100, 100, 100, 1, 1], np.float32)
    return truth.read(tf.constant(values), tf.constant(SCALE))


def listed(values: Any) -> list[Any]:
    return values.numpy()[0].tolist()


def test_targets_are_read_as_they_were_written() -> None:
    boxes = tf.constant([[[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 1.0, 1.0]]])
    asked = tf.constant([[True, False, False]])
    targets = truth.written(boxes, tf.constant([[2, -1, 1]]), asked, tf.constant([48, 64]))
    assert targets.shape == (1, 3, truth.NUMBERS) and truth.size_of(targets).numpy().tolist() == [48, 64]
    read = truth.read(targets, SCALE)
    np.testing.assert_allclose(read.boxes[0, 0], [10, 20, 30, 40], rtol=1e-6)
    assert listed(read.asked) == [True, False, False]
    assert listed(read.ignored) == [False, False, True]
    assert listed(read.classes) == [2, 0, 1]


def test_anchors_answer_from_one_overlap_on_and_are_silent_below_another() -> None:
    wanted = objects((0, 0, 10, 10, 3, 1))
    anchors = np.array([[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4.5], [0, 0, 10, 2]], np.float32)  # 1, .6, .45, .2
    matches = matching.by_overlap(wanted, tf.constant(anchors), 0.5, 0.4)
    assert listed(matches.positive) == [True, True, False, False]
    assert listed(matches.negative) == [False, False, False, True]


def test_every_object_has_its_best_anchor_however_bad() -> None:
    wanted = objects((0, 0, 10, 10, 0, 1), (0, 0, 10, 2, 1, 1))
    anchors = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    matches = matching.by_overlap(wanted, tf.constant(anchors), 0.5, 0.4)
    # the second object overlaps the first anchor by 0.25 only, and yet it is that object's best
    assert listed(matches.object)[:2] == [1, 0]
    assert listed(matches.positive) == [True, True, False]


def test_of_two_objects_with_the_same_best_anchor_the_second_has_the_next() -> None:
    wanted = objects((0, 0, 10, 9, 0, 1), (0, 0, 10, 10, 1, 1), (0, 0, 0, 0, -1, 0))
    anchors = np.array([[0, 0, 10, 9.6], [0, 0, 10, 3], [0, 0, 10, 2]], np.float32)  # .9375, .33, .22 | .96, .3, .2
    matches = matching.by_overlap(wanted, tf.constant(anchors), 0.5, 0.4)
    assert listed(matches.object) == [1, 0, 0]
    assert listed(matches.positive) == [True, True, False]
    assert listed(matches.negative) == [False, False, True]
    too_far = matching.by_overlap(wanted, tf.constant(anchors), 0.5, 0.4, best_from=0.35)
    assert listed(too_far.positive) == [True, False, False]


def test_objects_choose_until_each_has_an_anchor_or_none_is_left() -> None:
    """Four objects in one place: the first anchor goes to the one that fits it best, the second to the next, and so on;
    the last anchor overlaps nothing. In the second picture one of them is alone."""
    rows = [(0, 0, 10, height, 0, 1) for height in (10, 9, 8, 7)]
    alone = [rows[0], *[(0, 0, 0, 0, -1, 0)] * 3]
    both = [Truth(*(values[0] for values in vars(objects(*held)).values())) for held in (rows, alone)]
    wanted = Truth(*(tf.stack(pair) for pair in zip(*(vars(one).values() for one in both), strict=True)))
    anchors = tf.constant(np.array([[0, 0, 10, 20], [0, 0, 10, 30], [0, 0, 10, 40], [50, 50, 60, 60]], np.float32))
    matches = tf.function(lambda: vars(matching.by_overlap(wanted, anchors, 0.6, 0.6)))()
    assert matches["object"].numpy().tolist() == [[0, 1, 2, 0], [0, 0, 0, 0]]
    assert matches["positive"].numpy().tolist() == [[True, True, True, False], [True, False, False, False]]


def test_two_objects_in_the_same_place_have_an_anchor_each() -> None:
    wanted = objects((0, 0, 10, 10, 0, 1), (0, 0, 10, 10, 1, 1))
    anchors = np.array([[0, 0, 10, 10], [0, 0, 10, 4]], np.float32)
    matches = matching.by_overlap(wanted, tf.constant(anchors), 0.5, 0.4)
    assert sorted(listed(matches.object)) == [0, 1]
    assert listed(matches.positive) == [True, True]


def test_an_object_that_no_anchor_reaches_keeps_its_best_one() -> None:
    wanted = objects((0, 0, 10, 10, 0, 1), (40, 40, 50, 44, 1, 1))
    anchors = np.array([[0, 0, 10, 10], [40, 40, 50, 60], [40, 50, 50, 60]], np.float32)  # the second object: 0.2 and 0
    matches = matching.by_overlap(wanted, tf.constant(anchors), 0.5, 0.4)
    assert listed(matches.positive) == [True, True, False]
    assert listed(matches.object)[1] == 1
    assert listed(matches.negative) == [False, False, True]


def test_anchors_inside_what_is_not_asked_for_are_not_asked() -> None:
    wanted = objects((0, 0, 10, 10, 0, 1), (50, 50, 100, 100, 0, 0), (0, 0, 0, 0, -1, 0))
    anchors = np.array([[0, 0, 10, 10], [60, 60, 70, 70], [20, 20, 30, 30]], np.float32)
    matches = matching.by_overlap(wanted, tf.constant(anchors), 0.5, 0.4)
    assert listed(matches.positive) == [True, False, False]
    assert listed(matches.negative) == [False, False, True]


def test_each_picture_may_have_its_own_anchors_and_the_best_may_have_to_reach_something() -> None:
    wanted = objects((0, 0, 10, 10, 0, 1), (50, 50, 60, 60, 1, 1))
    both = Truth(*(tf.repeat(values, 2, axis=0) for values in vars(wanted).values()))
    anchors = np.array(
        [[[0, 0, 10, 4], [50, 50, 60, 52]], [[0, 0, 10, 2], [50, 50, 60, 54]]], np.float32
    )  # overlaps .4, .2 | .2, .4
    matches = matching.by_overlap(both, tf.constant(anchors), 0.5, 0.5, best_from=0.3)
    assert matches.positive.numpy().tolist() == [[True, False], [False, True]]
    assert matches.negative.numpy().tolist() == [[False, True], [True, False]]
    assert matches.object.numpy().tolist() == [[0, 0], [0, 1]]
    assert matching.by_overlap(both, tf.constant(anchors), 0.5, 0.5).positive.numpy().all()


def aligned(wanted: Truth, points: Any, found: Any, scores: Any, most: int = 2) -> matching.Matches:
    steps = tf.fill([len(points), 1], 10.0)
    tensors = (tf.constant(np.array(values, np.float32)) for values in (points, [found], [scores]))
    points, found, scores = tensors
    return matching.task_aligned(wanted, points, steps, found, scores, most, (1.0, 2.0))


def test_the_best_aligned_places_inside_an_object_answer_for_it() -> None:
    wanted = objects((0, 0, 40, 40, 1, 1))
    points = [(5, 5), (15, 5), (25, 5), (95, 95)]
    found = [(0, 0, 40, 40), (0, 0, 40, 20), (0, 0, 40, 40), (0, 0, 40, 40)]  # overlaps 1, 0.5, 1, 1
    scores = [(0, 0.4), (0, 0.9), (0, 0.8), (0, 1.0)]  # alignment 0.4, 0.225, 0.8; the last is outside
    matches = aligned(wanted, points, found, scores)
    assert listed(matches.positive) == [True, False, True, False]
    np.testing.assert_allclose(matches.quality[0], [0.5, 0.0, 1.0, 0.0], rtol=1e-5)  # as shares of the best, times 1
    assert listed(matches.negative) == [False, True, False, True]


def test_a_place_that_two_objects_want_goes_to_the_one_it_overlaps_most() -> None:
    wanted = objects((0, 0, 40, 40, 0, 1), (0, 0, 20, 20, 0, 1))
    matches = aligned(wanted, [(10, 10), (30, 30)], [(0, 0, 22, 22), (0, 0, 40, 40)], [(0.5,), (0.5,)])
    assert listed(matches.object) == [1, 0]
    assert listed(matches.positive) == [True, True]


def test_an_object_smaller_than_a_cell_still_has_a_place() -> None:
    wanted = objects((52, 52, 54, 54, 0, 1))
    matches = aligned(wanted, [(45, 45), (55, 55)], [(40, 40, 50, 50), (50, 50, 60, 60)], [(0.5,), (0.5,)])
    assert listed(matches.positive) == [False, True]


def test_a_picture_without_objects_has_negative_places_alone() -> None:
    wanted = objects((0, 0, 0, 0, -1, 0))
    matches = aligned(wanted, [(5, 5)], [(0, 0, 9, 9)], [(0.9,)])
    assert (listed(matches.positive), listed(matches.negative)) == ([False], [True])
