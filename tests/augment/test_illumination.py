"""Light gradients and shadows against values worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from models.stack import tf
from pipeline.augment.base import PictureShape
from pipeline.augment.engines import Engine
from pipeline.augment.illumination import GRID, Light, LightGradient, Shadow, along
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from tests.augment.pictures import batch

ENGINES = [OpenCV(), TensorFlow()]
SHAPE = PictureShape(64, 64, 3)


def lit(light: Light, value: int, engine: Engine, side: int = 64) -> np.ndarray:
    pictures = np.full((len(light.gains), side, side, 3), value, np.uint8)
    return light({"image": tf.constant(pictures)}, engine)["image"].numpy()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 90), (20, 17)])
@pytest.mark.parametrize("channels", [1, 3])
def test_gains_are_spread_bilinearly(channels: int, height: int, width: int, engine: Engine) -> None:
    pictures = batch(2, height, width, channels)["image"]
    gains = np.random.default_rng(0).uniform(0, 1.5, (2, GRID, GRID)).astype(np.float32)
    result = Light(tf.constant(gains))({"image": tf.constant(pictures)}, engine)["image"].numpy()
    rows, columns = ((np.arange(size) + 0.5) * GRID / size - 0.5 for size in (height, width))
    for picture, gain, changed in zip(pictures, gains, result, strict=True):
        places = np.meshgrid(rows, columns, indexing="ij")
        field = ndimage.map_coordinates(gain.astype(float), places, order=1, mode="nearest")
        expected = (picture * field[..., np.newaxis]).clip(0, 255)
        assert np.abs(changed - expected).max() <= 0.51


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_is_linear_from_side_to_side(engine: Engine) -> None:
    draws = tf.constant([[0, 1, 0], [0, 1, 0.25], [0, 1, 0.125], [0.9, 1, 0.3]])
    operation = LightGradient(probability=0.5, strength=(0.0, 0.5))
    right, down, corner, none = lit(operation.transform(draws, SHAPE), 100, engine).astype(int)
    expected = 100 * (1 + 0.5 * ((np.arange(64) + 0.5) / 32 - 1))
    assert np.abs(right[7, 1:-1, 0] - expected[1:-1]).max() <= 0.51 and (right == right[0]).all()
    assert np.abs(down[1:-1, 7, 1] - expected[1:-1]).max() <= 0.51
    assert abs(corner[0, 0, 0] - 50) <= 2 and abs(corner[-1, -1, 0] - 150) <= 2 and abs(corner[0, -1, 0] - 100) <= 1
    assert (none == 100).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shadow_is_a_strip(engine: Engine) -> None:
    """Upright, in the middle, half as wide as the picture, with edges of an eighth of the picture."""
    operation = Shadow(strength=(0.2, 0.4), width=(0.5, 0.5), softness=0.125)
    (shadow,) = lit(operation.transform(tf.constant([[0, 1, 0, 0.5, 0.0]]), SHAPE), 200, engine).astype(int)
    assert (shadow == shadow[0]).all()
    row = shadow[0, :, 0]
    assert (row[:11] == 200).all() and (row[21:43] == 120).all() and (row[53:] == 200).all()
    assert abs(row[15:17].mean() - 160) <= 1 and (np.diff(row[11:21]) < 0).all()


def test_shadows_lie_anywhere() -> None:
    draws = tf.random.stateless_uniform([400, 5], [1, 2])
    gains = Shadow(probability=1).transform(draws, SHAPE).gains.numpy()
    assert gains.min() >= 0.4 - 1e-6 and gains.max() == 1.0
    dark = (gains < 0.9).mean(axis=0)
    assert dark.min() > 0.15 and dark.max() < 0.6


def test_corners_are_reached() -> None:
    across, reach = along(tf.constant([0.0, math.pi / 4, math.pi]))
    assert np.abs(across.numpy()).max() <= reach.numpy().max()
    np.testing.assert_allclose(across[0, :, -1], 1 - 1 / GRID, rtol=1e-6)
    np.testing.assert_allclose(reach.numpy().ravel(), [1, math.sqrt(2), 1], rtol=1e-6)


def test_lights_become_one() -> None:
    draws = tf.constant([[0, 0.5, 0.3, 0.6, 0.2]])
    shadow, gradient = Shadow().transform(draws, SHAPE), LightGradient().transform(draws, SHAPE)
    together = lit(shadow.then(gradient), 120, OpenCV()).astype(int)
    stepwise = gradient(shadow({"image": tf.fill([1, 64, 64, 3], tf.constant(120, tf.uint8))}, OpenCV()), OpenCV())
    assert np.abs(together - stepwise["image"].numpy()).max() <= 2
    assert shadow.then(Light(shadow.gains)).describe() == "light changed"
