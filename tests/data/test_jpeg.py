"""Whether a JPEG is whole, told from its markers: the same answer as the decoder's."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.stack import tf
from pipeline.data.jpeg import whole_jpeg
from pipeline.data.pictures import BadPicture, stored_picture
from tests.data.pictures import encoded, noise


def jpeg(picture: Image.Image, **options: object) -> bytes:
    return encoded(picture, "JPEG", **options)


KINDS = {
    "baseline": jpeg(noise(0, 60, 80)),
    "progressive": jpeg(noise(0, 60, 80), progressive=True),
    "grey": jpeg(noise(0, 60, 80).convert("L")),
    "restart": jpeg(noise(0, 60, 80), restart_marker_rows=1),
    "comment": jpeg(noise(0, 60, 80), comment=b"\xff\xd9 no end"),
    "whole colour": jpeg(noise(0, 60, 80), subsampling=0, quality=98),
}


@pytest.mark.parametrize("kind", KINDS)
def test_size_and_channels(kind: str) -> None:
    found = whole_jpeg(KINDS[kind])
    assert (found.height, found.width, found.channels) == (60, 80, 1 if kind == "grey" else 3)
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
