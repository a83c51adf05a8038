"""Where answers are, and the anchors there, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from models.detectors.anchors import FittedAnchors, RegularAnchors
from models.detectors.layout import Layout, LayoutOfBatch
from models.stack import tf
from pipeline.tasks import Detection

LAYOUT = Layout(height=8, width=12, strides=(4, 8), answers=1)


def test_places_are_the_middles_of_cells_row_by_row_and_level_by_level() -> None:
    fine = [(2, 2), (6, 2), (10, 2), (2, 6), (6, 6), (10, 6)]
    coarse = [(4, 4), (12, 4)]  # the second reaches beyond the picture
    np.testing.assert_array_equal(LAYOUT.middles(), [*fine, *coarse])
    np.testing.assert_array_equal(LAYOUT.steps()[:, 0], [4] * 6 + [8] * 2)


def test_a_layout_of_a_size_that_is_a_tensor_is_the_same() -> None:
    fixed, anchors = Layout(40, 24, (8, 16), answers=2), FittedAnchors(pixels=((4, 4), (8, 2), (20, 20), (30, 40)))
    later = LayoutOfBatch(tf.constant(40), tf.constant(24), (8, 16), answers=2)
    for one, other in zip(
        (fixed.middles(), fixed.steps(), fixed.scale(), anchors.boxes(fixed)),
        (later.middles(), later.steps(), later.scale(), anchors.boxes(later)),
        strict=True,
    ):
        assert one.dtype == other.dtype.as_numpy_dtype
        np.testing.assert_array_equal(one, other)


def test_maps_are_joined_in_the_order_of_the_places() -> None:
    layout = Layout(8, 12, (4, 8), answers=2)
    fine = np.arange(2 * 3 * 2 * 5, dtype=np.float32).reshape(1, 2, 3, 10)
    coarse = -np.arange(1 * 2 * 2 * 5, dtype=np.float32).reshape(1, 1, 2, 10)
    joined = layout.joined({"boxes_4": tf.constant(fine), "boxes_8": tf.constant(coarse)}, "boxes").numpy()
    assert joined.shape == (1, len(layout.middles()), 5)
    np.testing.assert_array_equal(joined[0, 3], fine[0, 0, 1, 5:])  # the second answer of the second cell
    np.testing.assert_array_equal(joined[0, 12 + 2], coarse[0, 0, 1, :5])
    np.testing.assert_array_equal(layout.middles()[3], [6, 2])


def test_what_belongs_to_places_is_shared_out_over_the_levels() -> None:
    fine, coarse = LAYOUT.shared_out(LAYOUT.middles())
    for level, middles in zip(LAYOUT.levels(), (fine, coarse), strict=True):
        np.testing.assert_array_equal(middles, level.middles())
    assert (len(fine), len(coarse)) == (6, 2)


def test_regular_anchors_have_their_area_and_proportions() -> None:
    anchors = RegularAnchors(side=2, sizes=(1.0, 1.5), proportions=(0.5, 1.0))
    fine, coarse = anchors.shapes((4, 8))
    np.testing.assert_allclose(fine[1], [8, 8])
    np.testing.assert_allclose(fine[0], [8 * math.sqrt(2), 8 / math.sqrt(2)], rtol=1e-6)
    np.testing.assert_allclose(fine[3], [12, 12])
    np.testing.assert_allclose(coarse, 2 * fine)
    boxes = anchors.boxes(Layout(8, 12, (4, 8), answers=4))
    np.testing.assert_allclose(boxes[4 + 1], [6 - 4, 2 - 4, 6 + 4, 2 + 4])  # of the second cell


def test_fitted_anchors_go_to_levels_by_their_area() -> None:
    anchors = FittedAnchors(pixels=((30, 40), (4, 4), (8, 2), (20, 20)))
    fine, coarse = anchors.shapes((4, 8))
    assert sorted(map(tuple, fine.tolist())) == [(4, 4), (8, 2)]
    assert sorted(map(tuple, coarse.tolist())) == [(20, 20), (30, 40)]


def test_anchors_that_cannot_be_shared_out_are_refused_with_a_count_that_can() -> None:
    detector = {"kind": "retinanet", "anchors": {"kind": "fitted", "pixels": [[8, 8]] * 7}}
    with pytest.raises(ValidationError, match=r"over 3 levels.*--count 6"):
        Detection.model_validate({"detector": detector})
