"""Sharpness and blurs against Pillow, SciPy, OpenCV and kernels worked by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from models.stack import tf
from pipeline.augment.base import PictureShape
from pipeline.augment.engines import Engine
from pipeline.augment.filters import (
    SMOOTH,
    Blur,
    Filter,
    GaussianBlur,
    MotionBlur,
    Sharpness,
    gaussians,
    lines,
    sharpening,
)
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from tests.augment.pictures import batch

ENGINES = [OpenCV(), TensorFlow()]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("amount", [-1.0, -0.4, 0.0, 0.9])
def test_sharpness_equals_pillow(amount: float, channels: int, engine: Engine) -> None:
    picture = batch(1, 16, 19, channels)["image"][0]
    result = Filter(sharpening(tf.constant([amount])))({"image": tf.constant(picture[np.newaxis])}, engine)["image"]
    expected = np.asarray(ImageEnhance.Sharpness(Image.fromarray(picture.squeeze())).enhance(1 + amount), int)
    difference = np.abs(result.numpy()[0] - expected.reshape(picture.shape))
    assert difference[1:-1, 1:-1].max() <= 1  # Pillow leaves the outermost pixels as they are


@pytest.mark.parametrize("engine", ENGINES)
def test_the_edge_is_mirrored(engine: Engine) -> None:
    pictures = batch(2, 9, 8, 3)["image"]
    kernels = np.random.default_rng(0).uniform(0, 0.08, (2, 5, 5)).astype(np.float32)
    result = Filter(tf.constant(kernels))({"image": tf.constant(pictures)}, engine)["image"].numpy()
    for picture, kernel, filtered in zip(pictures, kernels, result, strict=True):
        expected = ndimage.correlate(picture.astype(float), kernel[..., np.newaxis], mode="mirror")
        assert np.abs(filtered - expected.clip(0, 255)).max() <= 0.51


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_gaussian_blur_equals_scipy_and_opencv(channels: int, engine: Engine) -> None:
    pictures, sigmas = batch(3, 30, 25, channels)["image"], [0.5, 1.0, 2.0]
    blur = Blur(gaussians(tf.constant(sigmas), 6))
    result = blur({"image": tf.constant(pictures)}, engine)["image"].numpy().astype(int)
    for picture, sigma, blurred in zip(pictures, sigmas, result, strict=True):
        expected = ndimage.gaussian_filter(picture.astype(float), (sigma, sigma, 0), mode="mirror", radius=(6, 6, 0))
        assert np.abs(blurred - expected).max() <= 1
        other = cv2.GaussianBlur(picture, (13, 13), sigma).reshape(picture.shape)
        assert np.abs(blurred - other).max() <= 1


def test_kernels_sum_to_one_and_the_widest_has_its_width() -> None:
    kernels = gaussians(tf.constant([0.0, 0.3, 2.0]), 6).numpy()
    np.testing.assert_allclose(kernels.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(kernels[0], np.eye(13)[6])
    places = np.arange(-6, 7)
    assert abs(math.sqrt((kernels[2] * places**2).sum()) - 2.0) < 0.03


def test_lines_by_hand() -> None:
    lengths, angles = tf.constant([3.0, 5.0, 1.0, 2.0]), tf.constant([0, math.pi / 2, 0.7, 0])
    level, upright, single, half = lines(lengths, angles, 2).numpy()
    np.testing.assert_allclose(level[2], [0, 1 / 3, 1 / 3, 1 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(level.sum(axis=1), [0, 0, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(upright[:, 2], np.full(5, 0.2), atol=1e-6)
    np.testing.assert_array_equal(single, np.eye(25)[12].reshape(5, 5))
    np.testing.assert_allclose(half[2], [0, 0.25, 0.5, 0.25, 0], atol=1e-6)


def test_a_sloping_line_equals_opencvs() -> None:
    (kernel,) = lines(tf.constant([1 + 4 * math.sqrt(2)]), tf.constant([math.pi / 4]), 3).numpy()
    drawn = cv2.line(np.zeros((7, 7), np.uint8), (1, 1), (5, 5), 1)
    np.testing.assert_array_equal(kernel >= kernel.max() - 1e-6, drawn == 1)
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-6)


def test_motion_blurs_along_its_line_only() -> None:
    picture = np.zeros((1, 15, 15, 1), np.uint8)
    picture[0, :, 7] = 240
    along = MotionBlur(probability=1, length=(5, 5)).transform(tf.constant([[0, 0, 0.5]]), PictureShape(15, 15, 1))
    across = MotionBlur(probability=1, length=(5, 5)).transform(tf.constant([[0, 0, 0.0]]), PictureShape(15, 15, 1))
    np.testing.assert_array_equal(along({"image": tf.constant(picture)}, OpenCV())["image"], picture)
    blurred = across({"image": tf.constant(picture)}, OpenCV())["image"].numpy()
    assert blurred[0, 7, :, 0].tolist() == [0] * 5 + [48] * 5 + [0] * 5


def test_sizes_are_those_of_the_settings_or_of_a_small_picture() -> None:
    draws = tf.zeros([1, 3])
    assert GaussianBlur(sigma=(0, 2)).transform(draws, PictureShape(99, 99, 3)).kernels.shape[1] == 13
    assert GaussianBlur(sigma=(0, 2)).transform(draws, PictureShape(4, 9, 3)).kernels.shape[1] == 7
    assert MotionBlur(length=(1, 9)).transform(draws, PictureShape(99, 99, 3)).kernels.shape[1] == 9
    assert MotionBlur(length=(1, 9)).transform(draws, PictureShape(99, 99, 3)).describe() == "a filter of 9x9 pixels"


def test_sharpness_reaches_its_limits() -> None:
    draws = tf.constant([[0, 0.0], [0, 1.0], [0.9, 1.0]])
    kernels = Sharpness(amount=2.0, probability=0.5).transform(draws, PictureShape(9, 9, 3)).kernels.numpy()
    np.testing.assert_allclose(kernels[0], SMOOTH, atol=1e-6)
    assert abs(kernels[1, 1, 1] - (1 + 2 * 8 / 13)) < 1e-6
    np.testing.assert_array_equal(kernels[2], np.eye(9)[4].reshape(3, 3))
