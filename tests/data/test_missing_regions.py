"""Missing parts of pictures: marked by mask, colour or transparency; filled before they are stored."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from models.stack import tf
from pipeline.data.missing import Inpainting, MeanFill, MissingRegions, ZeroFill
from pipeline.data.pictures import BadPicture, stored_picture
from pipeline.data.prepare import DataSettings, prepare
from tests.data.pictures import encoded, noise

HOLE = np.zeros((6, 8), bool)
HOLE[2:4, 3:6] = True
PIXELS = np.full((6, 8, 3), (100, 150, 200), np.uint8)
PIXELS[HOLE] = (255, 0, 255)


def png(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels))


def decoded(data: bytes) -> np.ndarray:
    return tf.io.decode_image(data, expand_animations=False).numpy()


MASK = png(HOLE.astype(np.uint8))


def filled(data: bytes, mask: bytes | None = None, **settings: Any) -> np.ndarray:
    stored = MissingRegions.model_validate(settings).filled(stored_picture(data), data, mask)
    pixels = decoded(stored.data)
    assert (stored.height, stored.width, stored.channels) == pixels.shape
    return pixels


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (ZeroFill(), (0, 0, 0)),
        (MeanFill(), (100, 150, 200)),
        (Inpainting(), (100, 150, 200)),
        (Inpainting(method="navier_stokes", radius=2), (100, 150, 200)),
    ],
)
def test_fills_by_hand(fill: Any, expected: tuple[int, int, int]) -> None:
    pixels = filled(png(PIXELS), MASK, fill=fill)
    np.testing.assert_array_equal(pixels[~HOLE], PIXELS[~HOLE])
    assert np.abs(pixels[HOLE].astype(int) - expected).max() <= 1  # OpenCV rounds weighted means down


@pytest.mark.parametrize("fill", [ZeroFill(), MeanFill(), Inpainting()], ids=lambda fill: fill.kind)
def test_grey_pictures_stay_grey(fill: Any) -> None:
    pixels = filled(png(PIXELS[..., 1]), MASK, fill=fill)
    assert pixels.shape == (6, 8, 1) and pixels[0, 0, 0] == 150
    assert abs(int(pixels[3, 4, 0]) - (0 if fill.kind == "zero" else 150)) <= 1


def test_a_colour_marks_with_a_tolerance() -> None:
    near = PIXELS.copy()
    near[0, 0] = (250, 3, 255)
    exact = filled(png(near), colour=(255, 0, 255))
    assert not exact[HOLE].any() and exact[0, 0].tolist() == [250, 3, 255]
    assert not filled(png(near), colour=(255, 0, 255), tolerance=5)[0, 0].any()


def test_transparency_marks_where_it_is_whole() -> None:
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)
    alpha[0, 0] = 1
    data = png(np.dstack([PIXELS, alpha]))
    pixels = filled(data, transparent=True)
    assert pixels.shape == (6, 8, 3) and not pixels[HOLE].any()
    np.testing.assert_array_equal(pixels[~HOLE], PIXELS[~HOLE])
    palette = Image.fromarray(np.where(HOLE, 1, 0).astype(np.uint8), "P")
    palette.putpalette([9, 9, 9, 200, 200, 200])
    assert not filled(encoded(palette, transparency=1), transparent=True)[HOLE].any()


def test_nothing_missing_keeps_the_bytes() -> None:
    for settings in (MissingRegions(), MissingRegions(transparent=True, colour=(1, 2, 3))):
        stored = stored_picture(png(PIXELS))
        assert settings.filled(stored, png(PIXELS), None) is stored
    assert MissingRegions().filled(stored, png(PIXELS), png(np.zeros((6, 8), np.uint8))) is stored


def test_a_jpeg_stays_one() -> None:
    data = encoded(noise(3), "JPEG")
    mask = png(np.pad(np.ones((3, 3), np.uint8), ((2, 7), (4, 9))))
    stored = MissingRegions(fill=MeanFill()).filled(stored_picture(data), data, mask)
    assert stored.is_jpeg and stored.change == "filled by mean"
    with Image.open(io.BytesIO(stored.data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (16, 12))


def test_masks_that_cannot_be() -> None:
    with pytest.raises(BadPicture, match="has 3 x 2 pixels, the picture 8 x 6"):
        filled(png(PIXELS), png(np.ones((2, 3), np.uint8)))
    with pytest.raises(BadPicture, match="all of the picture is missing"):
        filled(png(PIXELS), png(np.ones((6, 8), np.uint8)))
    with pytest.raises(BadPicture, match="the mask of what is missing: not a picture"):
        filled(png(PIXELS), b"nothing")
    with pytest.raises(ValidationError, match="less than or equal to 255"):
        MissingRegions(colour=(0, 0, 256))


def test_a_table_names_masks(tmp_path: Path) -> None:
    rows = [("image", "kind", "missing")]
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(png(PIXELS))
        rows.append((f"{number}.png", "ab"[number % 2], "" if number < 2 else f"mask{number}.png"))
        if number not in (0, 5):
            (tmp_path / f"mask{number}.png").write_bytes(MASK)
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    source = {"kind": "table", "path": str(tmp_path / "t.csv"), "label_column": "kind", "missing_column": "missing"}
    settings = {"source": source, "splits": {"validation": 0.4, "test": 0.0}, "max_bad_pictures": 1}
    regions = {"fill": {"kind": "mean"}}
    store = prepare(DataSettings.model_validate({**settings, "missing_regions": regions}), tmp_path / "stores")
    assert store.statistics()["changes"] == {"filled by mean": 3, "kept": 2}
    (bad,) = store.quarantine()
    assert bad["id"] == "5.png" and bad["reason"].endswith("mask5.png does not exist")
    other = prepare(DataSettings.model_validate(settings), tmp_path / "stores")
    assert other.path != store.path and other.statistics()["changes"]["filled by zero"] == 3
    (tmp_path / "mask4.png").write_bytes(png((~HOLE).astype(np.uint8)))
    assert prepare(DataSettings.model_validate(settings), tmp_path / "stores").path != other.path
