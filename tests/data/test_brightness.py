"""How light it is where objects lie."""

from __future__ import annotations

import numpy as np
import pytest

from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.data.brightness import in_boxes
from pipeline.data.example import BOXES, BRIGHTNESS, IMAGE
from pipeline.tasks import Detection

BOX = [0.25, 0.5, 0.75, 1.0]


def picture(channels: int) -> np.ndarray:
    """uint8 [1,4,8,C], black; the middle of the lower half is white."""
    pixels = np.zeros((1, 4, 8, channels), np.uint8)
    pixels[:, 2:, 2:6] = 255
    return pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_a_box_is_as_light_as_the_pixels_that_it_covers(channels: int) -> None:
    boxes = [BOX, [0.25, 0.0, 0.75, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.25, 1.0]]
    light = in_boxes(picture(channels), tf.constant([boxes])).numpy()
    np.testing.assert_allclose(light, [[1.0, 0.5, 0.25, 0.0]], atol=1e-3)


def test_a_pixel_counts_by_how_much_of_it_is_covered() -> None:
    # Half a column beside the white ones, and all four of them; then a part of one white pixel.
    boxes = tf.constant([[[1.5 / 8, 0.5, 0.75, 1.0], [2.25 / 8, 2.5 / 4, 2.5 / 8, 2.75 / 4]]])
    np.testing.assert_allclose(in_boxes(picture(1), boxes).numpy(), [[4 / 4.5, 1.0]], rtol=1e-5)


def test_what_lies_outside_does_not_count_and_nothing_is_not_known() -> None:
    boxes = tf.constant([[[-1.0, 0.5, 0.5, 3.0], [0.5, 0.5, 0.5, 0.9], [0.0, 0.0, 0.0, 0.0], [1.1, 0.0, 1.2, 1.0]]])
    np.testing.assert_allclose(in_boxes(picture(1), boxes).numpy(), [[0.5, np.nan, np.nan, np.nan]])


def test_colours_count_as_bright_as_they_look() -> None:
    pixels = np.zeros((3, 2, 2, 3), np.uint8)
    pixels[range(3), :, :, range(3)] = 255
    whole = tf.constant([[[0.0, 0.0, 1.0, 1.0]]] * 3)
    np.testing.assert_allclose(in_boxes(pixels, whole).numpy()[:, 0], [0.299, 0.587, 0.114], atol=2e-4)


def test_the_task_looks_at_colours_and_not_at_what_is_missing() -> None:
    task = Detection(picture=PictureFormat(height=4, width=8, channels=2))
    examples = {IMAGE: np.concatenate([picture(1), 255 - picture(1)], axis=-1), BOXES: tf.constant([[BOX]])}
    assert task.conditions(examples)[BRIGHTNESS].numpy() == 1.0
