from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from models.stack import tf
from pipeline.data.pictures import BadPicture, normalise_picture, stored_picture
from tests.data.pictures import encoded, noise

KEPT, REFUSED = "kept", None
MEAN_DIFFERENCE = 2.5
"""Grey levels. TensorFlow decodes JPEG with the fast inverse DCT, Pillow with the accurate one: up to 1.6 was seen; a
new JPEG of quality 95 adds to it. Where the stored file is a PNG the difference must be 0."""

ODD_IMAGES = {
    "12bit.cropped.tif": "TIFF file",
    "16bit.MM.deflate.tif": "TIFF file",
    "16bit.cropped.jp2": "JPEG2000 file",
    "16bit.deflate.tif": "TIFF file",
    "16bit.s.tif": "TIFF file",
    "LICENSE": REFUSED,
    "anim_frame1.webp": "WEBP file",
    "broken.png": REFUSED,
    "dispose_bgnd_rgba.gif": "GIF file",
    "dispose_bgnd_transparency.gif": "GIF file",
    "dispose_none_load_end.gif": "GIF file",
    "first_frame_transparency.gif": "GIF file",
    "flower.webp": "WEBP file",
    "hopper.gif": "GIF file",
    "hopper.webp": "WEBP file",
    "hopper_8bit.ppm": "PPM file",
    "hopper_emboss.bmp": "BMP file",
    "hopper_emboss_more.bmp": "BMP file",
    "hopper_g4.tif": "TIFF file",
    "hopper_orientation_2.jpg": "turned upright",
    "hopper_orientation_3.webp": "WEBP file",
    "hopper_orientation_5.webp": "WEBP file",
    "hopper_orientation_7.webp": "WEBP file",
    "hopper_orientation_8.jpg": "turned upright",
    "hopper_orientation_8.webp": "WEBP file",
    "hopper_resized.gif": "GIF file",
    "hopper_webp_bits.ppm": "PPM file",
    "hopper_webp_write.ppm": "PPM file",
    "imageio_issue245.gif": "GIF file",
    "imageio_issue246.png": "palette with transparency",
    "multipage.tiff": "TIFF file",
    "orientation_rectangle.jpg": "turned upright",
    "tiff_16bit_RGB_target.png": KEPT,  # its name says what it is the target of; it has 8 bits
    "transparent.webp": "WEBP file",
    "truncated_app14.jpg": KEPT,  # a metadata block is cut, the pixels are whole
    "truncated_end_chunk.png": REFUSED,
    "truncated_exif_dpi.jpg": KEPT,  # the same
    "truncated_image.png": REFUSED,
    "truncated_jpeg.jpg": REFUSED,
}
"""What becomes of the files of odd_images; all that are not named are kept."""

NEAR_DUPLICATES = {
    "Iggy.1024.ppm": "PPM file",
    "LICENSE": REFUSED,
    "baboon.pgm": "PPM file",
    "copyleft.tiff": "TIFF file",
    "giphy.gif": "GIF file",
    "marbles.pbm": "PPM file",
    "ukbench09268.jpg": "turned upright",
    "ukbench09268_corrupt.jpg": REFUSED,
    "ukbench09380.webp": "WEBP file",
}
"""The same for near_duplicates. `ukbench09380.bmp`, `.png` and `.svg` are JPEGs, and so are kept."""


def decoded(data: bytes) -> np.ndarray:
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy().astype(int)


def reference(data: bytes) -> np.ndarray:
    """Pillow's own reading: upright, 8-bit RGB; deep grey pictures by their upper bits, which `convert` would clip."""
    opened = Image.open(io.BytesIO(data))
    picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I"):
        bits = opened.tag_v2[258][0] if opened.format == "TIFF" else 16
        return np.stack([np.asarray(picture).astype(int) >> (bits - 8)] * 3, axis=-1)
    return np.asarray(picture.convert("RGB")).astype(int)


def assert_as_expected(file: Path, expected: str | None) -> None:
    data = file.read_bytes()
    if expected is REFUSED:
        with pytest.raises(BadPicture, match=r"\w+"):
            stored_picture(data)
        return
    stored = stored_picture(data)
    assert stored.change == expected
    assert (stored.data == data) == (expected == KEPT)
    pixels = decoded(stored.data)
    assert pixels.shape == (stored.height, stored.width, 3)
    difference = np.abs(pixels - reference(data))
    assert difference.max() == 0 or (stored.data[:2] == b"\xff\xd8" and difference.mean() < MEAN_DIFFERENCE)


def test_every_trap_of_odd_images(convoy_data):
    files = [file for file in sorted((convoy_data / "odd_images").iterdir()) if file.is_file()]
    assert len(files) >= len(ODD_IMAGES)
    for file in files:
        assert_as_expected(file, ODD_IMAGES.get(file.name, KEPT))


def test_every_trap_of_near_duplicates(convoy_data):
    files = [file for file in sorted((convoy_data / "near_duplicates").rglob("*")) if file.is_file()]
    assert len(files) >= 33
    for file in files:
        assert_as_expected(file, NEAR_DUPLICATES.get(file.name, KEPT))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_of_up_to_eight_bits_is_kept(mode):
    picture = noise(1).convert(mode)
    data = encoded(picture)
    stored = stored_picture(data)
    assert (stored.data, stored.change) == (data, KEPT)
    assert stored.channels == (1 if mode in ("1", "L", "LA") else 3)
    np.testing.assert_array_equal(decoded(stored.data), reference(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_kept(mode, options):
    data = encoded(noise(1, 60, 80).convert(mode), "JPEG", **options)
    stored = stored_picture(data)
    assert (stored.data, stored.change) == (data, KEPT)
    assert (stored.height, stored.width, stored.channels) == (60, 80, 1 if mode == "L" else 3)
    assert np.abs(decoded(data) - reference(data)).mean() < MEAN_DIFFERENCE


def test_cmyk_jpeg_becomes_rgb():
    data = encoded(noise(1, 60, 80).convert("CMYK"), "JPEG")
    stored = stored_picture(data)
    assert (stored.change, stored.channels) == ("CMYK colours", 3)
    assert np.abs(decoded(stored.data) - reference(data)).mean() < MEAN_DIFFERENCE


def test_sixteen_bits_keep_their_upper_eight():
    values = np.array([[0, 255, 256], [4095, 32768, 65535]], np.uint16)
    stored = stored_picture(encoded(Image.fromarray(values)))
    assert (stored.change, stored.channels) == ("16 bits", 1)
    np.testing.assert_array_equal(decoded(stored.data)[..., 0], [[0, 0, 1], [15, 128, 255]])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_every_exif_orientation(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise(2, 40, 64), format, exif=exif)
    stored = stored_picture(data)
    assert stored.change == (KEPT if orientation == 1 else "turned upright")
    assert (stored.height, stored.width) == ((40, 64) if orientation < 5 else (64, 40))
    assert np.abs(decoded(stored.data) - reference(data)).mean() < MEAN_DIFFERENCE
    assert stored_picture(stored.data).change == KEPT  # the new file does not say that it is turned


def test_transparency_is_ignored_as_tensorflow_does():
    picture = noise(3).convert("RGBA")
    picture.putalpha(0)
    for format in ("PNG", "WEBP"):
        data = encoded(picture, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
        np.testing.assert_array_equal(decoded(stored_picture(data).data), np.asarray(noise(3)))


def test_multi_picture_jpeg_is_kept_and_shows_the_first():
    data = encoded(noise(4, 40, 40), "MPO", save_all=True, append_images=[noise(5, 40, 40)])
    assert stored_picture(data).change == KEPT
    assert np.abs(decoded(data) - np.asarray(noise(4, 40, 40))).mean() < MEAN_DIFFERENCE * 2


@pytest.mark.parametrize("cut", [1, 2, 12, 60, 300])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_truncated_files_are_refused_wherever_they_are_cut(format, cut):
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)), format)
    with pytest.raises(BadPicture):
        stored_picture(whole[:-cut])


def test_flipped_byte_in_a_png_is_refused():
    data = bytearray(encoded(noise(6, 60, 80)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BadPicture, match="data stream"):
        stored_picture(bytes(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", r"header|not a picture"),
        (b"hello", "not a picture"),
        (b"\xff\xd8\xff", r"header|not a picture"),
        (os.urandom(3000), "not a picture"),
    ],
)
def test_reasons(data, reason):
    with pytest.raises(BadPicture, match=reason):
        stored_picture(data)


def test_pixels_without_a_fixed_range_are_refused():
    floats = Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4))
    with pytest.raises(BadPicture, match="floating-point"):
        stored_picture(encoded(floats, "TIFF"))
    wide = Image.fromarray(np.array([[0, 70_000]], np.int32))
    with pytest.raises(BadPicture, match="70000"):
        stored_picture(encoded(wide, "TIFF"))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_pixels_become_png_without_loss(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    stored = stored_picture(pixels)
    assert (stored.height, stored.width, stored.change) == (5, 7, "encoded")
    read = tf.io.decode_png(stored.data).numpy()
    np.testing.assert_array_equal(read.reshape(shape), pixels)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2), np.float32), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 3), np.uint8), np.zeros(3, np.uint8)],
)
def test_other_arrays_are_refused(pixels):
    with pytest.raises(BadPicture, match="expected uint8"):
        stored_picture(pixels)


def test_normalise_picture_gives_bytes_height_width():
    data = encoded(noise(1))
    assert normalise_picture(data) == (data, 12, 16)
