"""Boxes against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models import boxes
from models.stack import tf

ONE = tf.constant([0.0, 0.0, 4.0, 4.0])
BESIDE = tf.constant([2.0, 0.0, 6.0, 4.0])
FAR = tf.constant([6.0, 0.0, 8.0, 4.0])


def test_overlaps_of_two_squares() -> None:
    assert float(boxes.iou(ONE, ONE)) == pytest.approx(1.0)
    assert float(boxes.iou(ONE, BESIDE)) == pytest.approx(8 / 24)
    assert float(boxes.iou(ONE, FAR)) == 0.0


def test_generalised_overlap_says_how_far_apart() -> None:
    assert float(boxes.giou(ONE, BESIDE)) == pytest.approx(1 / 3)  # the hull is the union
    assert float(boxes.giou(ONE, FAR)) == pytest.approx(-(32 - 24) / 32)


def test_complete_overlap_minds_middles_and_proportions() -> None:
    assert float(boxes.ciou(ONE, BESIDE)) == pytest.approx(1 / 3 - 4 / (36 + 16))  # middles 2 apart, hull 6 x 4
    flat = tf.constant([0.0, 1.0, 4.0, 3.0])  # the same middle, half the height
    shape = 4 / math.pi**2 * (math.atan(2.0) - math.atan(1.0)) ** 2
    assert float(boxes.ciou(ONE, flat)) == pytest.approx(0.5 - shape**2 / (1 - 0.5 + shape), rel=1e-5)


def test_a_box_without_area_overlaps_nothing_and_has_finite_gradients() -> None:
    point = tf.Variable([1.0, 1.0, 1.0, 1.0])
    for measure in (boxes.iou, boxes.giou, boxes.ciou):
        with tf.GradientTape() as tape:
            value = measure(point, ONE)
        assert float(value) <= 0.0
        assert np.all(np.isfinite(tape.gradient(value, point)))


def test_the_share_of_each_box_inside_others() -> None:
    small = tf.constant([[2.0, 0.0, 6.0, 4.0], [1.0, 1.0, 2.0, 2.0]])
    np.testing.assert_allclose(boxes.share_inside(small, ONE[tf.newaxis]), [[0.5, 1.0]], rtol=1e-6)


def test_steps_from_an_anchor_and_back() -> None:
    anchor, box = tf.constant([[0.0, 0.0, 10.0, 20.0]]), tf.constant([[5.0, 0.0, 25.0, 10.0]])
    steps = boxes.to_steps(anchor, box, (0.1, 0.2))
    # middles (5, 10) and (15, 5): one width to the right, a quarter of a height up; twice as wide, half as high
    np.testing.assert_allclose(steps, [[10.0, -2.5, math.log(2) / 0.2, -math.log(2) / 0.2]], rtol=1e-5)
    np.testing.assert_allclose(boxes.from_steps(anchor, steps, (0.1, 0.2)), box, atol=1e-4)


def test_distances_from_a_point_and_back() -> None:
    point = tf.constant([[3.0, 2.0]])
    distances = boxes.to_distances(point, ONE[tf.newaxis])
    np.testing.assert_allclose(distances, [[3.0, 2.0, 1.0, 2.0]])
    np.testing.assert_allclose(boxes.from_distances(point, distances), ONE[tf.newaxis])


def test_the_smooth_error_is_squared_near_zero() -> None:
    np.testing.assert_allclose(boxes.smooth_l1(tf.constant([-0.5, 1.0, 3.0]), 1.0), [0.125, 0.5, 2.5])
