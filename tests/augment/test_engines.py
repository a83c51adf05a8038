"""Both engines' ways to move pixels, against SciPy and against each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import ndimage

from models.stack import tf
from pipeline.augment.engines import Engine
from pipeline.augment.fill import AnyFill, ConstantFill, NearestFill, ReflectFill
from pipeline.augment.opencv_engine import OpenCV, room
from pipeline.augment.tensorflow_engine import TensorFlow

ENGINES = [OpenCV(), TensorFlow()]
FILLS = [ConstantFill(), ConstantFill(value=77), ReflectFill(), NearestFill()]
MODES = {"constant": "grid-constant", "reflect": "reflect", "nearest": "nearest"}


def smooth_pictures(channels: int, count: int = 3, height: int = 15, width: int = 20) -> np.ndarray:
    noise = np.random.default_rng(channels).integers(0, 256, (count, height, width, channels)).astype(float)
    return (ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0)) * 1.6 - 60).clip(0, 255).astype(np.uint8)


def smooth_places(count: int = 3, height: int = 12, width: int = 17, margin: float = 4.0) -> np.ndarray:
    """Places that bend, some of them outside a picture of 15 x 20."""
    noise = np.random.default_rng(5).normal(0, 15, (count, height, width, 2))
    grid = np.stack(
        np.meshgrid(np.linspace(-margin, 19 + margin, width), np.linspace(-margin, 14 + margin, height)), -1
    )
    return (grid + ndimage.gaussian_filter(noise, (0, 3, 3, 0))).astype(np.float32)


def matrices() -> np.ndarray:
    """Turned and enlarged, seen at an angle, and shrunk."""
    turned = [[0.61, -0.34, 5.3], [0.34, 0.61, -1.2], [0, 0, 1]]
    angle = [[1.1, 0.13, -2.1], [0.05, 0.9, 1.3], [0.011, -0.013, 1]]
    return np.array([turned, angle, [[1.7, 0, -3.2], [0, 1.4, -2.6], [0, 0, 1]]], np.float32)


def seen(matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """The places (x, y) that a matrix gives to each pixel, in double precision."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    moved = np.stack([x, y, np.ones_like(x)], -1) @ matrix.astype(float).T
    return moved[..., :2] / moved[..., 2:]


def by_scipy(picture: np.ndarray, places: np.ndarray, fill: AnyFill, order: int) -> np.ndarray:
    """Float [H,W,C]."""
    at = places[..., ::-1].transpose(2, 0, 1).astype(float)
    how = {"order": order, "mode": MODES[fill.kind], "cval": getattr(fill, "value", 0)}
    planes = np.moveaxis(picture.astype(float), -1, 0)
    return np.stack([ndimage.map_coordinates(plane, at, **how) for plane in planes], -1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill", FILLS)
def test_warp_equals_scipy(fill: AnyFill, channels: int, engine: Engine) -> None:
    pictures = smooth_pictures(channels)
    result = engine.warp(tf.constant(pictures), tf.constant(matrices()), fill, (13, 18)).numpy()
    for picture, matrix, warped in zip(pictures, matrices(), result, strict=True):
        assert np.abs(warped - by_scipy(picture, seen(matrix, 13, 18), fill, 1)).max() < 0.6


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill", FILLS)
def test_remap_equals_scipy(fill: AnyFill, channels: int, engine: Engine) -> None:
    pictures, places = smooth_pictures(channels), smooth_places()
    result = engine.remap(tf.constant(pictures), tf.constant(places), fill).numpy()
    for picture, place, moved in zip(pictures, places, result, strict=True):
        assert np.abs(moved - by_scipy(picture, place, fill, 1)).max() < 0.6


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_nearest_pixels_equal_scipy(channels: int, engine: Engine) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 15, 20, channels), np.uint8)
    places = smooth_places()
    warped = engine.warp_nearest(tf.constant(pictures), tf.constant(matrices()), 9, (13, 18)).numpy()
    moved = engine.remap_nearest(tf.constant(pictures), tf.constant(places), 9).numpy()
    for number, picture in enumerate(pictures):
        for result, at in ((warped, seen(matrices()[number], 13, 18)), (moved, places[number])):
            clear = (np.abs(at - np.floor(at) - 0.5) > 1e-3).all(axis=-1)  # not half way between two pixels
            expected = by_scipy(picture, np.round(at), ConstantFill(value=9), 0)
            np.testing.assert_array_equal(result[number][clear], expected[clear])


@pytest.mark.parametrize("fill", FILLS)
def test_the_engines_agree(fill: AnyFill) -> None:
    pictures = tf.constant(smooth_pictures(3, 3, 15, 20))
    first, second = (
        (engine.warp(pictures, tf.constant(matrices()), fill, (30, 31)), engine.remap(pictures, smooth_places(), fill))
        for engine in ENGINES
    )
    for one, other in zip(first, second, strict=True):
        assert np.abs(one.numpy().astype(int) - other.numpy()).max() <= 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_places_of_the_pixels_themselves_give_the_picture(channels: int, engine: Engine) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 15, 20, channels), np.uint8)
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(15)), -1).astype(np.float32)
    places, eye = np.stack([grid, grid]), np.stack([np.eye(3, dtype=np.float32)] * 2)
    np.testing.assert_array_equal(engine.remap(pictures, places, ConstantFill()), pictures)
    np.testing.assert_array_equal(engine.remap_nearest(pictures, places, 0), pictures)
    np.testing.assert_array_equal(engine.warp(tf.constant(pictures), eye, ConstantFill(), (15, 20)), pictures)
    np.testing.assert_array_equal(engine.warp_nearest(tf.constant(pictures), eye, 0, (15, 20)), pictures)


def test_memory_on_the_way_is_of_each_thread_and_used_again() -> None:
    own, again = room.array("test", (4, 5)), room.array("test", (3, 3))
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(room.array, "test", (4, 5)).result()
    assert np.shares_memory(own, again) and not np.shares_memory(own, other)
    assert not np.shares_memory(own, room.array("another", (4, 5)))
    large = room.array("large", (room.largest + 1,))
    assert not np.shares_memory(large, room.array("large", (room.largest + 1,)))
