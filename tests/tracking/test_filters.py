"""The filters of motion: the Kalman filter against its textbook form, the particles on what is not linear."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tracking.association import GATE
from pipeline.tracking.boxes import centred, cornered, overlaps
from pipeline.tracking.kalman import Kalman
from pipeline.tracking.motion import Motion
from pipeline.tracking.particles import Particles

BOXES = np.array([[50.0, 40.0, 20.0, 30.0], [100.0, 90.0, 12.0, 8.0]])
NOBODY = np.zeros(1, bool)


def textbook(first: np.ndarray, measured: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """Mean [8] and covariance [8,8] by the usual matrices (R. Kalman, 1960), with BoT-SORT's noise."""
    move, see = np.eye(8) + np.eye(8, k=4), np.eye(4, 8)

    def sides(mean: np.ndarray) -> np.ndarray:
        return np.tile(mean[2:4], 2)

    mean = np.concatenate([first, np.zeros(4)])
    covariance = np.diag(np.concatenate([2 * 0.05 * sides(mean), 10 * 0.00625 * sides(mean)]) ** 2)
    for box in measured:
        noise = np.diag(np.concatenate([0.05 * sides(mean), 0.00625 * sides(mean)]) ** 2)
        mean, covariance = move @ mean, move @ covariance @ move.T + noise
        if box is not None:
            expected = see @ covariance @ see.T + np.diag((0.05 * sides(mean)) ** 2)
            gain = covariance @ see.T @ np.linalg.inv(expected)
            mean, covariance = mean + gain @ (box - see @ mean), covariance - gain @ see @ covariance
    return mean, covariance


def test_the_kalman_filter_is_that_of_the_textbook() -> None:
    first, second = BOXES
    seen: list[np.ndarray | None] = [first + np.array([3, 1, 1, 0]), None, first + np.array([9, 3, 2, -1])]
    tracks = Kalman().start()
    tracks.add(BOXES)
    for box in seen:
        tracks.predict(np.zeros(2, bool))
        if box is not None:
            tracks.update(np.array([0]), box[np.newaxis])
    mean, covariance = textbook(first, seen)
    np.testing.assert_allclose(tracks.boxes[0], mean[:4], rtol=1e-12)
    np.testing.assert_allclose(tracks.boxes[1], second)
    other = mean[:4] + np.array([1, 2, 3, 4])
    expected = covariance[:4, :4] + np.diag((0.05 * np.tile(mean[2:4], 2)) ** 2)
    distance = (other - mean[:4]) @ np.linalg.inv(expected) @ (other - mean[:4])
    np.testing.assert_allclose(tracks.distances(other[np.newaxis])[0, 0], distance, rtol=1e-12)


def test_sizes_of_lost_tracks_stay() -> None:
    tracks = Kalman().start()
    tracks.add(BOXES[:1])
    for growth in range(1, 6):
        tracks.predict(NOBODY)
        tracks.update(np.array([0]), BOXES[:1] + growth * np.array([0, 0, 3.0, 3.0]))
    before = tracks.boxes
    tracks.predict(~NOBODY)
    np.testing.assert_allclose(tracks.boxes, before)
    tracks.predict(NOBODY)
    np.testing.assert_allclose(tracks.boxes, before, err_msg="a size that nothing corrected does not change again")


@pytest.mark.parametrize("motion", [Kalman(), Particles()])
def test_a_camera_that_turns_and_zooms_takes_tracks_along(motion: Motion) -> None:
    turn = np.array([[0.0, -2.0, 300.0], [2.0, 0.0, -20.0]])  # by a right angle, twice the size
    still, moved = motion.start(), motion.start()
    for tracks in (still, moved):
        tracks.add(BOXES[:1])
        for step in range(1, 9):
            tracks.predict(NOBODY)
            tracks.update(np.array([0]), BOXES[:1] + step * np.array([3.0, 1.0, 0, 0]))
    moved.warp(turn)
    for tracks in (still, moved):
        tracks.predict(NOBODY)
    x, y, width, height = still.boxes[0]
    tolerance = 0.01 if isinstance(motion, Kalman) else 3.0
    np.testing.assert_allclose(moved.boxes[0, :2], [300 - 2 * y, 2 * x - 20], atol=tolerance)
    np.testing.assert_allclose(moved.boxes[0, 2:], [2 * width, 2 * height], atol=tolerance)


@pytest.mark.parametrize("motion", [Kalman(), Particles()])
def test_tracks_come_and_go(motion: Motion) -> None:
    tracks = motion.start()
    assert tracks.boxes.shape == (0, 4)
    assert tracks.distances(BOXES).shape == (0, 2)
    tracks.add(BOXES)
    tracks.add(BOXES[:1] + 50)
    tracks.keep(np.array([True, False, True]))
    np.testing.assert_allclose(tracks.boxes, [BOXES[0], BOXES[0] + 50], atol=1.0)
    assert (np.diag(tracks.distances(np.array([BOXES[0], BOXES[0] + 50]))) < 0.5).all()
    assert (tracks.distances(BOXES[1:]) > 10 * GATE).all()


def circle(step: int) -> np.ndarray:
    """An object on its way round a circle, as a detector sees it."""
    return np.array([[200 + 60 * np.cos(0.12 * step), 200 + 60 * np.sin(0.12 * step), 40, 40]])


def lost_on_a_curve(motion: Motion) -> float:
    """How far from the object a track is, in pixels, that was not seen for six frames."""
    random, tracks = np.random.default_rng(3), motion.start()
    tracks.add(circle(0))
    for step in range(1, 40):
        tracks.predict(NOBODY)
        tracks.update(np.array([0]), circle(step) + random.normal(0, 0.8, (1, 4)))
    for _ in range(6):
        tracks.predict(~NOBODY)
    return float(np.hypot(*(tracks.boxes - circle(45))[0, :2]))


def test_particles_follow_a_curve_where_a_steady_velocity_leaves_it() -> None:
    assert lost_on_a_curve(Kalman()) > 30, "three quarters of the object's side: it would not be found again"
    assert lost_on_a_curve(Particles()) < 15
    assert lost_on_a_curve(Particles()) == lost_on_a_curve(Particles()), "the seed decides"
    assert lost_on_a_curve(Particles()) != lost_on_a_curve(Particles(seed=1))


def test_particles_that_are_all_wrong_are_still_numbers() -> None:
    tracks = Particles(count=50).start()
    tracks.add(BOXES[:1])
    tracks.update(np.array([0]), BOXES[:1] + 5000)
    assert np.isfinite(tracks.boxes).all()


def test_overlaps_by_hand() -> None:
    corners = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [3, 3, 3, 3]])
    np.testing.assert_allclose(overlaps(corners, corners), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(cornered(centred(corners)), corners)
    np.testing.assert_allclose(centred(corners)[1], [10, 5, 10, 10])
