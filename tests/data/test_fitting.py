"""What is marked in a picture goes where its pixels go, however the picture is brought to the model's size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment import RandomResizedCrop, random
from pipeline.augment.engines import Engine
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.data.fitting import fit_example, fit_marks
from pipeline.data.reading import crop_batch

HEIGHT, WIDTH = 40, 90
TOP, LEFT, BOTTOM, RIGHT = 12, 32, 28, 60
"""Of a white block on black, in pixels, near enough to the middle that no way to fit cuts it."""


def block() -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[TOP:BOTTOM, LEFT:RIGHT] = 255
    return pixels


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def marks() -> dict[str, tf.Tensor]:
    """The block as an object, and an empty place."""
    left, top, right, bottom = LEFT / WIDTH, TOP / HEIGHT, RIGHT / WIDTH, BOTTOM / HEIGHT
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {
        "boxes": tf.constant([[left, top, right, bottom], [0.0] * 4]),
        "classes": tf.constant([5, -1], tf.int64),
        "corners": tf.constant([corners, [[0.0, 0.0]] * 4]),
        "points": tf.constant([[[left, top, 2.0]], [[0.0] * 3]]),
        "masks": tf.constant([png(block() // 255), b""]),
        "mask": tf.constant(png(block() // 255 * 3)),
    }


def bounds(seen: np.ndarray) -> np.ndarray:
    """The box around true pixels as shares: x_min, y_min, x_max, y_max."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    height, width = seen.shape
    return np.array([columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height])


def assert_marked(example: dict[str, tf.Tensor]) -> None:
    """Every mark says where the block is, to about a pixel of the model's picture."""
    picture = example["image"].numpy()
    seen, pixel = bounds(picture[..., 0] > 160), 1.5 / min(picture.shape[:2])
    np.testing.assert_allclose(example["boxes"][0], seen, atol=pixel)
    np.testing.assert_allclose(example["corners"][0, 0], seen[:2], atol=pixel)
    np.testing.assert_allclose(example["points"][0, 0, :2], seen[:2], atol=pixel)
    np.testing.assert_array_equal(example["classes"], [5, -1])
    np.testing.assert_array_equal(example["boxes"][1], np.zeros(4))
    if "mask" in example:
        np.testing.assert_allclose(bounds(example["mask"].numpy()[..., 0] == 3), seen, atol=pixel)
        np.testing.assert_allclose(bounds(example["masks"].numpy()[0] == 1), seen, atol=pixel)
        assert not example["masks"].numpy()[1].any()


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(32, 32), (64, 48)])
def test_fitting(fit: str, size: tuple[int, int]) -> None:
    format = PictureFormat(height=size[0], width=size[1], channels=1, fit=fit)
    example = {**marks(), "image": tf.constant(png(block()))}
    if fit == "letterbox":  # its bars are grey, and do not count in a mask
        fitted = fit_example(example, format)
        assert fitted["mask"].numpy()[0, 0, 0] == 255
        assert_marked(fitted)
    else:
        assert_marked(fit_example(example, format))


def test_a_window_keeps_what_is_visible_enough() -> None:
    format, size = PictureFormat(height=20, width=20, channels=1), tf.constant([HEIGHT, WIDTH])
    half = tf.constant([0.0, 0.0, 1.0, (LEFT + RIGHT) / 2 / WIDTH])  # the left half of the block
    kept = fit_marks(marks(), size, half, format, min_visible=0.4)
    np.testing.assert_array_equal(kept["classes"], [5, -1])
    np.testing.assert_allclose(kept["boxes"][0, 2], 1.0)
    dropped = fit_marks(marks(), size, half, format, min_visible=0.6)
    np.testing.assert_array_equal(dropped["classes"], [-1, -1])
    assert not dropped["masks"].numpy().any()


@pytest.mark.parametrize("engine", [OpenCV(), TensorFlow()])
@pytest.mark.parametrize("side", [24, 128])
def test_cropping_pictures_in_memory(engine: Engine, side: int) -> None:
    shown = {name: values[tf.newaxis] for name, values in marks().items() if name not in ("mask", "masks")}
    batch = {**shown, "image": tf.constant(block()[np.newaxis, ..., np.newaxis])}
    crop, format = RandomResizedCrop(area=(0.9, 0.95)), PictureFormat(height=side, width=side, channels=1)
    keys = random.keys(tf.constant(["a"]), tf.zeros(1, tf.int64), 0)
    cropped = crop_batch(batch, crop, keys, format, engine)
    assert (cropped["boxes"][0, 0].numpy() != batch["boxes"][0, 0].numpy()).any()
    assert_marked({name: values[0] for name, values in cropped.items()})
