"""Repeats are planted in every form, and found; unlike pictures are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from pipeline.data.example import RawExample
from pipeline.data.sources import ClassFolders
from pipeline.diagnosis import DoctorSettings
from pipeline.diagnosis.examine import Subject, examine
from tests.diagnosis.given import diagnosed, encoded, example, found, kinds, picture

TURN = Image.Transpose


def reencoded(one: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(encoded(one, "JPEG", quality=30)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda one: one.resize((one.width // 2, one.height // 2)),
    "re-encoded": reencoded,
    "grey": lambda one: one.convert("L"),
    "brighter": lambda one: one.point(lambda value: min(255, round(value * 1.15))),
    "mirrored": ImageOps.mirror,
    "mirrored top to bottom": ImageOps.flip,
    "turned by 90°": lambda one: one.transpose(TURN.ROTATE_90),
    "turned by 180°": lambda one: one.transpose(TURN.ROTATE_180),
    "turned by 270°": lambda one: one.transpose(TURN.ROTATE_270),
    "transposed": lambda one: one.transpose(TURN.TRANSPOSE),
    "transposed the other way": lambda one: one.transpose(TURN.TRANSVERSE),
    "all at once": lambda one: reencoded(ImageOps.mirror(one.resize((90, 70))).convert("L")),
}
ORIGINAL = picture(77, 120, 160)


def with_others(*planted: RawExample) -> list[RawExample]:
    return [*(example(number) for number in range(10)), *planted]


@pytest.mark.parametrize("change", CHANGES)
def test_near_duplicates_across_splits_are_leakage(change: str) -> None:
    changed = example(31, encoded(CHANGES[change](ORIGINAL)), split="test")
    diagnosis = diagnosed(with_others(example(11, encoded(ORIGINAL)), changed))
    (one,) = found(diagnosis, "leakage")
    assert one.severity == "error"
    assert one.ids == ("11", "31")
    assert one.where == "list.csv:31"
    assert "train and test" in one.what


def test_how_the_second_has_to_be_turned_is_said() -> None:
    turned = example(31, encoded(ORIGINAL.transpose(TURN.ROTATE_90)))  # counterclockwise
    (one,) = found(diagnosed(with_others(example(11, encoded(ORIGINAL)), turned)), "duplicates")
    assert one.numbers["way"] == "turned by 90°"  # clockwise, back again
    assert one.severity == "warning"


def test_leakage_can_be_allowed() -> None:
    examples = with_others(example(11, encoded(ORIGINAL)), example(31, encoded(ORIGINAL), split="test"))
    (one,) = found(diagnosed(examples, allow_leakage=True), "leakage")
    assert one.severity == "warning"


def test_identical_files_and_identical_pixels() -> None:
    same_bytes = example(13, encoded(ORIGINAL))
    same_pixels = example(13, encoded(ORIGINAL, compress_level=1))
    for copy, words in ((same_bytes, "identical files"), (same_pixels, "identical pixels")):
        (one,) = found(diagnosed(with_others(example(11, encoded(ORIGINAL)), copy)), "duplicates")
        assert words in one.what


def test_a_group_is_one_finding() -> None:
    copies = [example(21 + 2 * place, encoded(change(ORIGINAL))) for place, change in enumerate(CHANGES.values())]
    (one,) = found(diagnosed(with_others(example(11, encoded(ORIGINAL)), *copies)), "duplicates")
    assert set(one.ids) == {"11", *(copy.id for copy in copies)}
    assert one.numbers["pictures"] == 1 + len(CHANGES)


@pytest.mark.parametrize(
    ("copy", "kind", "severity"),
    [
        (encoded(ORIGINAL), "contradictory_labels", "error"),
        (encoded(ImageOps.mirror(ORIGINAL)), "doubtful_labels", "warning"),
    ],
)
def test_the_same_picture_with_different_labels(copy: bytes, kind: str, severity: str) -> None:
    examples = with_others(example(11, encoded(ORIGINAL)), example(12, copy))
    (one,) = found(diagnosed(examples), kind)
    assert (one.severity, one.ids) == (severity, ("11", "12"))
    assert "'b' and 'a'" in one.what
    same = with_others(example(11, encoded(ORIGINAL)), example(13, copy))
    assert kind not in kinds(diagnosed(same))


def test_a_label_that_is_not_known_contradicts_nothing() -> None:
    examples = with_others(example(11, encoded(ORIGINAL)), example(12, encoded(ORIGINAL), label=""))
    assert "contradictory_labels" not in kinds(diagnosed(examples))


def test_small_and_blank_pictures_are_not_near_duplicates() -> None:
    small = [
        example(number, encoded(picture(55, 20, 20).point(lambda value, more=number: value + more)))
        for number in (11, 13)
    ]
    blank = [example(number, encoded(Image.new("L", (50 + number, 50), 90))) for number in (15, 17)]
    diagnosis = diagnosed(with_others(*small, *blank))
    assert not {"leakage", "duplicates"} & kinds(diagnosis)
    (note,) = found(diagnosis, "not_compared")
    assert "2 pictures" in note.what
    assert found(diagnosed(with_others(*small), smallest_compared=20), "duplicates")


def test_the_planted_repeats_of_near_duplicates(convoy_data: Path) -> None:
    """Flip, resize, grey and the same in other formats; the picture turned by an odd angle is another one."""
    source = ClassFolders(path=convoy_data / "near_duplicates" / "data", layout="classes")
    diagnosis = examine(Subject(source), DoctorSettings())
    groups = [
        {Path(name).name for name in one.ids} for one in (*found(diagnosis, "leakage"), *found(diagnosis, "duplicates"))
    ]
    assert {"ukbench00120.jpg", "ukbench00120_hflip.jpg", "ukbench00120_resize.jpg"} in groups
    assert {"ukbench00120_rotation.jpg"} in groups
    formats = {f"ukbench09380.{suffix}" for suffix in ("jpg", "jpeg", "png", "bmp", "webp")}
    assert formats in [group - {"ukbench09380.svg"} for group in groups]
    assert {Path(one.where).name for one in found(diagnosis, "wrong_extension")} == {
        "ukbench09380.bmp",
        "ukbench09380.png",
    }
    assert len(found(diagnosis, "unusable_picture")) == 2


def test_unlike_photographs_are_not_near_duplicates(convoy_data: Path) -> None:
    diagnosis = examine(Subject(ClassFolders(path=convoy_data / "flowers" / "val", layout="classes")), DoctorSettings())
    assert not {"leakage", "duplicates"} & kinds(diagnosis)
