"""One object through frames: followed, lost while it is hidden, found again, its size and looks kept up with.

In place of a trained network stands one that compares pixels, so that what is told of is the follower's own.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.tracking.follower import Follower, FollowSettings, changes, cosine_window
from tests.tracking.given import box

SIDE, CELLS = 60, 15
"""Of crops, and of places in a row."""
HEIGHT, WIDTH, OBJECT = 120, 160, 20
PIXELS = np.random.default_rng(7)
GROUND = cv2.resize(PIXELS.integers(60, 120, (15, 20, 3), dtype=np.uint8), (WIDTH, HEIGHT))
PATTERN = cv2.resize(
    PIXELS.integers(0, 256, (5, 5, 3), dtype=np.uint8), (OBJECT, OBJECT), interpolation=cv2.INTER_NEAREST
)


class Comparing:
    """The middle of the template's crop is compared with the crop around each place: normalised correlation."""

    side, threshold = SIDE, 0.8
    inner = slice(22, 38)
    """A little more than the object, which is a quarter of a crop."""

    def __init__(self) -> None:
        self.windows: list[int] = []
        self.templates: list[np.ndarray] = []

    def template(self, crops: np.ndarray) -> np.ndarray:
        return crops[:, self.inner, self.inner].astype(np.float32)

    def search(self, crops: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.windows.append(len(crops))
        self.templates.append(template)
        found = [self._places(crop.astype(np.float32), template[0]) for crop in crops]
        return np.stack([scores for scores, _ in found]), np.stack([boxes for _, boxes in found])

    def _places(self, crop: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best pixel of each cell: its correlation [P], and a box a quarter of the crop large [P,4]."""
        wide = cv2.copyMakeBorder(crop, 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=(90, 90, 90))
        found = cv2.matchTemplate(wide, template, cv2.TM_CCOEFF_NORMED)[:SIDE, :SIDE]
        cell = SIDE // CELLS
        cells = found.reshape(CELLS, cell, CELLS, cell).swapaxes(1, 2).reshape(CELLS**2, cell**2)
        best = cells.argmax(axis=1)
        x = np.arange(CELLS**2) % CELLS * cell + best % cell
        y = np.arange(CELLS**2) // CELLS * cell + best // cell
        middles = np.stack([x, y], axis=-1) / SIDE
        return np.clip(cells.max(axis=1), 0, 1), np.concatenate([middles - 0.125, middles + 0.125], axis=1)


def frame(*place: float, size: int = OBJECT) -> np.ndarray:
    """The pattern with its middle at a place; nowhere without one."""
    pixels = GROUND.copy()
    if place:
        left, top = round(place[0] - size / 2), round(place[1] - size / 2)
        pixels[top : top + size, left : left + size] = cv2.resize(
            PATTERN, (size, size), interpolation=cv2.INTER_NEAREST
        )
    return pixels


def begun(network: Comparing, **settings: float) -> Follower:
    return Follower(network, FollowSettings.model_validate(settings), frame(60, 60), np.array(box(60, 60, OBJECT)))


def middle(corners: np.ndarray) -> np.ndarray:
    return (corners[:2] + corners[2:]) / 2


def test_a_moving_object_is_followed() -> None:
    follower = begun(Comparing())
    for step in range(1, 12):
        found = follower.update(frame(60 + 5 * step, 60 - 2 * step))
        assert not found.lost
        np.testing.assert_allclose(middle(found.box), (60 + 5 * step, 60 - 2 * step), atol=4)


def test_a_hidden_object_is_lost_and_its_box_stays() -> None:
    follower = begun(Comparing())
    seen = follower.update(frame(64, 60))
    hidden = follower.update(frame())
    assert hidden.lost
    assert hidden.score < 0.8
    np.testing.assert_array_equal(hidden.box, seen.box)


def test_more_is_searched_the_longer_it_is_lost_and_far_away_it_is_found_again() -> None:
    network = Comparing()
    follower = begun(network, widen_every=2, most_rings=1)
    for _ in range(4):
        assert follower.update(frame()).lost
    assert network.windows == [1, 1, 9, 9]
    found = follower.update(frame(120, 30))  # beyond the usual window, which reaches 40 pixels
    assert not found.lost
    np.testing.assert_allclose(middle(found.box), (120, 30), atol=4)
    follower.update(frame(120, 30))
    assert network.windows[-1] == 1


def test_windows_lie_with_their_middles_in_the_frame() -> None:
    network = Comparing()
    follower = Follower(network, FollowSettings(widen_every=1), frame(12, 12), np.array(box(12, 12, OBJECT)))
    for _ in range(3):
        follower.update(frame())
    assert network.windows == [1, 4, 9]


def test_an_unreadable_frame_is_passed_over() -> None:
    network = Comparing()
    follower = begun(network)
    skipped = follower.skip()
    assert skipped.lost
    assert network.windows == []
    assert not follower.update(frame(66, 60)).lost


def test_the_nearer_of_two_that_look_the_same_is_followed() -> None:
    both = frame(66, 60)
    both[80:100, 76:96] = PATTERN
    found = begun(Comparing()).update(both)
    np.testing.assert_allclose(middle(found.box), (66, 60), atol=4)


def test_a_new_size_is_taken_over_by_a_share() -> None:
    network = Comparing()
    follower = Follower(network, FollowSettings(smoothing=0.5), frame(60, 60), np.array([50.0, 53.0, 70.0, 67.0]))
    found = follower.update(frame(60, 60))
    width, height = found.box[2:] - found.box[:2]
    wanted = 4 * np.sqrt((20 + 17) * (14 + 17)) / 2 / 4  # a quarter of the window
    share = 0.5 * found.score
    assert width == pytest.approx((1 - share) * 20 + share * wanted, abs=0.5)
    assert height == pytest.approx((1 - share) * 14 + share * wanted, abs=0.5)


def test_the_template_is_renewed_only_when_the_object_is_sure() -> None:
    network = Comparing()
    follower = begun(network, update_every=1, update_score=0.8, update_share=0.5, first_share=0.0)
    brighter = np.clip(frame(60, 60).astype(int) + 40, 0, 255).astype(np.uint8)
    for pixels in (brighter, frame(), brighter):
        follower.update(pixels)
    first, renewed, kept = network.templates
    assert renewed.mean() > first.mean() + 10
    np.testing.assert_array_equal(kept, renewed)
    still = Comparing()
    fixed = begun(still, update_every=1, update_score=0.8, update_share=0.0)
    for _ in range(2):
        fixed.update(brighter)
    np.testing.assert_array_equal(still.templates[0], still.templates[1])


@pytest.mark.parametrize("corners", [(200, 10, 220, 30), (10, 10, 10, 30), (float("nan"), 0, 10, 10)])
def test_a_box_that_is_not_in_the_frame_is_refused(corners: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="within the frame of 160 x 120 pixels"):
        Follower(Comparing(), FollowSettings(), frame(), np.array(corners))


def test_changes_are_factors_of_size_and_proportions() -> None:
    before = np.array([0.0, 0.0, 10.0, 10.0])
    boxes = np.array([[0, 0, 10, 10], [0, 0, 20, 20], [0, 0, 5, 5], [0, 0, 20, 5]], float)
    sides = np.sqrt((20 + 12.5) * (5 + 12.5)) / 20
    assert changes(before, boxes).tolist() == pytest.approx([1, 2, 2, 4 * max(sides, 1 / sides)])


def test_the_cosine_window_is_highest_in_the_middle() -> None:
    window = cosine_window(25).reshape(5, 5)
    assert window[2, 2] == 1
    np.testing.assert_allclose(window[2], [0.25, 0.75, 1, 0.75, 0.25])
    np.testing.assert_allclose(window, window.T)
