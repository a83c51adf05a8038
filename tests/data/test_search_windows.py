"""Windows around an object: cut to the pixel, and back."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.search_windows import Window, window_side


def test_a_square_object_has_a_window_four_times_its_size() -> None:
    assert window_side(10, 10) == pytest.approx(40)
    assert window_side(30, 10) == pytest.approx(2 * np.sqrt((30 + 20) * (10 + 20)))


def test_a_window_lies_around_its_object() -> None:
    assert Window.around(np.array([40.0, 50.0, 50.0, 60.0])) == Window(25, 35, 40)


def test_inside_the_frame_the_pixels_are_those_of_the_frame() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Window(5, 8, 20).cut(pixels, 20), pixels[8:28, 5:25])


def test_beyond_the_frame_stands_its_mean_colour() -> None:
    pixels = np.full((16, 16, 3), (10, 20, 30), np.uint8)
    pixels[:8] = (30, 40, 50)
    cut = Window(-4, -4, 8).cut(pixels, 8)
    np.testing.assert_array_equal(cut[4:, 4:], pixels[:4, :4])
    np.testing.assert_array_equal(cut[:4], np.broadcast_to((20, 30, 40), (4, 8, 3)))
    np.testing.assert_array_equal(Window(100, 100, 8).cut(pixels, 8), np.broadcast_to((20, 30, 40), (8, 8, 3)))


def test_a_larger_window_is_made_smaller_by_the_mean_of_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    means = pixels.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(Window(0, 0, 32).cut(pixels, 16), means, atol=0.51)


def test_shares_and_corners_are_each_others_inverse() -> None:
    window, corners = Window(-10, 20, 40), np.array([[-10.0, 20.0, 10.0, 30.0], [0.0, 0.0, 50.0, 60.0]])
    np.testing.assert_allclose(window.shares(corners)[0], [0, 0, 0.5, 0.25])
    np.testing.assert_allclose(window.corners(window.shares(corners)), corners)


def test_what_only_meets_a_border_does_not_lie_in_the_window() -> None:
    window = Window(10, 10, 20)
    assert window.touches(np.array([0.0, 0.0, 11.0, 11.0]))
    assert not window.touches(np.array([0.0, 0.0, 10.0, 20.0]))
    assert not window.touches(np.array([15.0, 30.0, 20.0, 40.0]))
