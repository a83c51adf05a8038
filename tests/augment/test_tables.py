"""Lookup tables against Pillow, keras-cv and values worked by hand; what is fused equals step by step exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError

from models.stack import tf
from pipeline.augment.base import PictureShape
from pipeline.augment.engines import Engine
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tables import (
    Equalize,
    Gamma,
    Lookup,
    Posterize,
    Solarize,
    TableChange,
    autocontrast,
    equalize,
    gamma,
    limits,
    moved,
    posterize,
    solarize,
)
from pipeline.augment.tensorflow_engine import TensorFlow
from tests.augment.pictures import batch

ENGINES = [OpenCV(), TensorFlow()]
CHANGES = [gamma, solarize, posterize, equalize, autocontrast]


def looked_up(changes: list[tuple[TableChange, float]], pictures: np.ndarray, engine: Engine) -> np.ndarray:
    amounts = [(change, tf.fill([len(pictures)], float(amount))) for change, amount in changes]
    return Lookup(amounts)({"image": tf.constant(pictures)}, engine)["image"].numpy()


def uneven(channels: int, low: int = 20, high: int = 170) -> np.ndarray:
    """A picture that leaves out dark and bright values, and has some more often than others."""
    generator = np.random.default_rng(channels)
    spread = generator.beta(2, 5, (31, 40, channels)) * (high - low) + low
    return spread.astype(np.uint8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("change", "amount", "pillow", "tolerance"),
    [
        (solarize, 256 - 100, lambda image: ImageOps.solarize(image, 100), 0),
        (solarize, 256, ImageOps.invert, 0),
        (posterize, 3, lambda image: ImageOps.posterize(image, 5), 0),
        (posterize, 7, lambda image: ImageOps.posterize(image, 1), 0),
        (equalize, 1, ImageOps.equalize, 0),
        (autocontrast, 1, ImageOps.autocontrast, 1),  # Pillow cuts fractions off
    ],
)
def test_changes_equal_pillow(
    change: TableChange,
    amount: float,
    pillow: Callable[[Image.Image], Image.Image],
    tolerance: int,
    channels: int,
    engine: Engine,
) -> None:
    for picture in (uneven(channels), batch(1, 20, 20, channels)["image"][0], np.full((5, 5, channels), 77, np.uint8)):
        expected = np.asarray(pillow(Image.fromarray(picture.squeeze())), int).reshape(picture.shape)
        result = looked_up([(change, amount)], picture[np.newaxis], engine)[0]
        assert np.abs(result - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("change", "amount", "layer"),
    [
        (solarize, 256 - 128, lambda layers: layers.Solarization((0, 255), threshold_factor=(128, 128))),
        (posterize, 4, lambda layers: layers.Posterization((0, 255), bits=4)),
        (autocontrast, 1, lambda layers: layers.AutoContrast((0, 255))),
    ],
)
def test_changes_equal_keras_cv(change: TableChange, amount: float, layer: Callable, layers: Any) -> None:
    picture = uneven(3)[np.newaxis]
    if change is solarize:
        picture = picture[picture != 128][:300].reshape(1, 10, 10, 3)  # keras-cv keeps the threshold itself
    expected = np.asarray(layer(layers)(picture.astype(np.float32), training=True))
    assert np.abs(looked_up([(change, amount)], picture, OpenCV()) - expected).max() <= 1


def test_gamma_equals_the_formula() -> None:
    picture = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for exponent in (0.5, 0.8, 1.0, 2.2):
        result = looked_up([(gamma, np.log(exponent))], picture, OpenCV())
        exact = 255.0 * (picture / 255.0) ** exponent
        assert np.abs(result - exact).max() <= 0.501


def test_equalize_by_hand() -> None:
    """Eight pixels are too few to be spread; 2040 of them are: step = (2040 - 510) // 255 = 6."""
    few = np.array([[0, 0, 1, 1, 2, 2, 3, 3]], np.uint8)[..., np.newaxis]
    np.testing.assert_array_equal(looked_up([(equalize, 1)], few[np.newaxis], OpenCV())[0], few)
    values = np.repeat(np.array([10, 11, 50, 200], np.uint8), 510).reshape(1, 51, 40, 1)
    spread = looked_up([(equalize, 1)], values, OpenCV())
    assert np.unique(spread).tolist() == [(0 + 3) // 6, (510 + 3) // 6, (1020 + 3) // 6, (1530 + 3) // 6]


def test_autocontrast_by_hand() -> None:
    picture = np.array([[100, 110, 120], [125, 150, 100]], np.uint8).reshape(1, 2, 3, 1)
    expected = [[0, 51, 102], [128, 255, 0]]  # 25 * 5.1 = 127.5 is rounded up
    np.testing.assert_array_equal(looked_up([(autocontrast, 1)], picture, OpenCV())[0, ..., 0], expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_no_amount_is_no_change(channels: int, engine: Engine) -> None:
    pictures = batch(3, 9, 9, channels)["image"]
    for change in CHANGES:
        np.testing.assert_array_equal(looked_up([(change, 0)], pictures, engine), pictures)


AMOUNTS = {
    gamma: st.floats(-1, 1),
    solarize: st.integers(0, 256),
    posterize: st.integers(0, 7),
    equalize: st.integers(0, 1),
    autocontrast: st.integers(0, 1),
}
SOME_CHANGES = st.lists(
    st.sampled_from(CHANGES).flatmap(lambda change: st.tuples(st.just(change), AMOUNTS[change])), min_size=2, max_size=4
)


@settings(max_examples=40, deadline=None)
@given(changes=SOME_CHANGES, seed=st.integers(0, 1000))
def test_one_table_equals_one_after_the_other(changes: list[tuple[TableChange, float]], seed: int) -> None:
    values = np.random.default_rng(seed).normal(120, 30, (2, 18, 18, 3)).clip(0, 255).astype(np.uint8)
    stepwise = values
    for change in changes:
        stepwise = looked_up([change], stepwise, OpenCV())
    np.testing.assert_array_equal(looked_up(changes, values, OpenCV()), stepwise)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_moved_histogram_is_that_of_the_picture(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pictures = generator.integers(0, 256, (2, 6, 7, 3), np.uint8)
    tables = generator.integers(0, 256, (2, 3, 256))
    wanted = tf.constant([True, True])
    before = OpenCV().histogram(tf.constant(pictures), wanted)
    changed = OpenCV().lookup(tf.constant(pictures), tf.constant(tables.transpose(0, 2, 1), tf.uint8))
    after = TensorFlow().histogram(changed, wanted)
    np.testing.assert_array_equal(moved(before, tf.constant(tables, tf.int32)), after)


@pytest.mark.parametrize("engine", ENGINES)
def test_histograms_equal_numpy(engine: Engine) -> None:
    pictures = batch(2, 13, 9, 3)["image"]
    counts = engine.histogram(tf.constant(pictures), tf.constant([True, True])).numpy()
    for picture, found in zip(pictures, counts, strict=True):
        expected = [np.bincount(picture[..., channel].ravel(), minlength=256) for channel in range(3)]
        np.testing.assert_array_equal(found, expected)


def test_limits_are_the_values_that_occur() -> None:
    counts = np.zeros((1, 2, 256), np.int32)
    counts[0, 0, [3, 9, 200]] = 1
    counts[0, 1, 255] = 4
    low, high = limits(tf.constant(counts))
    assert low.numpy().ravel().tolist() == [3, 255] and high.numpy().ravel().tolist() == [200, 255]


def test_magnitudes_reach_their_limits_and_no_further() -> None:
    draws, shape = tf.constant([[0, 0.0], [0, 0.99999994]]), PictureShape(4, 4, 3)
    ranges = [
        (Gamma(exponent=(0.5, 2.0)), np.log([0.5, 2.0])),
        (Solarize(threshold=(100, 200)), [156, 56]),
        (Posterize(bits=(2, 6)), [6, 2]),
    ]
    for operation, expected in ranges:
        ((_, amount),) = operation.transform(draws, shape).changes
        np.testing.assert_allclose(amount, expected, rtol=1e-5)


def test_neighbours_become_one() -> None:
    draws, shape = tf.zeros([2, 2]), PictureShape(4, 4, 3)
    together = Gamma().transform(draws, shape).then(Equalize().transform(draws, shape))
    assert isinstance(together, Lookup) and len(together.changes) == 2


@pytest.mark.parametrize(
    "wrong", [(Gamma, {"exponent": (0, 1)}), (Solarize, {"threshold": (9, 3)}), (Posterize, {"bits": (0, 4)})]
)
def test_wrong_ranges_are_refused(wrong: tuple) -> None:
    operation, values = wrong
    with pytest.raises(ValidationError, match="least <= largest"):
        operation(**values)
