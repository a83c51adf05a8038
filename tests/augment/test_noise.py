"""Noise from the bank, speckles and JPEG artefacts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from models.stack import tf
from pipeline.augment import bank
from pipeline.augment.base import PictureShape
from pipeline.augment.engines import Engine
from pipeline.augment.noise import GaussianNoise, Jpeg, JpegArtefacts, Noise, SaltAndPepper, Speckle
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from tests.augment.pictures import batch, eagerly

ENGINES = [OpenCV(), TensorFlow()]


def grey(count: int, side: int, channels: int = 3) -> tf.Tensor:
    return tf.fill([count, side, side, channels], tf.constant(128, tf.uint8))


def test_the_banks_have_their_distributions() -> None:
    normal = bank.normal()[:: bank.SIZE // 20000] / bank.UNIT
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert abs(bank.normal().mean()) / bank.UNIT < 0.003 and abs(bank.normal().std() / bank.UNIT - 1) < 0.003
    counts = np.bincount(bank.uniform(), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_banks_are_the_same_everywhere() -> None:
    """The first numbers of numpy's RandomState, whose stream is frozen."""
    assert bank.normal()[:3].tolist() == np.rint(np.random.RandomState(bank.SEED).randn(3) * bank.UNIT).tolist()
    assert bank.normal().dtype == np.int16 and bank.uniform().dtype == np.uint8


def test_pieces_wrap_around_the_end() -> None:
    pieces = bank.pieces(bank.uniform(), tf.constant([0, bank.SIZE - 2]), 5).numpy()
    np.testing.assert_array_equal(pieces[1, 2:], pieces[0, :3])
    np.testing.assert_array_equal(bank.long_uniform(5)[bank.SIZE - 2 : bank.SIZE + 3], pieces[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_noise_is_the_banks_piece_times_the_amount(engine: Engine) -> None:
    starts, amounts = [5, bank.SIZE - 7, 900], [10.0, -3.5, 0.0]
    noise = Noise(tf.constant(starts), tf.constant(amounts))
    result = noise({"image": grey(3, 6)}, engine)["image"].numpy()
    for start, amount, picture in zip(starts, amounts, result, strict=True):
        piece = np.take(bank.normal(), np.arange(start, start + 108), mode="wrap").astype(float) / bank.UNIT
        expected = (128 + np.rint(piece * amount)).clip(0, 255).reshape(6, 6, 3)
        np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_noise_has_its_deviation_and_is_clipped(engine: Engine) -> None:
    noise = Noise(tf.constant([0, 10**6]), tf.constant([20.0, 200.0]))
    result = noise({"image": grey(2, 100)}, engine)["image"].numpy()
    assert abs(result[0].std() - 20) < 0.3 and abs(result[0].mean() - 128) < 0.5
    assert result[1].min() == 0 and result[1].max() == 255


def test_magnitudes_reach_their_limits() -> None:
    draws, shape = tf.constant([[0, 0, 0, 0.9], [0, 1, 0.5, 0.9], [0, 1, 0.5, 0.1]]), PictureShape(4, 4, 3)
    noise = GaussianNoise(probability=1, deviation=(0.1, 0.2)).transform(draws, shape)
    np.testing.assert_allclose(noise.amounts, [25.5, 51, -51], rtol=1e-6)
    assert noise.starts.numpy().tolist() == [0, bank.SIZE // 2, bank.SIZE // 2]
    speckle = SaltAndPepper(probability=1, share=(0.0, 0.1)).transform(draws[:, :3], shape)
    np.testing.assert_allclose(speckle.limits, [np.inf, stats.norm.ppf(0.95), stats.norm.ppf(0.95)], rtol=1e-5)
    jpeg = JpegArtefacts(probability=1, quality=(30, 90)).transform(draws[:2, :2] * 0.999999, shape)
    assert jpeg.qualities.numpy().tolist() == [30, 90]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_half_of_the_speckles_are_white_and_half_black(channels: int, engine: Engine) -> None:
    limits = tf.constant([stats.norm.ppf(0.95), np.inf], tf.float32)
    result = Speckle(tf.constant([123, 456]), limits)({"image": grey(2, 200, channels)}, engine)["image"].numpy()
    white, black = (result[0] == 255).all(axis=-1), (result[0] == 0).all(axis=-1)
    assert abs(white.mean() - 0.05) < 0.004 and abs(black.mean() - 0.05) < 0.004
    assert (result[0][~white & ~black] == 128).all() and (result[1] == 128).all()


@pytest.mark.parametrize("operation", [GaussianNoise(probability=1), SaltAndPepper(probability=1)])
def test_examples_and_epochs_have_noise_of_their_own(operation: GaussianNoise | SaltAndPepper) -> None:
    examples = batch(6, 24, 24)
    examples["image"][:] = 128
    first = eagerly([operation], examples)
    again = eagerly([operation], examples)
    later = eagerly([operation], {**examples, "epoch": examples["epoch"] + 1})
    np.testing.assert_array_equal(first, again)
    assert len({picture.tobytes() for picture in [*first, *later]}) == 12


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close_to_pillows(channels: int, engine: Engine) -> None:
    noise = batch(1, 40, 48, channels)["image"][0].astype(float)
    picture = (ndimage.gaussian_filter(noise, (3, 3, 0)) * 3 - 256).clip(0, 255).astype(np.uint8)
    jpeg = Jpeg(tf.constant([20, 95, 0]))
    low, high, same = jpeg({"image": tf.constant(np.stack([picture] * 3))}, engine)["image"].numpy().astype(int)
    np.testing.assert_array_equal(same, picture)
    assert np.abs(high - picture).mean() < np.abs(low - picture).mean()
    for quality, result in ((20, low), (95, high)):
        stream = io.BytesIO()
        Image.fromarray(picture.squeeze()).save(stream, "JPEG", quality=quality)
        expected = np.asarray(Image.open(stream), int).reshape(picture.shape)
        assert np.abs(result - expected).mean() < 1.5 and np.abs(result - expected).max() <= 12


def test_colours_are_not_swapped() -> None:
    red = np.zeros((1, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    for engine in ENGINES:
        result = Jpeg(tf.constant([90]))({"image": tf.constant(red)}, engine)["image"].numpy()
        np.testing.assert_allclose(result[0, 8, 8], [200, 0, 0], atol=4)
