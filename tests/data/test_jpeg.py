"""Whether a JPEG is whole, told from its markers: the same answer as the decoder's."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from models.stack import tf
from pipeline.data.cropping import MARGIN
from pipeline.data.jpeg import first_rows, whole_jpeg
from pipeline.data.pictures import BadPicture, stored_picture
from tests.data.pictures import encoded, noise


def jpeg(picture: Image.Image, **options: object) -> bytes:
    return encoded(picture, "JPEG", **options)


def widened(data: bytes) -> bytes:
    """The same with two bytes for each number of the first quantization table."""
    start = data.index(b"\xff\xdb")
    numbers = b"".join(bytes([0, number]) for number in data[start + 5 : start + 69])
    return data[:start] + b"\xff\xdb\x00\x83" + bytes([0x10 | data[start + 4]]) + numbers + data[start + 69 :]


KINDS = {
    "baseline": jpeg(noise(0, 60, 80)),
    "progressive": jpeg(noise(0, 60, 80), progressive=True),
    "grey": jpeg(noise(0, 60, 80).convert("L")),
    "restart": jpeg(noise(0, 60, 80), restart_marker_rows=1),
    "comment": jpeg(noise(0, 60, 80), comment=b"\xff\xd9 no end"),
    "whole colour": jpeg(noise(0, 60, 80), subsampling=0, quality=98),
    "half as wide": jpeg(noise(0, 60, 80), subsampling=1),
    "optimised": jpeg(noise(0, 60, 80), optimize=True),
    "optimised progressive grey": jpeg(noise(0, 60, 80).convert("L"), progressive=True, optimize=True),
    "progressive restart": jpeg(noise(0, 60, 80), progressive=True, restart_marker_blocks=2),
    "16 bits a quantizer": widened(jpeg(noise(0, 60, 80))),
}


def changed(data: bytes, marker: int, place: int, *values: int) -> bytes:
    """A JPEG with other bytes at a place of the first segment of a kind, counted from its marker."""
    start = data.index(bytes([0xFF, marker])) + place
    return data[:start] + bytes(values) + data[start + len(values) :]


BASELINE = KINDS["baseline"]
DAMAGED = {
    "more symbols than the table holds": changed(BASELINE, 0xC4, 5, *[255] * 16),
    "three codes of one bit": changed(BASELINE, 0xC4, 5, 3),
    "a code of all ones": changed(BASELINE, 0xC4, 5, 2, *[0] * 15),
    "a table that there is no place for": changed(BASELINE, 0xC4, 4, 0x07),
    "a factor of none": changed(BASELINE, 0xC0, 11, 0x02),
    "a factor of five": changed(BASELINE, 0xC0, 11, 0x52),
    "factors that do not divide": changed(BASELINE, 0xC0, 11, 0x32, 0, 2, 0x22),
    "an undefined quantization table": changed(BASELINE, 0xC0, 12, 3),
    "a scan of an unknown component": changed(BASELINE, 0xDA, 5, 77),
    "a scan of one component twice": changed(BASELINE, 0xDA, 7, 1),
    "an undefined Huffman table": changed(BASELINE, 0xDA, 6, 0x33),
    "a scan without components": changed(BASELINE, 0xDA, 4, 0),
    "a pass that ends before it begins": changed(KINDS["progressive"], 0xDA, 11, 5, 2),
    "a pass that skips bits": changed(KINDS["progressive"], 0xDA, 13, 0x50),
}


@pytest.mark.parametrize("kind", KINDS)
def test_size_and_channels(kind: str) -> None:
    found = whole_jpeg(KINDS[kind])
    assert (found.height, found.width, found.channels) == (60, 80, 1 if "grey" in kind else 3)
    assert stored_picture(KINDS[kind]).change == "kept"
    assert not found.may_be_turned


@pytest.mark.parametrize("kind", KINDS)
def test_cut_anywhere_it_is_not_whole(kind: str) -> None:
    data = KINDS[kind]
    assert not any(whole_jpeg(data[:length]) for length in range(len(data)))


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_a_cut_file_is_refused_as_before(kind: str) -> None:
    data = KINDS[kind]
    for length in np.linspace(10, len(data) - 3, 12).astype(int):
        with pytest.raises(BadPicture):
            stored_picture(data[:length])


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_head_that_contradicts_itself_is_refused(damage: str) -> None:
    """As the decoder refuses it, for which nothing but the words have changed."""
    assert whole_jpeg(DAMAGED[damage]) is None
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_image(DAMAGED[damage], channels=3)
    with pytest.raises(BadPicture):
        stored_picture(DAMAGED[damage])


@pytest.mark.parametrize("kind", ["baseline", "progressive", "optimised"])
def test_a_spoilt_byte_is_seen_where_the_decoder_sees_it(kind: str) -> None:
    data, draw = KINDS[kind], np.random.default_rng(0)
    for place, value in zip(draw.integers(2, data.rindex(b"\xff\xda"), 100), draw.integers(0, 256, 100), strict=True):
        found = whole_jpeg(spoilt := data[:place] + bytes([value]) + data[place + 1 :])
        if found and found.height * found.width < 2**20:
            shape = tf.io.decode_image(spoilt, channels=3).shape
            assert tuple(shape[:2]) == (found.height, found.width)


def test_what_is_unusual_is_left_to_the_decoder() -> None:
    arithmetic = KINDS["baseline"].replace(b"\xff\xc0", b"\xff\xc9", 1)
    twelve_bits = bytearray(KINDS["baseline"])
    frame = KINDS["baseline"].index(b"\xff\xc0")
    twelve_bits[frame + 4] = 12
    no_width = KINDS["baseline"][: frame + 7] + b"\0\0" + KINDS["baseline"][frame + 9 :]
    no_tables = KINDS["baseline"].replace(b"\xff\xdb", b"\xff\xfe")
    cmyk = jpeg(noise(0).convert("CMYK"))
    for data in (arithmetic, bytes(twelve_bits), no_width, no_tables, cmyk, b"\xff\xd8\xff\xd9", b"\x89PNG"):
        assert whole_jpeg(data) is None


def test_metadata_is_looked_at_where_there_is_some() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = jpeg(noise(0, 60, 80), exif=exif)
    assert whole_jpeg(turned).may_be_turned
    stored = stored_picture(turned)
    assert (stored.height, stored.width, stored.change) == (80, 60, "turned upright")
    exif[0x0112] = 1
    upright = jpeg(noise(0, 60, 80), exif=exif)
    assert stored_picture(upright).data == upright


def test_a_thumbnail_within_is_not_the_picture() -> None:
    """An end marker inside a segment is not the end of the picture."""
    thumbnail = jpeg(noise(1, 8, 8))
    segment = b"\xff\xe2" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = KINDS["baseline"][:2] + segment + KINDS["baseline"][2:]
    assert whole_jpeg(data).height == 60
    assert not any(whole_jpeg(data[:length]) for length in range(len(segment), len(data)))


def test_real_files_as_the_decoder_sees_them(convoy_data: Path) -> None:
    files = [
        *sorted((convoy_data / "odd_images").rglob("*.jp*g")),
        *sorted((convoy_data / "flowers").rglob("*.jpg"))[::20],
    ]
    assert len(files) > 20
    for file in files:
        data = file.read_bytes()
        found = whole_jpeg(data)
        if found is None:
            continue
        shape = tf.io.decode_image(data, channels=3, expand_animations=False).shape
        assert (found.height, found.width) == tuple(shape[:2]), file
        assert found.channels == (1 if Image.open(io.BytesIO(data)).mode == "L" else 3)


def flat_below(height: int) -> Image.Image:
    """A picture whose lower half is of one colour: a few bytes of the file."""
    pixels = np.array(noise(0, height, 80))
    pixels[height // 2 :] = 200
    return Image.fromarray(pixels)


SIMPLE = {
    "colour of half the resolution": jpeg(noise(0, 90, 80)),
    "of half the columns": jpeg(noise(0, 90, 80), subsampling=1),
    "whole colour": jpeg(noise(0, 90, 80), subsampling=0, quality=98),
    "grey": jpeg(noise(0, 90, 80).convert("L")),
    "flat below": jpeg(flat_below(90)),
    "comment": jpeg(noise(0, 90, 80), comment=b"\xff\xd9 no end"),
}


@pytest.mark.parametrize("kind", SIMPLE)
def test_the_first_rows_are_those_of_the_whole_file(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole = cv2.imdecode(np.frombuffer(SIMPLE[kind], np.uint8), cv2.IMREAD_COLOR)
    for rows in range(3, 75):
        part = cv2.imdecode(first_rows(SIMPLE[kind], rows), cv2.IMREAD_COLOR)
        assert len(part) == rows
        np.testing.assert_array_equal(part[:-2], whole[: rows - 2])
    assert capfd.readouterr().err == ""  # where libjpeg complains of damage


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_the_first_rows_of_a_smaller_picture(ratio: int) -> None:
    """Of a picture of 1,200 rows, decoded at half, a quarter and an eighth of its size."""
    data = jpeg(noise(0, 150, 20).resize((160, 1200)))
    flags = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}[ratio]
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    for rows in (40, 61, 100):
        part = cv2.imdecode(first_rows(data, (rows + MARGIN) * ratio), flags)
        assert len(part) == rows + MARGIN
        np.testing.assert_array_equal(part[:rows], whole[:rows])


def test_a_head_with_anything_between_its_segments_stays_whole() -> None:
    """Which decoders pass over; of the two bytes one might be taken for a length."""
    place = BASELINE.index(b"\xff\xc4")
    for between in (b"\0\0", b"\0\0\0", b"\xc0\xff\xc0"):
        data = BASELINE[:place] + between + BASELINE[place:]
        assert first_rows(data, 20).tobytes() == data
    for end in range(2, len(BASELINE), 7):
        assert first_rows(BASELINE[:end], 20).tobytes() == BASELINE[:end]


def test_files_with_more_than_one_simple_scan_stay_whole() -> None:
    simple = SIMPLE["grey"]
    several = simple[:2] + b"\xff\xe2\0\x06MPF\0" + simple[2:]
    others = [KINDS["progressive"], KINDS["restart"], several, simple + b"after the end"]
    for data in others:
        assert first_rows(data, 20).tobytes() == data
    assert first_rows(simple, 75).tobytes() == simple  # less than a row of blocks to save
