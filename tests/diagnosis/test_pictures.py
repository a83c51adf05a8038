"""Every defect of a single picture is planted, and found; sound pictures are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.pictures import BadPicture, StoredPicture
from pipeline.diagnosis import facts
from tests.diagnosis.given import diagnosed, encoded, example, found, kinds, picture

WHOLE = encoded(picture(99), "JPEG")


def test_nothing_is_found_in_sound_data() -> None:
    diagnosis = diagnosed([example(number, split="validation" if number > 9 else "train") for number in range(12)])
    assert diagnosis.findings == ()
    assert diagnosis.counts() == {"error": 0, "warning": 0, "note": 0}
    diagnosis.require_sound()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"no picture", "not a picture"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (b"", "empty"),
        (Path("gone.png"), "does not exist"),
    ],
)
def test_pictures_that_cannot_be_used(image: Any, reason: str) -> None:
    diagnosis = diagnosed([example(0), example(1), example(2, image)])
    (one,) = found(diagnosis, "unusable_picture")
    assert reason in one.what.lower()
    assert (one.ids, one.severity) == (("2",), "warning")
    assert one.where == (str(image) if isinstance(image, Path) else "list.csv:2")
    assert diagnosis.statistics["unusable"] == 1


def test_too_many_of_them_are_an_error() -> None:
    broken = [example(number, b"no") for number in range(2, 6)]
    (one,) = found(diagnosed([example(0), example(1), *broken]), "too_many_unusable")
    assert one.severity == "error"
    assert "4 of 6" in one.what


@pytest.mark.parametrize(
    ("kind", "image", "limit"),
    [
        ("tiny_picture", picture(9, 7, 9), {"smallest_side": 7}),
        ("extreme_shape", picture(9, 40, 250), {"largest_aspect": 7}),
        ("blank_picture", Image.new("RGB", (40, 40), (9, 9, 9)), {"blank_contrast": 0}),
    ],
)
def test_pictures_that_show_little(kind: str, image: Image.Image, limit: dict[str, float]) -> None:
    examples = [example(0), example(1), example(2, encoded(image))]
    diagnosis = diagnosed(examples)
    (one,) = found(diagnosis, kind)
    assert (one.ids, one.severity) == (("2",), "warning")
    assert one.fix
    assert kind not in kinds(diagnosed(examples, **limit))


def test_a_name_that_says_something_else_than_the_content(tmp_path: Path) -> None:
    names = {"right.jpg": "JPEG", "right.jpe": "JPEG", "right.png": "PNG", "wrong.png": "JPEG", "none.data": "PNG"}
    for number, (name, format) in enumerate(names.items()):
        (tmp_path / name).write_bytes(encoded(picture(number), format))
    diagnosis = diagnosed([example(number, tmp_path / name) for number, name in enumerate(names)])
    (one,) = found(diagnosis, "wrong_extension")
    assert one.where == str(tmp_path / "wrong.png")
    assert "JPEG" in one.what


def test_what_only_pillow_refuses_is_said_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def stored_without_a_look(data: bytes) -> StoredPicture:
        return StoredPicture(data, 12, 16, 3, "kept")

    monkeypatch.setattr(facts, "stored_picture", stored_without_a_look)
    refused = facts.measure(WHOLE[:-40])
    assert isinstance(refused, BadPicture)
    assert "truncated" in str(refused)
    assert "None" not in str(facts.measure(b"no picture"))


def test_pixels_and_bytes_are_examined_alike() -> None:
    pixels = np.asarray(picture(55))
    diagnosis = diagnosed([example(0), example(1, pixels), example(3, encoded(picture(55)))])
    (one,) = found(diagnosis, "duplicates")
    assert set(one.ids) == {"1", "3"}


def test_what_is_odd_but_sound_is_not_called_corrupt(convoy_data: Path) -> None:
    """Of Pillow's odd pictures only those are unusable that cannot be decoded to the end."""
    files = sorted(file for file in (convoy_data / "odd_images").iterdir() if file.suffix)
    examples = [example(number, file) for number, file in enumerate(files)]
    bad = {Path(one.where).name for one in found(diagnosed(examples), "unusable_picture")}
    assert {"broken.png", "truncated_image.png", "truncated_jpeg.jpg"} <= bad
    assert not [name for name in bad if name.startswith(("hopper", "16bit", "dispose"))]
