"""Elastic deformation, against SciPy's splines."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage

from models.stack import tf
from pipeline.augment.base import PictureShape
from pipeline.augment.elastic import MOST_CELLS, Elastic, ElasticDeformation
from pipeline.augment.engines import Engine
from pipeline.augment.fill import ConstantFill
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from tests.augment.pictures import batch, eagerly


def bend(cells: int = 4, magnitude: float = 0.25, count: int = 20) -> Elastic:
    operation = ElasticDeformation(cells=cells, magnitude=magnitude)
    draws = np.random.default_rng(cells).random((count, operation.num_draws), np.float32)
    return operation.transform(tf.constant(draws), PictureShape(60, 80, 3))


@pytest.mark.parametrize("cells", [1, 3, MOST_CELLS])
def test_displacements_are_the_cubic_spline_of_scipy(cells: int) -> None:
    elastic = bend(cells, count=2)
    points = np.random.default_rng(0).random((2, 50, 2)).astype(np.float32)
    found = elastic.displacement(tf.constant(points)).numpy()
    for control, place, displacement in zip(elastic.control.numpy(), points, found, strict=True):
        at = place[:, ::-1].T * cells + 1
        for axis in (0, 1):
            expected = ndimage.map_coordinates(control[..., axis], at, order=3, prefilter=False)
            np.testing.assert_allclose(displacement[:, axis], expected, atol=1e-6)


@pytest.mark.parametrize("cells", [1, 4, MOST_CELLS])
def test_nothing_moves_further_than_the_magnitude(cells: int) -> None:
    points = tf.constant(np.random.default_rng(0).uniform(-0.2, 1.2, (20, 500, 2)), tf.float32)
    moved = np.abs(bend(cells, 0.2).displacement(points).numpy())
    assert 0.3 * 0.2 / cells < moved.max() <= 0.2 / cells


def test_points_go_where_the_picture_goes() -> None:
    """Looking back from where a point went finds the point; the largest allowed magnitude is the hardest."""
    points = tf.constant(np.random.default_rng(0).random((20, 100, 2)), tf.float32)
    for magnitude, most in ((0.2, 2e-5), (0.25, 1e-4)):
        elastic = bend(magnitude=magnitude)
        back = elastic.looking((60, 80), (60, 80))(elastic.moving((60, 80), (60, 80))(points))
        assert np.abs(back - points).max() * 4 < most


def test_the_steepest_bend_still_finds_its_points_to_a_thousandth_of_a_cell() -> None:
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (300, 7, 7, 2))
    elastic = Elastic(tf.constant(signs * 0.25 / 4, tf.float32), None, 0.0)
    points = tf.constant(np.random.default_rng(1).random((300, 100, 2)), tf.float32)
    back = elastic.looking((60, 80), (60, 80))(elastic.moving((60, 80), (60, 80))(points))
    assert np.abs(back - points).max() * 4 < 1e-3


@pytest.mark.parametrize("engine", [OpenCV(), TensorFlow()])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_equals_scipy_at_the_same_places(channels: int, engine: Engine) -> None:
    pictures = ndimage.gaussian_filter(batch(2, 30, 40, channels)["image"].astype(float), (0, 2, 2, 0))
    pictures = pictures.round().astype(np.uint8)
    operation = ElasticDeformation(fill=ConstantFill(value=50), magnitude=0.2, cells=2)
    draws = np.random.default_rng(1).random((2, operation.num_draws), np.float32)
    elastic = operation.transform(tf.constant(draws), PictureShape(30, 40, channels))
    result = elastic({"image": tf.constant(pictures)}, engine)["image"].numpy()
    places = elastic.places((30, 40), (30, 40)).numpy()
    for picture, place, bent in zip(pictures, places, result, strict=True):
        for channel in range(channels):
            at = place[..., ::-1].transpose(2, 0, 1)
            plane = picture[..., channel].astype(float)
            expected = ndimage.map_coordinates(plane, at, order=1, mode="grid-constant", cval=50)
            assert np.abs(bent[..., channel] - expected).max() < 0.6


def test_examples_are_bent_differently_and_some_not_at_all() -> None:
    examples = batch(40, 16, 16)
    examples["image"][:] = examples["image"][0]
    results = eagerly([ElasticDeformation(probability=0.5)], examples)
    still = (results == examples["image"]).all(axis=(1, 2, 3))
    assert 8 < still.sum() < 32
    assert len({result.tobytes() for result in results[~still]}) == (~still).sum()


@pytest.mark.parametrize("wrong", [{"magnitude": 0.3}, {"magnitude": -0.1}, {"cells": 0}, {"cells": 11}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ElasticDeformation.model_validate(wrong)
