"""Boxes, corners and key points by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models.stack import tf
from pipeline.augment.base import PictureShape
from pipeline.augment.fill import ConstantFill
from pipeline.augment.geometry import HorizontalFlip, Rotation
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.places import move_objects, swap_points, visible_share
from pipeline.augment.warp import Warp, shift
from pipeline.data.example import Example
from pipeline.errors import ConfigError
from tests.augment.scenes import empty, put

SHAPE = (10, 20)


def scene() -> Example:
    examples = empty(2, *SHAPE, 1)
    for number in range(2):
        put(examples, number, 0, (2, 1, 6, 5))
        put(examples, number, 1, (12, 4, 20, 10))
    return {name: tf.constant(values) for name, values in examples.items()}


def moved(min_visible: float, right: float, down: float) -> Example:
    shifted = tf.constant([right, right], tf.float32), tf.constant([down, down], tf.float32)
    return Warp(shift(*shifted), ConstantFill(), min_visible)(scene(), OpenCV())


def test_a_shift_moves_everything() -> None:
    result = moved(0.0, 3, 2)
    np.testing.assert_allclose(result["boxes"][0, 0], [5 / 20, 3 / 10, 9 / 20, 7 / 10], atol=1e-6)
    corners = [[0.25, 0.3], [0.45, 0.3], [0.45, 0.7], [0.25, 0.7]]
    np.testing.assert_allclose(result["corners"][0, 0], corners, atol=1e-6)
    points = [[5.5 / 20, 0.5, 2], [8.5 / 20, 0.5, 2], [7 / 20, 0.5, 2]]
    np.testing.assert_allclose(result["points"][0, 0], points, atol=1e-6)
    np.testing.assert_array_equal(result["masks"][0, 0, 3:7, 5:9], 1)
    assert result["masks"].numpy()[0, 0].sum() == 16


def test_boxes_are_cut_and_points_outside_are_not_labelled() -> None:
    result = moved(0.0, 3, 2)
    np.testing.assert_allclose(result["boxes"][0, 1], [15 / 20, 6 / 10, 1, 1], atol=1e-6)
    np.testing.assert_allclose(result["points"][0, 1], [[15.5 / 20, 0.9, 2], [0, 0, 0], [19 / 20, 0.9, 2]], atol=1e-6)


@pytest.mark.parametrize(("min_visible", "stays"), [(0.4, True), (5 * 4 / 48, True), (0.42, False), (1.0, False)])
def test_an_object_stays_while_enough_of_its_box_is_seen(min_visible: float, stays: bool) -> None:
    result = moved(min_visible, 3, 2)
    assert result["classes"][0].numpy().tolist() == [0, 1 if stays else -1, -1, -1]
    for name in ("boxes", "corners", "points", "masks", "difficult"):
        assert result[name].numpy()[0, 1].any() == stays


def test_a_box_that_only_touches_the_edge_is_gone_even_where_nothing_has_to_be_seen() -> None:
    assert moved(0.0, 8, 0)["classes"][0].numpy().tolist() == [0, -1, -1, -1]


def test_a_box_turned_to_the_very_edge_is_still_whole() -> None:
    examples = empty(1, 12, 12, 1)
    put(examples, 0, 0, (0, 0, 12, 5))
    turn = Rotation(degrees=90, min_visible=1.0)
    tensors = {name: tf.constant(values) for name, values in examples.items()}
    result = turn.transform(tf.constant([[0, 1.0]]), shape_of(tensors))(tensors, OpenCV())
    assert result["classes"][0, 0] == 0
    assert np.ptp(result["boxes"][0, 0].numpy().reshape(2, 2), axis=0) == pytest.approx([5 / 12, 1], abs=1e-5)


def shape_of(examples: Example) -> PictureShape:
    return PictureShape(*examples["image"].shape[1:])


def test_examples_that_are_not_changed_stay_to_the_last_bit() -> None:
    examples = scene()
    changed = tf.constant([True, False])
    result = move_objects(examples, lambda points: points + 0.9, 0.5, changed=changed)
    assert not any(result[name][0].numpy().any() for name in ("boxes", "corners", "points", "masks"))
    for name, values in examples.items():
        np.testing.assert_array_equal(result[name][1], values[1], err_msg=name)


def test_visible_share() -> None:
    boxes = tf.constant([[[0.1, 0.1, 0.3, 0.3], [-0.5, 0.0, 0.5, 1.0], [1.0, 0.0, 1.5, 1.0], [0.2, 0.2, 0.2, 0.4]]])
    np.testing.assert_allclose(visible_share(boxes), [[1, 0.5, -1, -1]], atol=1e-6)


def test_points_are_swapped_in_mirrored_examples_only() -> None:
    examples = scene()
    result = swap_points(examples, ((0, 2),), tf.constant([False, True]))["points"]
    np.testing.assert_array_equal(result[0], examples["points"][0])
    np.testing.assert_array_equal(result[1], examples["points"][1].numpy()[:, [2, 1, 0]])


def test_a_flip_swaps_left_and_right() -> None:
    examples = scene()
    flip = HorizontalFlip(probability=0.5, swap_points=((0, 1),))
    result = flip.transform(tf.constant([[0.1], [0.9]]), shape_of(examples))(examples, OpenCV())
    points = [[1 - 5.5 / 20, 0.3, 2], [1 - 2.5 / 20, 0.3, 2], [1 - 4 / 20, 0.3, 2]]
    np.testing.assert_allclose(result["points"][0, 0], points, atol=1e-6)
    np.testing.assert_array_equal(result["points"][1], examples["points"][1])


def test_points_that_no_object_has_cannot_be_swapped() -> None:
    with pytest.raises(ConfigError, match="names key point 5, but the objects have 3 key points, 0 to 2"):
        swap_points(scene(), ((0, 5),), tf.constant([True, True]))
