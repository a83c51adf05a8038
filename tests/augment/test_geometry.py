"""Operations that move pixels, against Pillow, SciPy and numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment import random
from pipeline.augment.base import PictureOperation, PictureShape
from pipeline.augment.crops import RandomResizedCrop, ScaleJitter
from pipeline.augment.engines import Engine
from pipeline.augment.fill import AnyFill, ConstantFill, NearestFill, ReflectFill
from pipeline.augment.geometry import HorizontalFlip, Perspective, Rotation, Shear, Translation, VerticalFlip, Zoom
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.augment.warp import HORIZON, Warp, enlarge, shift
from tests.augment.pictures import batch, eagerly, in_tf_data

FILLS = [ConstantFill(), ConstantFill(value=77), ReflectFill(), NearestFill()]


ENGINES = [OpenCV(), TensorFlow()]


def moved(warp: Warp, pictures: np.ndarray, engine: Engine) -> np.ndarray:
    return warp({"image": tf.constant(pictures)}, engine)["image"].numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("operation", "axis"), [(HorizontalFlip, 2), (VerticalFlip, 1)])
def test_flip_equals_numpy(operation: type[HorizontalFlip | VerticalFlip], axis: int, channels: int) -> None:
    examples = batch(3, 5, 8, channels)
    np.testing.assert_array_equal(eagerly([operation(probability=1)], examples), np.flip(examples["image"], axis))
    np.testing.assert_array_equal(in_tf_data([operation(probability=1)], examples), np.flip(examples["image"], axis))


def test_a_flip_flips_its_share() -> None:
    examples = batch(2000, 2, 2, 1)
    examples["image"] = np.tile(np.array([[0, 1], [2, 3]], np.uint8)[None, :, :, None], (2000, 1, 1, 1))
    flipped = eagerly([HorizontalFlip(probability=0.3)], examples)[:, 0, 0, 0] == 1
    assert abs(flipped.mean() - 0.3) < 0.04


def test_flip_twice_is_nothing() -> None:
    examples = batch(4, 6, 7)
    flip = HorizontalFlip(probability=1)
    np.testing.assert_array_equal(eagerly([flip, flip], examples), examples["image"])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize(("right", "down"), [(2, -1), (-3, 4), (0, 0), (9, 30)])
def test_whole_shift_equals_scipy(fill: AnyFill, right: int, down: int, engine: Engine) -> None:
    pictures = batch(1, 6, 8, 3)["image"]
    warp = Warp(shift(tf.constant([float(right)]), tf.constant([float(down)])), fill)
    mode = {"constant": "constant", "reflect": "reflect", "nearest": "nearest"}[fill.kind]
    expected = ndimage.shift(pictures, (0, down, right, 0), order=0, mode=mode, cval=getattr(fill, "value", 0))
    np.testing.assert_array_equal(moved(warp, pictures, engine), expected)


def test_translation_reaches_its_limits_and_no_further() -> None:
    shape = PictureShape(height=20, width=10, channels=1)
    draws = tf.constant([[0, 0, 0], [0, 0.999999, 0.999999], [0, 0.5, 0.5]], tf.float32)
    matrices = Translation(height=0.1, width=0.3).transform(draws, shape).matrices.numpy()
    np.testing.assert_array_equal(matrices[:, 0, 2], [3, -3, 0])
    np.testing.assert_array_equal(matrices[:, 1, 2], [2, -2, 0])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill", FILLS)
def test_rotation_equals_scipy(fill: AnyFill, channels: int, engine: Engine) -> None:
    pictures = ndimage.gaussian_filter(batch(2, 15, 20, channels)["image"].astype(float), (0, 1, 1, 0))
    pictures = (pictures * 1.5).clip(0, 255).astype(np.uint8)
    draws = tf.constant([[0, 1.0], [0, 0.25]])
    result = moved(Rotation(degrees=30, fill=fill).transform(draws, PictureShape(15, 20, channels)), pictures, engine)
    mode = {"constant": "grid-constant", "reflect": "reflect", "nearest": "nearest"}[fill.kind]
    for picture, turned, degrees in zip(pictures, result, (30, -15), strict=True):
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        matrix, centre = np.array([[cos, sin], [-sin, cos]]), np.array([7.0, 9.5])
        for channel in range(channels):
            expected = ndimage.affine_transform(
                picture[..., channel].astype(float), matrix, centre - matrix @ centre, order=1, mode=mode,
                cval=getattr(fill, "value", 0),
            )  # fmt: skip
            assert np.abs(turned[..., channel] - expected).max() < 0.51


@pytest.mark.parametrize("engine", ENGINES)
def test_rotation_by_a_right_angle_equals_numpy(engine: Engine) -> None:
    pictures = batch(1, 9, 9, 3)["image"]
    result = moved(Rotation(degrees=90).transform(tf.constant([[0, 1.0]]), PictureShape(9, 9, 3)), pictures, engine)
    np.testing.assert_array_equal(
        result[0], np.rot90(pictures[0], 1 if result[0, 0, 0, 0] == pictures[0, 0, 8, 0] else -1)
    )


def affine_of(operation: PictureOperation, draws: list[float], height: int = 41, width: int = 21) -> np.ndarray:
    """The matrix of one example, over pixels counted from the centre."""
    matrix = operation.transform(tf.constant([draws]), PictureShape(height, width, 3)).matrices[0].numpy()
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    return np.linalg.inv(centre) @ matrix @ centre


def test_shear_slants_about_the_centre() -> None:
    matrix = affine_of(Shear(horizontal=0.5, vertical=0.2), [0, 1.0, 0.0])
    np.testing.assert_allclose(np.linalg.inv(matrix), [[1, 0.5, 0], [-0.2, 1, 0], [0, 0, 1]], atol=1e-5)


def test_zoom_enlarges_about_the_centre() -> None:
    for draw, factor in ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0)):
        matrix = affine_of(Zoom(factor=(0.5, 2)), [0, draw])
        np.testing.assert_allclose(np.linalg.inv(matrix), np.diag([factor, factor, 1]), atol=1e-5)


def test_perspective_takes_each_corner_to_its_place() -> None:
    draws = np.random.default_rng(0).random((200, 9), np.float32)
    matrices = Perspective(distortion=0.2).transform(tf.constant(draws), PictureShape(41, 21, 3)).matrices.numpy()
    corners = np.array([[0, 0, 1], [20, 0, 1], [20, 40, 1], [0, 40, 1]])
    gone = np.einsum("bij,cj->bci", np.linalg.inv(matrices.astype(float)), corners)
    expected = corners[:, :2] + (draws[:, 1:].reshape(-1, 4, 2) * 2 - 1) * [0.2 * 20, 0.2 * 40]
    np.testing.assert_allclose(gone[..., :2] / gone[..., 2:], expected, atol=1e-3)


def test_no_part_of_the_picture_goes_behind_the_horizon() -> None:
    """The worst cases: every corner at one of its four extremes."""
    extremes = np.array(list(itertools.product([0.0, 1.0], repeat=8)), np.float32)
    draws = np.concatenate([np.zeros([256, 1], np.float32), extremes], axis=1)
    matrices = Perspective(distortion=0.2).transform(tf.constant(draws), PictureShape(41, 21, 3)).matrices.numpy()
    corners = np.array([[-0.5, -0.5, 1], [20.5, -0.5, 1], [20.5, 40.5, 1], [-0.5, 40.5, 1]])
    assert (np.linalg.inv(matrices.astype(float)) @ corners.T)[:, 2].min() > 100 * HORIZON


@pytest.mark.parametrize("wrong", [[0.5, 0.2], [0.01, 1], [1, 11]])
def test_ranges_that_are_wrong_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValidationError, match=r"factor has to be \[least, largest\] with 0.1"):
        Zoom.model_validate({"factor": wrong})
    with pytest.raises(ValidationError, match="scale has to be"):
        ScaleJitter.model_validate({"scale": wrong})


@pytest.mark.parametrize("wrong", [[[0, 0]], [[0, 1], [1, 2]], [[-1, 0]]])
def test_points_swapped_with_themselves_or_twice_are_refused(wrong: list[list[int]]) -> None:
    with pytest.raises(ValidationError, match="different key points"):
        HorizontalFlip.model_validate({"swap_points": wrong})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_enlarging_a_batch_equals_the_one_preprocessing(channels: int, engine: Engine) -> None:
    pictures = batch(20, 20, 26, channels)["image"]
    keys = random.keys(tf.constant([str(number) for number in range(20)]), tf.zeros(20, tf.int64), 0)
    windows = RandomResizedCrop(area=(0.1, 1.0)).window(keys, 20, 26)
    windows = tf.concat([windows[:-1], [[0.0, 0.0, 1.0, 1.0]]], 0)
    result = enlarge(tf.constant(pictures), windows, (24, 28), engine).numpy()
    format = PictureFormat(height=24, width=28, channels=channels)
    each = [preprocess.crop_and_fit(one, window, format) for one, window in zip(pictures, windows, strict=True)]
    difference = np.abs(result.astype(int) - np.stack(each))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001
    box = (float(windows[0, 1]) * 26, float(windows[0, 0]) * 20, float(windows[0, 3]) * 26, float(windows[0, 2]) * 20)
    pillow = Image.fromarray(pictures[0].squeeze()).resize((28, 24), Image.Resampling.BILINEAR, box)
    assert np.abs(np.asarray(pillow, int).reshape(24, 28, channels) - result[0])[2:-2, 2:-2].max() <= 1
