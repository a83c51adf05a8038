"""Labels through a window: a random crop when pictures are read, and the fits."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment import random
from pipeline.augment.crops import RandomResizedCrop
from pipeline.augment.engines import Engine
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.augment.windows import apply_window, cut_masks
from pipeline.data.example import Example
from tests.augment.scenes import OBJECTS, empty, put

ENGINES = [OpenCV(), TensorFlow()]


def scene(count: int = 12, height: int = 30, width: int = 40) -> Example:
    examples = empty(count, height, width, 3)
    for number in range(count):
        for place in range(number % (OBJECTS + 1)):
            put(examples, number, place, (3 + 8 * place, 2 + 6 * place, 11 + 8 * place, 9 + 6 * place))
    return {name: tf.constant(values) for name, values in examples.items()}


def test_boxes_corners_and_points_by_hand() -> None:
    examples = empty(1, 10, 20, 1)
    put(examples, 0, 0, (5, 2, 15, 8))  # x 0.25..0.75, y 0.2..0.8
    put(examples, 0, 1, (0, 0, 6, 10))
    window = tf.constant([[0.0, 0.25, 0.5, 1.0]])
    result = apply_window({name: tf.constant(value) for name, value in examples.items()}, window, 0.3)
    np.testing.assert_allclose(result["boxes"][0, 0], [0, 0.4, 2 / 3, 1], atol=1e-6)
    np.testing.assert_allclose(result["corners"][0, 0], [[0, 0.4], [2 / 3, 0.4], [2 / 3, 1], [0, 1]], atol=1e-6)
    middle_row = [[0.5 / 15, 1, 2], [9.5 / 15, 1, 2], [1 / 3, 1, 2]]
    np.testing.assert_allclose(result["points"][0, 0], middle_row, atol=1e-6)
    assert result["classes"].numpy().tolist() == [[0, -1, -1, -1]]  # 1/12 of the second is seen
    assert not any(result[name][0, 1:].numpy().any() for name in ("boxes", "corners", "points", "masks", "difficult"))


def test_the_whole_picture_changes_nothing() -> None:
    examples = scene()
    whole = tf.tile([[0.0, 0.0, 1.0, 1.0]], [12, 1])
    for result in (apply_window(examples, whole, 1.0), cut_masks(examples, whole, (30, 40), OpenCV())):
        for name, values in examples.items():
            np.testing.assert_array_equal(result[name], values, err_msg=name)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [(30, 40), (64, 48), (21, 17)])
def test_random_crops_of_boxes_masks_and_pictures_agree(size: tuple[int, int], engine: Engine) -> None:
    examples = scene()
    examples["image"] = examples["mask"] * 60
    windows = RandomResizedCrop(area=(0.2, 0.9)).window(random.keys(examples["id"], examples["epoch"], 1), 30, 40)
    result = cut_masks(apply_window(examples, windows, 0.05), windows, size, engine)
    assert result["masks"].shape == (12, OBJECTS, *size) and result["mask"].shape == (12, *size, 1)
    format = PictureFormat(height=size[0], width=size[1], channels=1)
    for number in range(12):
        picture = preprocess.crop_and_fit(examples["image"][number], windows[number], format).numpy()
        clear = picture % 60 == 0  # not between two classes, though a mix of two may look like a third
        assert ((result["mask"][number].numpy() * 60)[clear] != picture[clear]).mean() < 0.01
        for place in np.flatnonzero(result["classes"][number].numpy() >= 0):
            rows, columns = np.nonzero(result["masks"][number, place].numpy())
            found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            box = result["boxes"][number, place].numpy() * [size[1], size[0], size[1], size[0]]
            assert np.abs(found - box).max() <= 1


@pytest.mark.parametrize("fit", get_args(PictureFormat.model_fields["fit"].annotation))
def test_every_fit(fit: str) -> None:
    """A picture of 30 x 40 shown as 24 x 48: the masks lie where the picture does."""
    examples = scene(5)
    format = PictureFormat(height=24, width=48, channels=1, fit=fit)
    windows = tf.stack([preprocess.fit_window(format, 30, 40)] * 5)
    result = cut_masks(apply_window(examples, windows, 0.0), windows, (24, 48), OpenCV())
    for number in range(5):
        picture = preprocess.fit_picture(examples["mask"][number] * 60, format).numpy()
        mask = result["mask"][number].numpy()
        clear = (picture % 60 == 0) & (mask != 255)
        assert ((mask * 60)[clear] != picture[clear]).mean() < 0.01
    assert (result["mask"].numpy() == 255).any() == (fit == "letterbox")


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_of_many_sizes_one_by_one_in_tf_data(engine: Engine) -> None:
    def read(number: tf.Tensor) -> Example:
        picture = tf.ones([20 + number, 30, 1], tf.uint8)
        windows = tf.constant([[0.25, 0.0, 0.75, 1.0]])
        masks = {
            "mask": picture[tf.newaxis],
            "masks": tf.tile(picture[tf.newaxis, ..., 0][:, tf.newaxis], [1, 2, 1, 1]),
        }
        return cut_masks(masks, windows, (8, 8), engine)

    for result in tf.data.Dataset.range(3, output_type=tf.int32).map(read):
        assert result["mask"].numpy().min() == result["masks"].numpy().min() == 1
        assert result["mask"].shape == (1, 8, 8, 1) and result["masks"].shape == (1, 2, 8, 8)
