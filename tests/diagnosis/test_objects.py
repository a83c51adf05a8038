"""Every defect of boxes and masks is planted, and found with its line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.example import RawObject
from pipeline.data.sources import PascalVoc
from pipeline.diagnosis import DoctorSettings
from pipeline.diagnosis.examine import Subject, examine
from pipeline.diagnosis.objects import overlaps
from tests.diagnosis.given import Given, diagnosed, example, found, kinds

Box = tuple[float, float, float, float]
GOOD: Box = (4, 4, 30, 30)
HEIGHT, WIDTH = 48, 64


def boxed(*boxes: Box, label: str = "cell") -> list[RawObject]:
    return [RawObject(label, box, where=f"marks.xml:{line}") for line, box in enumerate(boxes, 10)]


def test_sound_boxes() -> None:
    examples = [example(0, objects=boxed(GOOD, (0, 0, 20, HEIGHT), (5, 4, 40, 20))), example(1, objects=[])]
    assert kinds(diagnosed(examples)) == set()


@pytest.mark.parametrize(
    ("kind", "box"),
    [
        ("zero_area_box", (9, 9, 9, 20)),
        ("zero_area_box", (9, 9, 9, 9)),
        ("inverted_box", (30, 9, 9, 20)),
        ("box_out_of_range", (-2, 4, 30, 30)),
        ("box_out_of_range", (30, 4, WIDTH + 1, 30)),
        ("box_outside", (WIDTH + 1, 4, WIDTH + 9, 30)),
        ("box_not_finite", (math.nan, 4, 30, 30)),
        ("covering_box", (0, 0, WIDTH, HEIGHT)),
        ("tiny_box", (9, 9, 11, 30)),
    ],
)
def test_boxes(kind: str, box: Box) -> None:
    diagnosis = diagnosed([example(0, objects=boxed(GOOD)), example(1, objects=boxed(GOOD, box))])
    (one,) = found(diagnosis, kind)
    assert (one.severity, one.where, one.ids) == ("warning", "marks.xml:11", ("1",))
    assert one.boxes == (() if kind == "box_not_finite" else (box,))
    assert kinds(diagnosis) == {kind}


def test_limits_of_boxes() -> None:
    examples = [example(0, objects=boxed((9, 9, 13, 30))), example(1, objects=boxed((0, 0, WIDTH, HEIGHT - 2)))]
    assert kinds(diagnosed(examples, tiny_box=5)) == {"tiny_box"}
    assert kinds(diagnosed(examples, covering_box=0.9)) == {"covering_box"}


def test_duplicate_boxes() -> None:
    nearly: Box = (4, 4, 30, 30.5)
    other = [RawObject("other", GOOD, where="marks.xml:20")]
    diagnosis = diagnosed([example(0, objects=boxed(GOOD, nearly, (4, 4, 30, 20)) + other)])
    (one,) = found(diagnosis, "duplicate_box")
    assert one.where == "marks.xml:11"
    assert "marks.xml:10" in one.what
    assert found(diagnosed([example(0, objects=[RawObject("cell", GOOD), RawObject("cell", GOOD)])]), "duplicate_box")


def test_rotated_boxes_go_by_the_box_around_them() -> None:
    corners = [(10, -5), (30, 10), (10, 25), (-10, 10)]
    diagnosis = diagnosed([example(0, objects=[RawObject("cell", corners=corners, where="marks.xml:3")])])
    (one,) = found(diagnosis, "box_out_of_range")
    assert (one.where, one.boxes) == ("marks.xml:3", ((-10, -5, 30, 25),))


def test_overlaps_by_hand() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 5, 9]], np.float64)
    np.testing.assert_allclose(overlaps(boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]])


def test_unknown_classes_and_missing_objects() -> None:
    examples = [example(0, objects=boxed(GOOD)), example(1, objects=boxed(GOOD, label="cel")), example(2, objects=[])]
    (one,) = found(diagnosed(examples, source={"names": ("cell",)}), "unknown_class")
    assert (one.where, one.severity) == ("marks.xml:10", "error")
    assert "Did you mean 'cell'?" in one.fix
    (one,) = found(diagnosed([*examples, example(3, label=None)]), "missing_label")
    assert "no objects" in one.what


def test_masks() -> None:
    sound = np.zeros((HEIGHT, WIDTH), np.uint8)
    sound[:9], sound[9:12] = 1, 255
    wrong, empty = sound.copy(), np.full_like(sound, 255)
    wrong[20, 20] = 7
    masks = [sound, sound[:-1], wrong, empty]
    examples = [example(number, mask=mask) for number, mask in enumerate(masks)]
    diagnosis = diagnosed(examples, source={"names": ("sky", "tree")})
    assert kinds(diagnosis) == {"unusable_mask", "mask_value_without_class", "empty_mask"}
    (size,), (value,), (none,) = (
        found(diagnosis, kind) for kind in ("unusable_mask", "mask_value_without_class", "empty_mask")
    )
    assert (size.ids, value.ids, none.ids) == (("1",), ("2",), ("3",))
    assert "[47, 64]" in size.what
    assert value.severity == "error"
    assert "holds 7, but the data has 2 classes" in value.what


def test_masks_of_objects() -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    objects = [RawObject("cell", mask=mask, where="m:1"), RawObject("cell", mask=mask[:3], where="m:2")]
    diagnosis = diagnosed([example(0, objects=objects)])
    assert found(diagnosis, "empty_mask")[0].where == "m:1"
    assert found(diagnosis, "unusable_mask")[0].where == "m:2"


def test_the_traps_of_bccd(convoy_data: Path) -> None:
    """Two boxes without area; and two pictures of the same cells, one in each split."""
    source = PascalVoc(path=convoy_data / "bccd")
    listed = {example.id: example for example in source.examples()}
    wanted = ("BloodImage_00343", "BloodImage_00338", "BloodImage_00037", "BloodImage_00038", "BloodImage_00000")
    few = Given(given=tuple(listed[name] for name in wanted))
    diagnosis = examine(Subject(few), DoctorSettings())
    places = [Path(one.where).name for one in found(diagnosis, "zero_area_box")]
    assert places == ["BloodImage_00343.xml:50", "BloodImage_00338.xml:158"]
    (leak,) = found(diagnosis, "leakage")
    assert set(leak.ids) == {"BloodImage_00037", "BloodImage_00038"}
