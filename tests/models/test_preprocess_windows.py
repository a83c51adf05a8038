"""Parts of pictures decoded alone, against the whole picture; scaled decoding; where labels move to."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from tests.models.test_preprocess import difference, picture

FITS = ["stretch", "crop", "letterbox"]
SAVINGS = {
    "png": {"format": "PNG"},
    "half_colour": {"format": "JPEG", "quality": 80, "subsampling": "4:2:0"},
    "full_colour": {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"},
    "progressive": {"format": "JPEG", "quality": 85, "progressive": True},
}


def saved(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(file, **options)
    return file.getvalue()


def ramp(height: int, width: int) -> np.ndarray:
    """Red tells the row, green the column, as shares of 255; smooth, so that any way of shrinking keeps it."""
    rows, columns = (np.arange(side) * 255 / (side - 1) for side in (height, width))
    return np.stack(np.broadcast_arrays(rows[:, None], columns, 128), axis=-1).round().astype(np.uint8)


def random_windows(count: int) -> np.ndarray:
    numbers = np.random.default_rng(3).random((count, 2, 2), np.float32)
    start = numbers[:, 0] * 0.8
    return np.concatenate([start, start + 0.05 + numbers[:, 1] * (0.95 - start)], axis=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", SAVINGS.values(), ids=SAVINGS)
def test_a_part_is_that_of_the_whole_picture(options: dict[str, object], channels: int) -> None:
    data = tf.constant(saved(picture(67, 90), **options))
    format = PictureFormat(height=24, width=20, channels=channels)
    whole = preprocess.decode_picture(data, PictureFormat(channels=channels))
    for window in random_windows(12):
        part, inside = preprocess.decode_window(data, tf.constant(window), format)
        expected = preprocess.crop_and_fit(whole, window, format).numpy()
        assert difference(preprocess.crop_and_fit(part, inside, format).numpy(), expected) <= 1
        if options["format"] == "JPEG":
            wanted = np.ceil((window[2:] - window[:2]) * (67, 90))
            assert (np.array(part.shape[:2]) <= wanted + 1 + 2 * preprocess.MARGIN).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("options", SAVINGS.values(), ids=SAVINGS)
@pytest.mark.parametrize("dct", ["accurate", "fast"])
def test_decoding_what_is_shown_changes_no_pixel(options: dict[str, object], fit: str, dct: str) -> None:
    format = PictureFormat(height=24, width=31, fit=fit, dct=dct)
    for size in [(67, 90), (131, 40), (16, 16), (1, 70)]:
        data = tf.constant(saved(picture(*size), **options))
        whole = preprocess.decode_picture(data, PictureFormat(dct=dct))
        assert np.array_equal(preprocess.decode_and_fit(data, format), preprocess.fit_picture(whole, format))


@pytest.mark.parametrize(("side", "ratio"), [(100, 1), (199, 1), (200, 2), (403, 4), (799, 4), (813, 8), (1700, 8)])
def test_the_ratio_leaves_one_to_two(side: int, ratio: int) -> None:
    data = tf.constant(saved(ramp(side, side + 5), **SAVINGS["half_colour"]))
    format = PictureFormat(height=100, width=100)
    scaled, window = preprocess.decode_window(data, tf.constant([0.0, 0.0, 1.0, 1.0]), format, scaled=True)
    assert scaled.shape == (-(-side // ratio), -(-(side + 5) // ratio), 3)
    np.testing.assert_allclose(window, [0, 0, side / ratio / scaled.shape[0], (side + 5) / ratio / scaled.shape[1]])


@pytest.mark.parametrize("options", SAVINGS.values(), ids=SAVINGS)
@pytest.mark.parametrize("fit", FITS)
def test_scaled_decoding_shows_the_same_place(options: dict[str, object], fit: str) -> None:
    """Half a pixel of the model's picture would be 2 to 4 grey levels; bars and borders are where they were."""
    data = tf.constant(saved(ramp(307, 233), **options))
    format = PictureFormat(height=32, width=40, fit=fit)
    scaled = preprocess.decode_and_fit(data, format, scaled=True).numpy()
    assert difference(scaled, preprocess.decode_and_fit(data, format).numpy()) <= 3
    for window in random_windows(8):
        pairs = [preprocess.decode_window(data, tf.constant(window), format, scaled) for scaled in (False, True)]
        fitted = [preprocess.crop_and_fit(part, inside, format).numpy() for part, inside in pairs]
        assert np.abs(fitted[0].astype(int) - fitted[1]).mean() < 1


def test_a_window_beyond_the_picture_decodes_what_is_there() -> None:
    data = tf.constant(saved(ramp(60, 80), **SAVINGS["half_colour"]))
    part, inside = preprocess.decode_window(data, tf.constant([-0.5, 0.5, 1.5, 1.25]), PictureFormat())
    assert part.shape == (60, 40 + preprocess.MARGIN, 3)
    np.testing.assert_allclose(inside, [-0.5, 2 / 42, 1.5, 62 / 42], rtol=1e-6)


def test_windows_are_the_same_in_a_map() -> None:
    files = [saved(picture(50, 70), **SAVINGS[name]) for name in ("png", "half_colour")]
    format = PictureFormat(height=16, width=16)
    window = tf.constant([0.1, 0.2, 0.8, 0.9])

    def read(data: tf.Tensor) -> tf.Tensor:
        return preprocess.crop_and_fit(*preprocess.decode_window(data, window, format, scaled=True), format)

    mapped = tf.data.Dataset.from_tensor_slices(files).map(read)
    assert mapped.element_spec == tf.TensorSpec((16, 16, 3), tf.uint8)
    for data, pixels in zip(files, mapped.as_numpy_iterator(), strict=True):
        assert difference(read(tf.constant(data)).numpy(), pixels) <= 1


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(40, 60), (90, 33), (50, 50)])
def test_a_box_moved_by_the_window_bounds_what_is_drawn(fit: str, size: tuple[int, int]) -> None:
    format = PictureFormat(height=96, width=128, channels=1, fit=fit)
    y_min, x_min, y_max, x_max = box = np.array([0.3, 0.4, 0.7, 0.6]) * (*size, *size) // 1
    drawn = np.zeros((*size, 1), np.uint8)
    drawn[int(y_min) : int(y_max), int(x_min) : int(x_max)] = 255
    shown = preprocess.fit_picture(tf.constant(drawn), format).numpy()[..., 0] > 190  # bars are 128
    window = preprocess.fit_window(format, *size).numpy()
    moved = (box / (*size, *size) - np.tile(window[:2], 2)) / np.tile(window[2:] - window[:2], 2)
    moved = np.clip(moved, 0, 1)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    bounds = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    assert np.abs(bounds - moved * (96, 128, 96, 128)).max() <= 1.5


def test_fit_windows_by_hand() -> None:
    def window(fit: str, height: int, width: int) -> list[float]:
        return preprocess.fit_window(PictureFormat(height=8, width=8, fit=fit), height, width).numpy().tolist()

    assert window("stretch", 30, 7) == [0, 0, 1, 1]
    assert window("crop", 10, 40) == [0, 0.375, 1, 0.625]
    assert window("letterbox", 10, 20) == [-0.5, 0, 1.5, 1]  # 4 rows of 8, 2 above and 2 below
    assert window("letterbox", 30, 10) == pytest.approx([0, -2 / 3, 1, 2])  # 3 columns of 8, 2 to the left, 3 right


@pytest.mark.parametrize("fit", FITS)
def test_windows_without_tensorflow_are_the_same(fit: str) -> None:
    for height, width, target in (
        (10, 40, (8, 8)),
        (333, 500, (224, 160)),
        (1080, 1920, (96, 640)),
        (1, 4999, (64, 9)),
    ):
        format = PictureFormat(height=target[0], width=target[1], fit=fit)
        window = format.window(height, width)
        assert window.dtype == np.float32
        np.testing.assert_allclose(window, preprocess.fit_window(format, height, width).numpy(), rtol=1e-6, atol=1e-6)


def test_accurate_decoding_is_nearer_to_pillow(convoy_data: Path) -> None:
    """What a client of a .tflite sees, against both cosine transforms: mean difference in grey levels."""
    files = sorted((convoy_data / "flowers" / "train").glob("*/*.jpg"))[::30]
    apart: dict[str, list[float]] = {"accurate": [], "fast": []}
    for file in files:
        with Image.open(file) as opened:
            client = np.asarray(opened.convert("RGB").resize((96, 96), Image.Resampling.BILINEAR)).astype(int)
        for dct, differences in apart.items():
            ours = preprocess.decode_and_fit(
                tf.constant(file.read_bytes()), PictureFormat(height=96, width=96, dct=dct)
            )
            differences.append(np.abs(client - ours.numpy()).mean())
    assert len(files) > 8
    assert np.mean(apart["accurate"]) < 0.2 < 0.6 < np.mean(apart["fast"])


def test_odd_pictures_in_parts(convoy_data: Path) -> None:
    """Every JPEG that can be decoded at all gives the same parts as whole: grey, CMYK, with odd markers."""
    format, seen = PictureFormat(height=16, width=16), 0
    for file in sorted((convoy_data / "odd_images").iterdir()):
        data = file.read_bytes()
        if not data.startswith(b"\xff\xd8\xff"):
            continue
        try:
            whole = preprocess.decode_picture(tf.constant(data), PictureFormat())
        except tf.errors.InvalidArgumentError:
            continue
        seen += 1
        assert np.array_equal(
            preprocess.decode_and_fit(tf.constant(data), format), preprocess.fit_picture(whole, format)
        )
    assert seen > 5
