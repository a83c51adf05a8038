"""Hidden parts: cutout, random erasing, grid mask, pasted occluders, and the shapes that they are made of."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from models.stack import tf
from pipeline.augment import bank, shapes
from pipeline.augment.base import PictureShape
from pipeline.augment.engines import Engine
from pipeline.augment.occlusion import Cover, Cutout, GridMask, Occluders, RandomErasing
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from tests.augment.pictures import batch, eagerly, in_tf_data

ENGINES = [OpenCV(), TensorFlow()]


def covered(cover: Cover, engine: Engine, height: int, width: int, channels: int = 3, value: int = 100) -> np.ndarray:
    pictures = tf.fill([len(cover.shapes.present), height, width, channels], tf.constant(value, tf.uint8))
    return cover({"image": pictures}, engine)["image"].numpy()


def one(outline: shapes.Outline, frame: tf.Tensor) -> Cover:
    colours = tf.fill([1, 1, 3], 9.0)
    return Cover(shapes.plain(tf.constant([[True]]), frame[tf.newaxis, tf.newaxis], colours, outline))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rectangle_covers_whole_pixels_and_nothing_else(engine: Engine) -> None:
    pictures = batch(2, 6, 8, 3)["image"]
    expected = pictures.copy()
    expected[0, 0:2, 5:8] = 9
    expected[1, 3:6, 2:5] = 9
    frames = shapes.pixels(tf.constant([[[5.0, -1.0]], [[2.0, 3.0]]]), tf.constant([[[3.0, 3.0]], [[3.0, 3.0]]]))
    cover = Cover(shapes.plain(tf.constant([[True]] * 2), frames, tf.fill([2, 1, 3], 9.0), shapes.rectangle))
    np.testing.assert_array_equal(cover({"image": tf.constant(pictures)}, engine)["image"], expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_shapes_are_where_opencv_draws_them(engine: Engine) -> None:
    middle, half, degrees = (30.0, 22.0), (17.0, 9.0), 25.0
    frame = shapes.frames(tf.constant(middle), tf.constant(half), tf.constant(math.radians(degrees)))
    corners = cv2.boxPoints((middle, (34.0, 18.0), degrees))
    turn = np.array(
        [
            [math.cos(math.radians(25)), -math.sin(math.radians(25))],
            [math.sin(math.radians(25)), math.cos(math.radians(25))],
        ]
    )
    three = np.array(middle) + np.array([[0, -9], [-17, 9], [17, 9]]) @ turn.T
    empty = np.zeros((45, 60), np.uint8)
    drawn = {
        shapes.rectangle: cv2.fillConvexPoly(empty.copy(), np.rint(corners).astype(int), 1),
        shapes.ellipse: cv2.ellipse(empty.copy(), (30, 22), (17, 9), degrees, 0, 360, 1, -1),
        shapes.triangle: cv2.fillConvexPoly(empty.copy(), np.rint(three).astype(int), 1),
    }
    areas = {shapes.rectangle: 34 * 18, shapes.ellipse: math.pi * 17 * 9, shapes.triangle: 17 * 18}
    for outline, expected in drawn.items():  # OpenCV also draws the pixels that its outline touches
        hidden = covered(one(outline, frame), engine, 45, 60)[0, ..., 0] == 9
        assert (hidden & (expected == 1)).sum() / (hidden | (expected == 1)).sum() > 0.85
        assert abs(hidden.sum() / areas[outline] - 1) < 0.03


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_patterns_by_hand(channels: int, engine: Engine) -> None:
    def filled(pattern: shapes.Pattern) -> np.ndarray:
        drawn = shapes.Shapes(
            present=tf.constant([[True]]),
            frames=shapes.pixels(tf.constant([[[0.0, 0.0]]]), tf.constant([[[12.0, 4.0]]])),
            colours=tf.constant([[[[10.0] * channels, [210.0] * channels]]]),
            outlines=(shapes.rectangle,),
            outline=tf.constant([[0]]),
            patterns=(pattern,),
            pattern=tf.constant([[0]]),
            starts=tf.constant([[70]]),
            hidden=tf.zeros([1, 1]),
        )
        return covered(Cover(drawn), engine, 4, 12, channels)[0]

    assert (filled(shapes.flat) == 10).all()
    assert filled(shapes.stripes)[2, :, 0].tolist() == [10, 10, 210, 210] * 3
    piece = bank.uniform()[70 : 70 + 48 * channels].reshape(4, 12, channels)
    np.testing.assert_array_equal(filled(shapes.noisy), np.floor(10 + 200 * (piece / 255.0) + 0.5))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_is_hidden_at_times(channels: int) -> None:
    examples = batch(500, 8, 10, channels)
    examples["image"] = np.full_like(examples["image"], 1)
    result = eagerly([Cutout(size=0.5, value=0)], examples)
    hidden = (result == 0).mean(axis=0)
    assert hidden.min() > 0.02
    assert (result == 0).all(axis=-1).sum(axis=(1, 2)).max() == 16
    np.testing.assert_array_equal(result, in_tf_data([Cutout(size=0.5, value=0)], examples))


@pytest.mark.parametrize("cutout", [Cutout(size=0), Cutout(probability=0), RandomErasing(area=(0, 0), probability=1)])
def test_no_magnitude_is_no_change(cutout: Cutout) -> None:
    examples = batch(4)
    np.testing.assert_array_equal(eagerly([cutout], examples), examples["image"])


def test_erased_rectangles_keep_to_area_aspect_and_picture() -> None:
    """Areas and aspects are exact to the rounding of whole pixels; every place is reached."""
    examples = batch(600, 60, 80)
    examples["image"][:] = 1
    operation = RandomErasing(probability=1, area=(0.05, 0.3), aspect=(0.5, 2.0), value=0)
    hidden = (eagerly([operation], examples) == 0).all(axis=-1)
    areas = hidden.mean(axis=(1, 2))
    heights, widths = hidden.any(axis=2).sum(axis=1), hidden.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(heights * widths, hidden.sum(axis=(1, 2)))
    assert 0.045 < areas.min() < 0.06 and 0.28 < areas.max() < 0.31
    assert 0.45 < (heights / widths).min() < 0.55 and 1.85 < (heights / widths).max() < 2.15
    assert hidden.any(axis=0).mean() > 0.98
    assert abs(np.median(areas) - 0.175) < 0.02  # uniform


def test_erased_pixels_are_random_by_default() -> None:
    examples = batch(40, 64, 64)
    examples["image"][:] = 1
    result = eagerly([RandomErasing(probability=1)], examples)
    changed = result[(result != 1).any(axis=-1)]
    assert abs(changed.mean() - 127.5) < 2 and abs(changed.std() - 73.9) < 1
    assert len({picture.tobytes() for picture in result}) == 40


def test_a_size_that_never_fits_is_cut_to_the_picture() -> None:
    cover = RandomErasing(probability=1, area=(1, 1), aspect=(4, 4), value=9).transform(
        tf.zeros([1, RandomErasing.num_draws]), PictureShape(40, 40, 3)
    )
    hidden = (covered(cover, OpenCV(), 40, 40) == 9).all(axis=-1)
    assert hidden.sum() == 40 * 20


@pytest.mark.parametrize("engine", ENGINES)
def test_grid_mask_by_hand(engine: Engine) -> None:
    """Units of 10 pixels from (3, 7) on, of which 4 are hidden."""
    operation = GridMask(probability=1, unit=(0.5, 0.5), visible=0.6, value=9)
    cover = operation.transform(tf.constant([[0, 0.5, 0.3, 0.7, 0.5]]), PictureShape(20, 30, 3))
    columns = (np.arange(30) - 3) % 10 < 4
    rows = (np.arange(20) - 7) % 10 < 4
    hidden = (covered(cover, engine, 20, 30)[0] == 9).all(axis=-1)
    np.testing.assert_array_equal(hidden, rows[:, np.newaxis] & columns)


@pytest.mark.parametrize("degrees", [0.0, 45.0])
def test_grid_mask_hides_its_share(degrees: float) -> None:
    examples = batch(100, 64, 64, 1)
    examples["image"][:] = 1
    hidden = eagerly([GridMask(probability=1, visible=0.6, degrees=degrees)], examples) == 0
    assert abs(hidden.mean() - 0.16) < 0.02
    assert hidden.mean(axis=0).min() > 0.02


@pytest.mark.parametrize("channels", [1, 3])
def test_occluders_are_as_many_and_as_large_as_set(channels: int) -> None:
    examples = batch(60, 64, 64, channels)
    operation = Occluders(probability=0.5, count=(2, 4), size=(0.1, 0.2))
    keys = tf.random.stateless_uniform([60, Occluders.num_draws], [1, 2])
    drawn = operation.transform(keys, PictureShape(64, 64, channels)).shapes
    counts = drawn.present.numpy().sum(axis=1)
    np.testing.assert_array_equal(counts > 0, keys[:, 0] < 0.5)
    assert set(counts[counts > 0]) == {2, 3, 4}
    changed = (eagerly([operation], examples) != examples["image"]).any(axis=-1)
    assert 0.2 < changed.any(axis=(1, 2)).mean() < 0.8
    assert changed.mean(axis=(1, 2)).max() < 4 * 0.2**2 * 1.3


def test_boxes_stay_and_masks_follow_the_setting() -> None:
    examples = {name: tf.constant(values) for name, values in batch(8, 32, 32).items()}
    examples["boxes"] = tf.random.stateless_uniform([8, 2, 4], [1, 2])
    examples["mask"] = tf.ones([8, 32, 32, 1], tf.uint8)
    examples["masks"] = tf.ones([8, 2, 32, 32], tf.uint8)
    draws = tf.random.stateless_uniform([8, Occluders.num_draws], [3, 4])
    for engine in ENGINES:
        kept = Occluders(probability=1).transform(draws, PictureShape(32, 32, 3))(examples, engine)
        assert all(kept[name] is examples[name] for name in ("boxes", "mask", "masks", "label"))
        dropped = Occluders(probability=1, hidden_pixels="drop").transform(draws, PictureShape(32, 32, 3))
        result = dropped(examples, engine)
        assert result["boxes"] is examples["boxes"]
        changed = (result["image"].numpy() != examples["image"].numpy()).any(axis=-1)
        hidden = result["mask"].numpy()[..., 0] == 255
        assert (
            hidden[changed].all() and 0 < hidden.mean() < 0.5 and (result["mask"].numpy()[..., 0][~hidden] == 1).all()
        )
        np.testing.assert_array_equal(result["masks"], np.repeat(~hidden[:, np.newaxis], 2, axis=1))
