"""The same drawn parameters as in keras-cv's layers give the same pictures and boxes.

keras-cv's RandomZoom does not take boxes, and its RandomShear keeps the corner of the picture where ours keeps the
centre.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from models.stack import tf
from pipeline.augment.base import PictureOperation, PictureShape
from pipeline.augment.fill import ConstantFill, ReflectFill
from pipeline.augment.geometry import HorizontalFlip, Rotation, Shear, VerticalFlip, Zoom
from pipeline.augment.opencv_engine import OpenCV

HEIGHT, WIDTH = 41, 41
BOXES = np.array([[[5, 6, 20, 16], [0, 0, 41, 41], [22, 30, 28, 41]]] * 2, np.float32)


def pictures() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3)).astype(float)
    return ndimage.gaussian_filter(noise, (0, 2, 2, 0)).clip(0, 255).astype(np.uint8)


def ours(operation: PictureOperation, draws: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, and boxes in pixels."""
    transform = operation.transform(tf.constant(draws), PictureShape(HEIGHT, WIDTH, 3))
    side = np.float32([WIDTH, HEIGHT] * 2)
    examples = {
        "image": tf.constant(pictures()),
        "boxes": tf.constant(BOXES / side),
        "classes": tf.zeros([2, 3], tf.int64),
    }
    result = transform(examples, OpenCV())
    return result["image"].numpy(), result["boxes"].numpy() * side


def theirs(layer: Any, transformations: dict[str, tf.Tensor]) -> np.ndarray:
    return layer.augment_images(tf.constant(pictures(), tf.float32), transformations).numpy()


def their_boxes(layer: Any, transformations: dict[str, tf.Tensor]) -> np.ndarray:
    given = {"boxes": tf.constant(BOXES), "classes": tf.zeros([2, 3])}
    images = tf.constant(pictures(), tf.float32)
    result = layer.augment_bounding_boxes(given, transformations=transformations, raw_images=images, images=images)
    return result["boxes"].numpy()


def test_rotation(layers: Any) -> None:
    layer = layers.RandomRotation(0.1, bounding_box_format="xyxy", fill_mode="constant")
    drawn = {"angles": tf.constant([math.radians(30), math.radians(-12)])}
    images, boxes = ours(Rotation(degrees=30, min_visible=0), [[0, 1.0], [0, 0.3]])
    assert np.abs(images - theirs(layer, drawn)).max() < 0.6
    np.testing.assert_allclose(boxes, their_boxes(layer, drawn), atol=1e-3)


@pytest.mark.parametrize(("operation", "mode"), [(HorizontalFlip, "horizontal"), (VerticalFlip, "vertical")])
def test_flips(operation: type[HorizontalFlip], mode: str, layers: Any) -> None:
    layer = layers.RandomFlip(mode, bounding_box_format="xyxy")
    flipped = tf.constant([[1.0], [0.0]])
    still = tf.zeros_like(flipped)
    drawn = {
        "flip_horizontals": flipped if mode == "horizontal" else still,
        "flip_verticals": flipped if mode == "vertical" else still,
    }
    images, boxes = ours(operation(), [[0.2], [0.9]])
    np.testing.assert_array_equal(images, theirs(layer, drawn))
    np.testing.assert_allclose(boxes, their_boxes(layer, drawn), atol=1e-4)


def test_zoom(layers: Any) -> None:
    layer = layers.RandomZoom(0.5, fill_mode="reflect")
    zooms = tf.constant([[1.25], [0.8]])
    images, _ = ours(Zoom(factor=(0.8, 1.25), fill=ReflectFill()), [[0, 0.0], [0, 1.0]])
    assert np.abs(images - theirs(layer, {"height_zooms": zooms, "width_zooms": zooms})).max() < 0.6


def test_shear(layers: Any) -> None:
    """With 41 rows a slant of 0.2 moves the corner by four pixels against the centre."""
    layer = layers.RandomShear(x_factor=0.2, bounding_box_format="xyxy", fill_mode="constant")
    drawn = {"shear_x": tf.constant([[0.2], [-0.2]]), "shear_y": None}
    images, boxes = ours(
        Shear(horizontal=0.2, vertical=0, min_visible=0, fill=ConstantFill()), [[0, 0, 0], [0, 1.0, 0]]
    )
    expected, expected_boxes = theirs(layer, drawn), their_boxes(layer, drawn)
    for number, moved in enumerate((4, -4)):
        aligned = np.roll(expected[number], moved, axis=1)
        assert np.abs(images[number] - aligned)[:, 5:-5].max() < 0.6
        inner = expected_boxes[number, 0] + [
            moved,
            0,
            moved,
            0,
        ]  # keras-cv slants boxes about the edge of the first row
        np.testing.assert_allclose(boxes[number, 0], inner, atol=0.11)
