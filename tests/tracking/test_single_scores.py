"""Success and precision of one followed object, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.metrics.single_object import OVERLAPS
from pipeline.tracking.single_scores import DISTANCES, curves, scores

NOTHING = [np.nan] * 4
TRUTH = np.array([[0, 0, 10, 10], [0, 0, 40, 40], [0, 0, 40, 40], [0, 0, 40, 40], NOTHING, NOTHING])
FOUND = np.array([[50, 50, 60, 60], [0, 0, 40, 40], [20, 0, 60, 40], NOTHING, NOTHING, [0, 0, 9, 9]])
"""The first frame does not count; then exact, half a side beside, missed, known to be gone, taken for there."""


def test_frames_with_the_object_count_by_their_overlap() -> None:
    found = scores(TRUTH, FOUND)
    assert found["mean_iou"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert found["success"] == pytest.approx((20 / 21 + 7 / 21 + 0) / 3)
    assert found["success_50"] == pytest.approx(1 / 3)


def test_frames_count_by_the_distance_of_the_middles() -> None:
    found = scores(TRUTH, FOUND)
    assert found["precision"] == pytest.approx(2 / 3)  # 20 pixels are within 20
    assert found["normalised_precision"] == pytest.approx((1 + 1 / 51 + 0) / 3)  # half a side is the last of 51


def test_what_was_said_of_presence_is_told() -> None:
    found = scores(TRUTH, FOUND)
    assert (found["frames"], found["missed"], found["absence_known"]) == (3, 1, 0.5)
    assert scores(TRUTH[:4], FOUND[:4])["absence_known"] is None


def test_curves_fall_and_rise() -> None:
    both = curves(TRUTH[1:4], FOUND[1:4])
    assert len(both.success) == len(OVERLAPS)
    assert both.success[[0, 6, 7, 19, 20]].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 1 / 3, 0])
    assert len(both.precision) == len(DISTANCES)
    assert both.precision[[0, 19, 20, 50]].tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])


def test_without_the_object_nothing_is_claimed() -> None:
    found = scores(TRUTH[[0, 4, 5]], FOUND[[0, 4, 5]])
    assert found["mean_iou"] is None
    assert (found["frames"], found["absence_known"]) == (0, 0.5)
