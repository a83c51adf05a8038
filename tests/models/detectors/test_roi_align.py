"""Regions cut from maps: what is linear comes out exactly, everything else as TensorFlow's own resampling does it."""

from __future__ import annotations

import numpy as np
import pytest

from models.detectors.layout import Layout
from models.detectors.regions import aligned
from models.stack import tf

LAYOUT = Layout(height=24, width=32, strides=(4, 8), answers=1)
CELLS = 2.0
PICTURE = np.array([32, 24, 32, 24], np.float32)


def cut(levels: dict[int, np.ndarray], *boxes: tuple[float, ...], bins: int = 2) -> np.ndarray:
    """Regions of boxes in pixels: [Q, S, S, F]."""
    maps = {stride: tf.constant(values[np.newaxis], tf.float32) for stride, values in levels.items()}
    regions = tf.constant((np.array(boxes, np.float32) / PICTURE)[np.newaxis])
    found = aligned(LAYOUT, maps, regions, bins, CELLS).numpy()
    assert found.shape[:3] == (1, len(boxes) * bins, bins)
    return found.reshape(len(boxes), bins, bins, -1)


def places(stride: int) -> np.ndarray:
    """[h, w, 2]: each cell says the x and y of its middle, in pixels."""
    rows, columns = LAYOUT.cells(stride)
    y, x = np.mgrid[:rows, :columns]
    return (np.stack([x, y], axis=-1) + 0.5) * stride


def test_bins_say_where_they_are_if_cells_do() -> None:
    (found,) = cut({4: places(4)}, (3.0, 5.0, 11.0, 17.0))
    np.testing.assert_allclose(found[..., 0], [[5, 9], [5, 9]], rtol=1e-5)  # x: a quarter and three of 3..11
    np.testing.assert_allclose(found[..., 1], [[8, 8], [14, 14]], rtol=1e-5)


def test_beyond_the_middles_of_the_outermost_cells_are_these() -> None:
    (found,) = cut({4: places(4)}, (0.0, 0.0, 8.0, 2.0), bins=4)
    # points at 0.5, 1.5, ... 7.5, of which those below 2 are at 2; two make a bin
    np.testing.assert_allclose(found[0, :, 0], [2, (2.5 + 3.5) / 2, (4.5 + 5.5) / 2, (6.5 + 7.5) / 2], rtol=1e-5)
    np.testing.assert_allclose(found[..., 1], 2.0, rtol=1e-5)


def test_regions_are_resampled_as_tensorflow_does_it() -> None:
    """`crop_and_resize` interpolates at points from edge to edge: four of them are the mean of a bin."""
    bins, rows, columns = 3, *LAYOUT.cells(4)
    noise = np.random.default_rng(1).normal(size=(rows, columns, 5)).astype(np.float32)
    boxes = np.array([[4.5, 3.0, 23.0, 20.5], [6.0, 6.0, 9.0, 7.5]], np.float32)
    low, high = boxes[:, :2] / 4 - 0.5, boxes[:, 2:] / 4 - 0.5  # in cells, from the middle of the first
    half_point = (high - low) / (4 * bins)
    corners = np.concatenate([low + half_point, high - half_point], axis=1) / ([columns - 1, rows - 1] * 2)
    points = tf.image.crop_and_resize(noise[np.newaxis], corners[:, [1, 0, 3, 2]], [0, 0], [2 * bins, 2 * bins])
    expected = points.numpy().reshape(2, bins, 2, bins, 2, 5).mean(axis=(2, 4))
    np.testing.assert_allclose(cut({4: noise}, *boxes.tolist(), bins=bins), expected, atol=1e-5)


@pytest.mark.parametrize(("box", "level"), [((0, 0, 15, 15), 4), ((0, 0, 17, 17), 8), ((0, 0, 8, 31), 4)])
def test_a_region_is_cut_from_the_coarsest_level_with_enough_cells(box: tuple[float, ...], level: int) -> None:
    """From a mean side of two cells of 8 on; 8 x 31 has one of 15.7."""
    levels = {stride: np.full((*LAYOUT.cells(stride), 1), stride, np.float32) for stride in LAYOUT.strides}
    np.testing.assert_allclose(cut(levels, box), level, rtol=1e-5)


def test_what_is_cut_out_teaches_the_map() -> None:
    regions = tf.constant([[[0.1, 0.2, 0.5, 0.9], [0.3, 0.3, 0.35, 0.36]]])
    maps = tf.ones((1, *LAYOUT.cells(4), 1))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        found = aligned(LAYOUT, {4: maps}, regions, 2, CELLS)
    gradient = tape.gradient(found, maps).numpy()
    assert gradient.sum() == pytest.approx(found.shape[1] * found.shape[2], rel=1e-5)  # each bin has a weight of 1
    assert np.all(gradient[0, :, 5:] == 0.0) and gradient[0, 2, 2, 0] > 0.0
