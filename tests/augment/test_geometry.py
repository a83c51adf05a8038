"""Operations that move pixels, against Pillow, SciPy and numpy."""

from __future__ import annotations

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
from pipeline.augment.base import PictureShape
from pipeline.augment.geometry import (
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Rotation,
    Translation,
    VerticalFlip,
)
from pipeline.augment.warp import AnyFill, ConstantFill, NearestFill, ReflectFill, Warp, enlarge, shift
from tests.augment.pictures import batch, eagerly, in_tf_data

FILLS = [ConstantFill(), ConstantFill(value=77), ReflectFill(), NearestFill()]


def moved(warp: Warp, pictures: np.ndarray) -> np.ndarray:
    return warp({"image": tf.constant(pictures)})["image"].numpy()


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


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize(("right", "down"), [(2, -1), (-3, 4), (0, 0), (9, 30)])
def test_whole_shift_equals_scipy(fill: AnyFill, right: int, down: int) -> None:
    pictures = batch(1, 6, 8, 3)["image"]
    warp = Warp(shift(tf.constant([float(right)]), tf.constant([float(down)])), fill, whole_pixels=True)
    mode = {"constant": "constant", "reflect": "reflect", "nearest": "nearest"}[fill.kind]
    expected = ndimage.shift(pictures, (0, down, right, 0), order=0, mode=mode, cval=getattr(fill, "value", 0))
    np.testing.assert_array_equal(moved(warp, pictures), expected)
    interpolated = Warp(warp.matrices, fill, whole_pixels=False)
    np.testing.assert_array_equal(moved(interpolated, pictures), expected)


def test_random_crop_is_padding_and_cropping() -> None:
    examples = batch(60, 6, 6, 3)
    results = eagerly([RandomCrop(padding=2)], examples)
    padded = np.pad(examples["image"], [(0, 0), (2, 2), (2, 2), (0, 0)])
    places = []
    for result, picture in zip(results, padded, strict=True):
        fits = [(y, x) for y in range(5) for x in range(5) if np.array_equal(picture[y : y + 6, x : x + 6], result)]
        places += fits
        assert len(fits) == 1
    assert {y for y, _ in places} == {x for _, x in places} == set(range(5))


def test_translation_reaches_its_limits_and_no_further() -> None:
    shape = PictureShape(height=20, width=10, channels=1)
    draws = tf.constant([[0, 0, 0], [0, 0.999999, 0.999999], [0, 0.5, 0.5]], tf.float32)
    matrices = Translation(height=0.1, width=0.3).transform(draws, shape).matrices.numpy()
    np.testing.assert_array_equal(matrices[:, 0, 2], [3, -3, 0])
    np.testing.assert_array_equal(matrices[:, 1, 2], [2, -2, 0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill", FILLS)
def test_rotation_equals_scipy(fill: AnyFill, channels: int) -> None:
    pictures = ndimage.gaussian_filter(batch(2, 15, 20, channels)["image"].astype(float), (0, 1, 1, 0))
    pictures = (pictures * 1.5).clip(0, 255).astype(np.uint8)
    draws = tf.constant([[0, 1.0], [0, 0.25]])
    result = moved(Rotation(degrees=30, fill=fill).transform(draws, PictureShape(15, 20, channels)), pictures)
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


def test_rotation_by_a_right_angle_equals_numpy() -> None:
    pictures = batch(1, 9, 9, 3)["image"]
    result = moved(Rotation(degrees=90).transform(tf.constant([[0, 1.0]]), PictureShape(9, 9, 3)), pictures)
    np.testing.assert_array_equal(
        result[0], np.rot90(pictures[0], 1 if result[0, 0, 0, 0] == pictures[0, 0, 8, 0] else -1)
    )


@pytest.mark.parametrize(
    "operation",
    [
        Rotation(degrees=0),
        Rotation(probability=0),
        Translation(height=0, width=0),
        RandomCrop(padding=0),
        RandomCrop(probability=0),
    ],
)
def test_no_magnitude_is_no_change(operation: Rotation | Translation | RandomCrop) -> None:
    examples = batch(3, 7, 10, 3)
    np.testing.assert_array_equal(eagerly([operation], examples), examples["image"])
    np.testing.assert_array_equal(in_tf_data([operation], examples), examples["image"])


def test_windows_keep_to_area_aspect_and_picture() -> None:
    keys = random.keys(tf.strings.as_string(tf.range(4000)), tf.zeros(4000, tf.int64), 1)
    crop = RandomResizedCrop(area=(0.1, 0.8), aspect=(0.5, 2.0))
    windows = crop.window(keys, 100, 150).numpy()
    assert windows.dtype == np.float32 and windows.min() >= 0 and windows.max() <= 1
    height, width = 100 * (windows[:, 2] - windows[:, 0]), 150 * (windows[:, 3] - windows[:, 1])
    area, aspect = height * width / 15000, width / height
    assert 0.0999 < area.min() < 0.12 and 0.7 < area.max() < 0.8001
    assert 0.4999 < aspect.min() < 0.55 and 1.8 < aspect.max() < 2.001
    one = crop.window(keys[17], tf.constant(100), tf.constant(150)).numpy()
    np.testing.assert_array_equal(one, windows[17])


def test_a_window_that_never_fits_is_cut_to_the_picture() -> None:
    keys = random.keys(tf.strings.as_string(tf.range(10)), tf.zeros(10, tf.int64), 1)
    windows = RandomResizedCrop(area=(1.0, 1.0), aspect=(1.0, 1.0)).window(keys, 100, 400).numpy()
    np.testing.assert_allclose(windows[:, 2] - windows[:, 0], 1.0)
    np.testing.assert_allclose(windows[:, 3] - windows[:, 1], 0.5, rtol=1e-5)


def test_a_crop_that_does_not_apply_is_the_whole_picture() -> None:
    keys = random.keys(tf.constant(["a", "b"]), tf.zeros(2, tf.int64), 1)
    windows = RandomResizedCrop(probability=0).window(keys, 10, 20).numpy()
    np.testing.assert_array_equal(windows, [[0, 0, 1, 1], [0, 0, 1, 1]])


@pytest.mark.parametrize("channels", [1, 3])
def test_enlarging_a_batch_equals_the_one_preprocessing(channels: int) -> None:
    pictures = batch(20, 20, 26, channels)["image"]
    keys = random.keys(tf.constant([str(number) for number in range(20)]), tf.zeros(20, tf.int64), 0)
    windows = RandomResizedCrop(area=(0.1, 1.0)).window(keys, 20, 26)
    windows = tf.concat([windows[:-1], [[0.0, 0.0, 1.0, 1.0]]], 0)
    result = enlarge(tf.constant(pictures), windows, (24, 28)).numpy()
    format = PictureFormat(height=24, width=28, channels=channels)
    each = [preprocess.crop_and_fit(one, window, format) for one, window in zip(pictures, windows, strict=True)]
    difference = np.abs(result.astype(int) - np.stack(each))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001
    box = (float(windows[0, 1]) * 26, float(windows[0, 0]) * 20, float(windows[0, 3]) * 26, float(windows[0, 2]) * 20)
    pillow = Image.fromarray(pictures[0].squeeze()).resize((28, 24), Image.Resampling.BILINEAR, box)
    assert np.abs(np.asarray(pillow, int).reshape(24, 28, channels) - result[0])[2:-2, 2:-2].max() <= 1


@pytest.mark.parametrize("wrong", [{"area": (0.0, 1.0)}, {"area": (0.5, 0.2)}, {"aspect": (0, 1)}, {"aspect": (2, 1)}])
def test_wrong_ranges_are_refused(wrong: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValidationError, match="least"):
        RandomResizedCrop.model_validate(wrong)
