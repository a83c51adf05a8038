"""Colour jitter, change by change, against Pillow and colorsys."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from models.stack import tf
from pipeline.augment.base import PictureShape
from pipeline.augment.colour import (
    Brightness,
    Change,
    ChannelShift,
    ColourJitter,
    Contrast,
    Grayscale,
    Hue,
    Recolour,
    Saturation,
    scale_brightness,
    scale_contrast,
    scale_saturation,
    turn_hue,
)
from pipeline.augment.engines import Engine
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from tests.augment.pictures import batch, eagerly, in_tf_data

OPENCV = OpenCV()


def recoloured(changes: list, pictures: np.ndarray, engine: Engine = OPENCV) -> np.ndarray:
    steps = [(change, tf.constant([amount], tf.float32)) for change, amount in changes]
    return Recolour(steps)({"image": tf.constant(pictures[np.newaxis])}, engine)["image"].numpy()[0]


@pytest.mark.parametrize("engine", [OPENCV, TensorFlow()])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("amount", [-0.6, -0.2, 0.0, 0.3])
@pytest.mark.parametrize(
    ("change", "enhancer"),
    [
        (scale_brightness, ImageEnhance.Brightness),
        (scale_contrast, ImageEnhance.Contrast),
        (scale_saturation, ImageEnhance.Color),
    ],
)
def test_changes_equal_pillow(change, enhancer, amount: float, channels: int, engine: Engine) -> None:
    if channels == 1 and change is scale_saturation:
        return
    picture = batch(1, 16, 16, channels)["image"][0]
    expected = np.asarray(enhancer(Image.fromarray(picture.squeeze())).enhance(1 + amount), int)
    result = recoloured([(change, amount)], picture, engine).astype(int)
    # Pillow cuts fractions off and rounds its mean and its grey picture to whole numbers.
    assert np.abs(result - expected.reshape(result.shape)).max() <= 1


def test_hue_is_a_turn_in_yiq() -> None:
    picture = (batch(1, 4, 4, 3)["image"][0] * 0.3 + 90).astype(np.uint8)
    result = recoloured([(turn_hue, 0.2)], picture)
    for before, after in zip(picture.reshape(-1, 3), result.reshape(-1, 3), strict=True):
        y, i, q = colorsys.rgb_to_yiq(*before / 255.0)
        angle = math.atan2(q, i) + 2 * math.pi * 0.2
        expected = colorsys.yiq_to_rgb(y, math.hypot(i, q) * math.cos(angle), math.hypot(i, q) * math.sin(angle))
        np.testing.assert_allclose(after, np.array(expected) * 255, atol=1.6)


def test_combined_changes_equal_one_after_the_other() -> None:
    picture = (batch(1, 12, 12, 3)["image"][0] * 0.4 + 70).astype(np.uint8)  # away from clipping
    changes = [(scale_brightness, 0.1), (scale_contrast, -0.2), (scale_saturation, 0.2), (turn_hue, 0.05)]
    together = recoloured(changes, picture).astype(int)
    stepwise = picture
    for change in changes:
        stepwise = recoloured([change], stepwise)
    assert np.abs(together - stepwise).max() <= 3  # the roundings in between


@pytest.mark.parametrize("channels", [1, 3])
def test_no_amount_is_no_change(channels: int) -> None:
    examples = batch(3, 9, 9, channels)
    for jitter in (
        ColourJitter(brightness=0, contrast=0, saturation=0, hue=0),
        ColourJitter(hue=0.3, probability=0),
    ):
        np.testing.assert_array_equal(eagerly([jitter], examples), examples["image"])
        np.testing.assert_array_equal(in_tf_data([jitter], examples), examples["image"])


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_the_same_eagerly_and_in_tf_data(channels: int) -> None:
    examples, jitter = batch(5, 9, 9, channels), ColourJitter(hue=0.2)
    result = eagerly([jitter], examples)
    assert (result != examples["image"]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(result, in_tf_data([jitter], examples))


def test_amounts_are_spread_over_their_range() -> None:
    draws = tf.constant([[0, 0, 0, 0, 0], [0, 1, 1, 1, 1]], tf.float32)
    changes = (
        ColourJitter(brightness=0.1, contrast=0.2, saturation=0.3, hue=0.4)
        .transform(draws, PictureShape(2, 2, 3))
        .changes
    )
    assert [change for change, _ in changes] == [scale_brightness, scale_contrast, scale_saturation, turn_hue]
    np.testing.assert_allclose(
        [amount.numpy() for _, amount in changes], [[-0.1, 0.1], [-0.2, 0.2], [-0.3, 0.3], [-0.4, 0.4]]
    )


def test_results_are_clipped() -> None:
    picture = np.array([[[0, 128, 255]]], np.uint8)
    np.testing.assert_array_equal(recoloured([(scale_brightness, 0.5)], picture), [[[0, 192, 255]]])


@pytest.mark.parametrize(
    ("kind", "change"),
    [(Brightness, scale_brightness), (Contrast, scale_contrast), (Saturation, scale_saturation), (Hue, turn_hue)],
)
def test_single_changes_spread_over_their_range(kind: type[Brightness], change: Change) -> None:
    draws, shape = tf.constant([[0.1, 0], [0.1, 0.5], [0.1, 1], [0.9, 1]], tf.float32), PictureShape(2, 2, 3)
    ((made, amount),) = kind(amount=0.3, probability=0.5).transform(draws, shape).changes
    assert made is change
    np.testing.assert_allclose(amount, [-0.3, 0, 0.3, 0], atol=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_channel_shift_adds_to_each_channel(channels: int) -> None:
    picture = np.full((1, 2, 2, channels), 100, np.uint8)
    shift = ChannelShift(amount=0.2).transform(tf.constant([[0, 0, 0.5, 1.0]]), PictureShape(2, 2, channels))
    for engine in (OPENCV, TensorFlow()):
        result = shift({"image": tf.constant(picture)}, engine)["image"].numpy()
        assert result[0, 1, 1].tolist() == [49, 100, 151][:channels]


def test_grayscale_equals_pillow() -> None:
    examples = batch(1, 20, 20, 3)
    grey = np.asarray(Image.fromarray(examples["image"][0]).convert("L"), int)
    result = eagerly([Grayscale(probability=1)], examples)[0].astype(int)
    assert np.abs(result - grey[..., np.newaxis]).max() <= 1


@pytest.mark.parametrize("operation", [Saturation(), Hue(amount=0.3), Grayscale(probability=1)])
def test_grey_pictures_have_no_colour_to_change(operation: Saturation | Hue | Grayscale) -> None:
    examples = batch(5, 6, 6, 1)
    np.testing.assert_array_equal(eagerly([operation], examples), examples["image"])
