"""Pictures decoded once, within a limit of memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.pictures import BadPicture
from pipeline.data.recent_pictures import RecentPictures

PICTURE = 8 * 10 * 3
"""Bytes of one."""


def written(folder: Path, number: int) -> Path:
    file = folder / f"{number}.png"
    Image.new("RGB", (10, 8), (number, 0, 0)).save(file)
    return file


def test_a_picture_is_decoded_once_as_long_as_it_is_kept(tmp_path: Path) -> None:
    pictures, (first, second, third) = RecentPictures(2 * PICTURE), (written(tmp_path, number) for number in (1, 2, 3))
    found = pictures.pixels(1, first)
    assert (found.shape, found[0, 0, 0]) == ((8, 10, 3), 1)
    pictures.pixels(2, second)
    assert pictures.pixels(1, first) is found
    pictures.pixels(3, third)  # takes the place of the second, which was looked at longest ago
    for file in (first, second, third):
        file.unlink()
    assert pictures.pixels(1, first) is found
    assert pictures.pixels(3, third)[0, 0, 0] == 3
    with pytest.raises(FileNotFoundError):
        pictures.pixels(2, second)


def test_grey_pixels_come_in_three_channels() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    np.testing.assert_array_equal(RecentPictures().pixels("grey", grey), np.repeat(grey, 3, axis=-1))


def test_what_is_no_picture_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "broken.jpg"
    file.write_bytes(b"nothing")
    with pytest.raises(BadPicture):
        RecentPictures().pixels("broken", file)
