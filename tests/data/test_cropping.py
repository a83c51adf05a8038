"""Decoding, crop and geometry as one step, against the same things done one after the other."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline import augment
from pipeline.augment import Augmentation, RandomResizedCrop, random
from pipeline.augment.colour import ColourJitter, no_change
from pipeline.augment.fill import NearestFill
from pipeline.augment.geometry import HorizontalFlip, Rotation
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.windows import apply_window
from pipeline.data import cropping
from pipeline.data.store import record_errors
from pipeline.errors import DataError

SIZES = [(61, 83), (40, 40), (97, 64), (200, 310)]


def picture(height: int, width: int, channels: int) -> np.ndarray:
    """A smooth random picture: what differs by resampling then differs by little."""
    noise = np.random.default_rng(height).normal(size=(height, width, channels))
    smooth = ndimage.gaussian_filter(noise, (4, 4, 0))
    return np.round(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(stream, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return stream.getvalue()


def examples(kind: str, channels: int) -> dict[str, tf.Tensor]:
    files = [encoded(picture(*size, channels), kind) for size in SIZES]
    return {
        "id": tf.constant([f"{number}" for number in range(len(files))]),
        "epoch": tf.zeros(len(files), tf.int64),
        "image": tf.constant(files),
    }


def one_by_one(
    batch: dict[str, tf.Tensor], operations: Sequence[Augmentation], format: PictureFormat
) -> dict[str, tf.Tensor]:
    """Decoded, cropped with antialiasing, then augmented: two resamplings."""
    crop = operations[0]
    assert isinstance(crop, RandomResizedCrop)
    keys = random.keys(batch["id"], batch["epoch"], 3)
    windows = tf.stack([crop.window(key, *size) for key, size in zip(keys, SIZES, strict=True)])
    pictures = [
        preprocess.crop_and_fit(preprocess.decode_picture(data, format), window, format)
        for data, window in zip(batch["image"], windows, strict=True)
    ]
    cropped = {**apply_window(batch, windows, crop.min_visible), "image": tf.stack(pictures)}
    return augment.apply(operations, cropped, 3, OpenCV())


def difference(one: tf.Tensor, other: tf.Tensor) -> np.ndarray:
    return np.abs(one.numpy().astype(int) - other.numpy())


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_opencv_decodes_what_tensorflow_decodes(kind: str, channels: int) -> None:
    for size in SIZES:
        data = encoded(picture(*size, channels), kind)
        expected = preprocess.decode_picture(tf.constant(data), PictureFormat(channels=channels)).numpy()
        np.testing.assert_array_equal(cropping.decoded(data, channels, 1, size[0]).reshape(expected.shape), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_smaller_picture_is_the_mean_of_its_pixels(kind: str) -> None:
    pixels = picture(200, 310, 3)
    for ratio in (2, 4, 8):
        smaller = cropping.decoded(encoded(pixels, kind), 3, ratio, 200)
        height, width = 200 // ratio * ratio, 310 // ratio * ratio
        parts = pixels[:height, :width].reshape(height // ratio, ratio, width // ratio, ratio, 3)
        expected = parts.mean(axis=(1, 3))
        assert smaller.shape == (-(-200 // ratio), -(-310 // ratio), 3)
        assert np.abs(smaller[: height // ratio, : width // ratio] - expected).mean() < 1.5


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_rows_that_are_needed_are_those_of_the_whole_picture(ratio: int) -> None:
    """Down to the last one: colour of half the resolution is interpolated from the rows behind it."""
    data = encoded(picture(400, 100, 3), "JPEG")
    whole = cropping.decoded(data, 3, ratio, 400 // ratio)
    assert len(cropping.decoded(data, 3, ratio, 20)) == 20 + cropping.MARGIN < len(whole)
    assert len(cropping.decoded(data, 3, ratio, 20)) == 20 + cropping.MARGIN < len(whole)
    for rows in range(20, 400 // ratio, 7):
        found = cropping.decoded(data, 3, ratio, rows)
        np.testing.assert_array_equal(found[:rows], whole[:rows])


def test_a_jpeg_that_lacks_pixels_is_filled_up() -> None:
    """`prepare` keeps it, as decoders do not refuse it: with its end, but without the lower half of its pixels."""
    data = encoded(picture(200, 310, 3), "JPEG")
    short = data[: len(data) // 2] + data[-2:]
    whole = cv2.imdecode(np.frombuffer(short, np.uint8), cv2.IMREAD_COLOR_RGB)
    for rows in (20, 90, 150, 180, 200):
        found = cropping.decoded(short, 3, 1, rows)
        np.testing.assert_array_equal(found[:rows], whole[:rows])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_that_cannot_be_decoded_is_bad_data(kind: str) -> None:
    data = encoded(picture(20, 30, 3), kind)
    spoilt = data.replace(b"IHDR", b"RHDI").replace(b"\xff\xdb", b"\xff\xfe")
    with pytest.raises(DataError, match=f"cannot be decoded \\({kind}, {len(data)} bytes\\)"):
        cropping.decoded(spoilt, 3, 1, 20)
    pictures = tf.data.Dataset.from_tensors([spoilt]).map(
        lambda files: cropping.decode_seen(
            files,
            [[20, 30]],
            cropping.Seen([[0.0, 0.0, 1.0, 1.0]], np.eye(3)[np.newaxis], NearestFill(), no_change(3)[np.newaxis, :3]),
            PictureFormat(),
        )
    )
    with (
        pytest.raises(DataError, match=r"cannot be decoded .* which `convoy prepare` checks\. Remove .*run/data\.json"),
        record_errors(Path("run/data.json")),
    ):
        list(pictures)


def test_sizes_come_from_the_head_of_a_file() -> None:
    for kind in ("JPEG", "PNG"):
        np.testing.assert_array_equal(cropping.picture_sizes(examples(kind, 3)["image"]), SIZES)


@pytest.mark.parametrize(
    ("matrix", "ratio"),
    [(np.diag([1.9, 1.99, 1.0]), 1), (np.diag([2.0, 3.0, 1.0]), 2), (np.diag([9.0, 20.0, 1.0]), 8), (np.eye(3) / 3, 1)],
)
def test_a_picture_is_made_smaller_where_a_window_is_shrunk_by_two(matrix: np.ndarray, ratio: int) -> None:
    assert cropping.shrinking(matrix[np.newaxis]).tolist() == [ratio]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [32, 120])
def test_a_crop_alone_equals_the_preprocessing(kind: str, channels: int, side: int) -> None:
    batch, format = examples(kind, channels), PictureFormat(height=side, width=side, channels=channels)
    operations = [RandomResizedCrop(area=(0.3, 1.0))]
    joined = cropping.crop_and_augment(batch, operations[0], operations, format, 3)["image"]
    assert joined.shape == (4, side, side, channels)
    apart = difference(joined, one_by_one(batch, operations, format)["image"])
    assert apart.mean() < 1.0 and apart.max() <= 20


@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_joined_with_geometry_and_colour_equals_one_after_the_other(channels: int, moves: bool) -> None:
    batch, format = examples("PNG", channels), PictureFormat(height=96, width=80, channels=channels)
    turn = Rotation(degrees=20, probability=1.0, fill=NearestFill())
    operations = [RandomResizedCrop(), *([HorizontalFlip(), turn] if moves else []), ColourJitter()]
    joined = cropping.crop_and_augment(batch, operations[0], operations, format, 3)["image"]
    apart = difference(joined, one_by_one(batch, operations, format)["image"])
    assert np.median(apart) <= 1 and apart.mean() < 2


def test_boxes_follow_the_crop_and_the_geometry() -> None:
    batch, format = examples("PNG", 3), PictureFormat(height=64, width=64)
    batch["boxes"] = tf.tile(tf.constant([[[0.3, 0.2, 0.7, 0.9], [0.0, 0.0, 0.0, 0.0]]]), [4, 1, 1])
    batch["classes"] = tf.tile(tf.constant([[2, -1]], tf.int64), [4, 1])
    operations = [RandomResizedCrop(), HorizontalFlip(), Rotation(degrees=20, probability=1.0)]
    joined = cropping.crop_and_augment(batch, operations[0], operations, format, 3)
    expected = one_by_one(batch, operations, format)
    np.testing.assert_allclose(joined["boxes"], expected["boxes"], atol=1e-5)
    np.testing.assert_array_equal(joined["classes"], expected["classes"])


def test_the_same_from_files_and_from_pixels_in_memory() -> None:
    pixels = np.stack([picture(50, 70, 3) for _ in range(4)])
    files = [encoded(one, "PNG") for one in pixels]
    batch, format = examples("PNG", 3), PictureFormat(height=20, width=24)
    operations = [RandomResizedCrop(), Rotation()]
    results = [
        cropping.crop_and_augment({**batch, "image": tf.constant(form)}, operations[0], operations, format, 3)["image"]
        for form in (files, pixels)
    ]
    np.testing.assert_array_equal(*results)
