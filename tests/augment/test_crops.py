"""Operations that cut a part of the picture."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from models.stack import tf
from pipeline.augment import random
from pipeline.augment.base import PictureShape
from pipeline.augment.crops import RandomCrop, RandomResizedCrop, ScaleJitter
from pipeline.augment.opencv_engine import OpenCV
from tests.augment.pictures import batch, eagerly


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


def jittered(draws: list[list[float]], scale: tuple[float, float]) -> np.ndarray:
    """Where the corners of the picture are afterwards, as shares of the result: [B,4], like boxes."""
    transform = ScaleJitter(scale=scale).transform(tf.constant(draws, tf.float32), PictureShape(30, 50, 3))
    corners = tf.constant([[[0.0, 0.0], [1.0, 1.0]]] * len(draws))
    return tf.reshape(transform.moving((30, 50), (30, 50))(corners), [-1, 4]).numpy()


def test_scale_jitter_pads_and_cuts_at_every_place() -> None:
    half = jittered([[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0.5, 0.25]], (0.5, 2))
    expected = [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0.25, 0.125, 0.75, 0.625]]
    np.testing.assert_allclose(half, expected, atol=1e-6)
    double = jittered([[0, 1, 0, 0], [0, 1, 1, 1]], (0.5, 2))
    np.testing.assert_allclose(double, [[0, 0, 2, 2], [-1, -1, 1, 1]], atol=1e-6)


def test_scale_jitter_is_uniform_over_its_range() -> None:
    draws = np.random.default_rng(0).random((500, 4)).astype(np.float32).tolist()
    sizes = np.diff(jittered(draws, (0.5, 1.5))[:, [0, 2]])[:, 0]
    np.testing.assert_allclose(sizes, 0.5 + np.array(draws)[:, 1], atol=1e-5)


def test_the_padding_of_scale_jitter_is_grey_and_does_not_count() -> None:
    transform = ScaleJitter(scale=(0.5, 0.5)).transform(tf.zeros([1, 4]), PictureShape(8, 8, 1))
    examples = {"image": tf.zeros([1, 8, 8, 1], tf.uint8), "mask": tf.zeros([1, 8, 8, 1], tf.uint8)}
    result = transform(examples, OpenCV())
    assert (result["image"].numpy()[0, 5:] == 128).all() and (result["mask"].numpy()[0, 5:] == 255).all()
    assert not result["image"].numpy()[0, :4, :4].any() and not result["mask"].numpy()[0, :4, :4].any()


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


@pytest.mark.parametrize("wrong", [{"area": (0.0, 1.0)}, {"area": (0.5, 0.2)}, {"aspect": (0, 1)}, {"aspect": (2, 1)}])
def test_wrong_ranges_are_refused(wrong: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValidationError, match="least"):
        RandomResizedCrop.model_validate(wrong)
