"""Pixels by hand and against Pillow, an independent implementation of the same antialiased bilinear resize."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    """A smooth gradient with noise, uint8 [h, w, C]."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 60, (height, width, channels))
    return ((rows * 255 / height + columns * 130 / width)[..., None] % 196 + noise).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(file, kind)
    return file.getvalue()


def pillow(
    pixels: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR, box))


def difference(left: np.ndarray, right: np.ndarray) -> int:
    return int(np.abs(left.astype(int) - right.astype(int)).max())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stored", [1, 3])
def test_decode_converts_grey_and_colour(channels: int, stored: int) -> None:
    decoded = preprocess.decode_picture(tf.constant(encoded(picture(5, 7, stored))), PictureFormat(channels=channels))
    assert decoded.dtype == tf.uint8
    assert decoded.shape == (5, 7, channels)


def test_png_is_decoded_exactly() -> None:
    pixels = picture(9, 6)
    assert np.array_equal(preprocess.decode_picture(tf.constant(encoded(pixels)), PictureFormat()), pixels)


@pytest.mark.parametrize("size", [(7, 5), (40, 60), (33, 20), (200, 300)])
def test_stretch_is_pillows_bilinear(size: tuple[int, int]) -> None:
    pixels = picture(40, 60)
    fitted = preprocess.fit_picture(tf.constant(pixels), PictureFormat(height=size[0], width=size[1])).numpy()
    assert fitted.shape == (*size, 3)
    assert difference(fitted, pillow(pixels, size)) <= 1


def test_the_same_size_changes_nothing() -> None:
    pixels = picture(28, 28, 1)
    format = PictureFormat(height=28, width=28, channels=1)
    for fit in ("stretch", "crop", "letterbox"):
        assert np.array_equal(
            preprocess.fit_picture(tf.constant(pixels), format.model_copy(update={"fit": fit})), pixels
        )


def test_windows_between_pixels_are_pillows_boxes() -> None:
    pixels = picture(50, 80)
    window = np.float32([0.105, 0.2, 0.913, 0.777])
    box = (window[1] * 80, window[0] * 50, window[3] * 80, window[2] * 50)
    for height, width in [(16, 16), (64, 90)]:
        fitted = preprocess.crop_and_fit(tf.constant(pixels), window, PictureFormat(height=height, width=width)).numpy()
        # Pillow mixes nothing from outside the box; here the border may see the neighbours that are there.
        assert difference(fitted[2:-2, 2:-2], pillow(pixels, (height, width), box)[2:-2, 2:-2]) <= 1


def test_a_window_of_whole_pixels_is_cut_out() -> None:
    pixels = picture(8, 8)
    window = tf.constant([0.25, 0.5, 0.75, 1.0])
    assert np.array_equal(preprocess.crop_and_fit(pixels, window, PictureFormat(height=4, width=4)), pixels[2:6, 4:8])


def test_a_window_smaller_than_a_pixel_is_filled() -> None:
    pixels = np.full((10, 10, 3), 77, np.uint8)
    window = tf.constant([0.51, 0.51, 0.52, 0.52])
    assert (preprocess.crop_and_fit(pixels, window, PictureFormat(height=4, width=4)).numpy() == 77).all()


def test_crop_keeps_the_middle() -> None:
    pixels = np.zeros((4, 8, 1), np.uint8)
    pixels[:, 2:6] = 200
    format = PictureFormat(height=4, width=4, channels=1, fit="crop")
    assert (preprocess.fit_picture(tf.constant(pixels), format).numpy() == 200).all()


def test_letterbox_adds_grey_bars_evenly() -> None:
    format = PictureFormat(height=8, width=8, fit="letterbox")
    fitted = preprocess.fit_picture(tf.constant(np.full((10, 20, 3), 200, np.uint8)), format).numpy()
    assert (fitted[2:6] == 200).all()
    assert (fitted[:2] == 128).all()
    assert (fitted[6:] == 128).all()


def test_letterbox_of_a_very_long_picture_keeps_a_row() -> None:
    format = PictureFormat(height=8, width=8, fit="letterbox")
    fitted = preprocess.fit_picture(tf.constant(np.full((1, 900, 3), 200, np.uint8)), format).numpy()
    assert (fitted == 200).all(axis=-1).any(axis=1).sum() == 1


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
def test_every_path_gives_the_same_pixels(fit: str) -> None:
    format = PictureFormat(height=24, width=20, fit=fit)
    files = [encoded(picture(31, 47), "JPEG"), encoded(picture(64, 21), "JPEG")]
    eager = np.stack([preprocess.decode_and_fit(tf.constant(data), format) for data in files])
    mapped = tf.data.Dataset.from_tensor_slices(files).map(lambda data: preprocess.decode_and_fit(data, format))
    batched = tf.function(lambda data: preprocess.decode_and_fit_batch(data, format))(tf.constant(files))
    assert mapped.element_spec == tf.TensorSpec((24, 20, 3), tf.uint8)
    assert np.array_equal(eager, np.stack(list(mapped.as_numpy_iterator())))
    assert np.array_equal(eager, batched)
    assert batched.shape == (2, 24, 20, 3)
