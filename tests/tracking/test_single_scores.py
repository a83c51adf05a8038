"""Success and precision of one followed object, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.metrics.single_object import OVERLAPS
from pipeline.tracking.single_scores import DISTANCES, Curves, curves, curves_of, scores

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


def test_frames_count_behind_the_one_in_which_the_object_was_given() -> None:
    late = scores(TRUTH, FOUND, start=2)
    assert late["frames"] == 2  # half a side beside, and missed
    assert late["mean_iou"] == pytest.approx((1 / 3 + 0) / 2)
    both = curves_of(TRUTH, FOUND, start=2)
    assert both is not None
    assert both.success.mean() == pytest.approx(late["success"])
    assert curves_of(TRUTH, FOUND, start=4) is None


def test_curves_are_told_and_drawn_with_what_they_are_over() -> None:
    both = Curves(np.linspace(1, 0, len(OVERLAPS)), np.linspace(0, 1, len(DISTANCES)))
    told = both.as_json()
    assert (told["success"]["overlap"][3], told["precision"]["pixels"][50]) == (0.15, 50)
    assert (told["success"]["share"][10], told["precision"]["share"][50]) == (0.5, 1.0)
    success, precision = both.drawn().axes
    np.testing.assert_allclose(success.lines[0].get_xydata()[:, 1], both.success)
    np.testing.assert_allclose(precision.lines[0].get_xydata()[:, 1], both.precision)
    labels = [axes.get_legend().get_texts()[0].get_text() for axes in (success, precision)]
    assert labels == ["area 0.500", "0.400 at 20 pixels"]
