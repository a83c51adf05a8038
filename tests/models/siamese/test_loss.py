"""What a tracker's places cost, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models.siamese.loss import EdgeLoss, ScoreLoss, places_in
from models.siamese.network import Siamese
from models.stack import tf

SIDE = 40
NETWORK = Siamese(stride=8, channels=8, template_cells=3)
"""Five by five places, at 0.1, 0.3, 0.5, 0.7, 0.9."""
THERE = [0.05, 0.275, 0.95, 0.725, 1.0]
"""Middle (0.5, 0.5), sides 0.9 and 0.45: half axes of the inner ellipse 0.225 and 0.1125, of the outer 0.45, 0.225."""
GONE = [0.0, 0.0, 0.0, 0.0, 0.0]


def test_places_answer_within_the_inner_ellipse_and_deny_beyond_the_outer() -> None:
    inside, outside = places_in(tf.constant([THERE]), tf.constant(NETWORK.middles(SIDE)))
    answer = np.where(inside[0], 1, np.where(outside[0], 0, -1)).reshape(5, 5)
    none, beside = [0, 0, 0, 0, 0], [0, -1, -1, -1, 0]
    np.testing.assert_array_equal(answer, [none, beside, [-1, 1, 1, 1, -1], beside, none])


def test_a_small_object_has_the_place_nearest_to_it() -> None:
    target = tf.constant([[0.38, 0.38, 0.40, 0.40, 1.0]])
    inside, outside = places_in(target, tf.constant(NETWORK.middles(SIDE)))
    assert np.flatnonzero(inside[0]).tolist() == [6]
    assert outside.numpy().sum() == 24


def test_without_the_object_all_places_deny() -> None:
    inside, outside = places_in(tf.constant([GONE]), tf.constant(NETWORK.middles(SIDE)))
    assert not inside.numpy().any()
    assert outside.numpy().all()


def test_scores_cost_by_their_focal_cross_entropy() -> None:
    loss = ScoreLoss(NETWORK, SIDE)
    logits = np.zeros((2, 5, 5, 1), np.float32)
    # Half sure everywhere: 0.5 (side) * 0.5 (wrong) * ln 2 for each kind that is there.
    expected = 0.25 * np.log(2)
    np.testing.assert_allclose(loss.call(tf.constant([THERE, GONE]), logits), [2 * expected, expected], rtol=1e-5)


def test_edges_cost_by_their_overlap_where_the_object_is() -> None:
    loss = EdgeLoss(NETWORK, SIDE)
    target = [0.4, 0.4, 0.6, 0.6, 1.0]  # the middle cell; its place is 4 pixels, half a stride, from each edge
    edges = np.full((2, 5, 5, 4), np.log(0.5), np.float32)
    np.testing.assert_allclose(loss.call(tf.constant([target, GONE]), edges), [0, 0], atol=1e-5)
    doubled = edges + np.log(2).astype(np.float32)  # four times the area around it: IoU and GIoU are a quarter
    np.testing.assert_allclose(loss.call(tf.constant([target, GONE]), doubled), [0.75, 0], rtol=1e-5)


def test_one_value_an_example() -> None:
    target = tf.constant([THERE, GONE, THERE])
    for loss, numbers in ((ScoreLoss(NETWORK, SIDE), 1), (EdgeLoss(NETWORK, SIDE), 4)):
        one_by_one = [
            loss.call(target[row : row + 1], np.full((1, 5, 5, numbers), 0.3, np.float32)) for row in range(3)
        ]
        together = loss.call(target, np.full((3, 5, 5, numbers), 0.3, np.float32))
        assert together.numpy() == pytest.approx(np.concatenate(one_by_one))
