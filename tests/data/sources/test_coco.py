from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from pipeline.data.example import RawObject
from pipeline.data.outlines import Polygons, RunLengths
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import Coco
from pipeline.diagnosis import DoctorSettings
from pipeline.diagnosis.examine import Subject, examine
from pipeline.errors import DataError
from tests.data.pictures import write

SQUARE = [[2.0, 3.0, 8.0, 3.0, 8.0, 9.0, 2.0, 9.0]]
CATEGORIES = [{"id": 7, "name": "fig"}, {"id": 2, "name": "date"}, {"id": 90, "name": "hazelnut"}]


def annotation(number: int, **changes: Any) -> dict[str, Any]:
    held = {"id": number, "image_id": 1, "category_id": 7, "bbox": [2, 3, 6, 6], "area": 36.0, "iscrowd": 0}
    return {**held, "segmentation": SQUARE, **changes}


def content(*annotations: dict[str, Any], pictures: int = 4, **changes: Any) -> dict[str, Any]:
    images = [{"id": n, "file_name": f"{n}.png", "width": 16, "height": 12} for n in range(1, pictures + 1)]
    return {"images": images, "annotations": list(annotations), "categories": CATEGORIES, **changes}


def coco(root: Path, held: dict[str, Any], name: str = "instances.json") -> Path:
    for one in held["images"]:
        if "file_name" in one:
            write(root / "images" / one["file_name"])
    file = root / "annotations" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(held))
    return root


def objects(source: Coco) -> list[RawObject]:
    source.check()
    return [one for example in source.examples() for one in example.objects or ()]


def test_boxes_outlines_runs_and_flags(tmp_path: Path) -> None:
    mask = np.zeros((24, 32), np.uint8)
    mask[3:9, 2:8] = 1
    runs = {"size": [24, 32], "counts": [2 * 24 + 3, *[6, 18] * 5, 6, 24 * 24 + 15]}
    root = coco(tmp_path, content(annotation(1), annotation(2, iscrowd=1, segmentation=runs, category_id=2)))
    first, crowd = objects(Coco(path=root))
    assert (first.label, first.box, first.area, first.crowd) == ("fig", (2.0, 3.0, 8.0, 9.0), 36.0, False)
    assert first.mask == Polygons((((2.0, 3.0), (8.0, 3.0), (8.0, 9.0), (2.0, 9.0)),))
    assert first.where == f"{root}/annotations/instances.json, annotation 1"
    assert (crowd.label, crowd.crowd) == ("date", True)
    assert isinstance(crowd.mask, RunLengths)
    np.testing.assert_array_equal(crowd.mask.pixels(24, 32), mask)
    np.testing.assert_array_equal(first.mask.pixels(24, 32), mask)
    assert [one.crowd for one in objects(Coco(path=root, crowd="drop"))] == [False]
    assert [one.mask for one in objects(Coco(path=root, masks=False))] == [None, None]


def test_ids_with_gaps_are_classes_in_their_order(tmp_path: Path) -> None:
    root = coco(tmp_path, content(annotation(1), annotation(2, category_id=90)))
    source = Coco(path=root)
    assert source.class_names() == ("date", "fig", "hazelnut")
    store = prepare(DataSettings(source=source), tmp_path / "stores")
    assert np.sum(list(store.info.class_counts.values()), axis=0).tolist() == [0, 1, 1]
    assert set(store.info.fields) == {"id", "image", "boxes", "classes", "masks"}


BROKEN = [
    (annotation(9, category_id=8), "no category, or more than one, has the id 8"),
    (annotation(9, category_id=[1]), r"has the id \[1\]"),
    (annotation(9, bbox=[1, 2, 3]), "expected a bbox of four numbers"),
    (annotation(9, bbox=[2, 3, 0, 6]), "has no area"),
    (annotation(9, bbox=[40, 3, 6, 6]), "is outside the picture of 16 x 12"),
    (annotation(9, segmentation=[[1, 2, 3, 4]]), "an outline has 2 corners"),
    (annotation(9, segmentation=[[1, 2, 3]]), "neither outlines nor runs"),
    (annotation(9, segmentation={"size": [24, 32], "counts": [5, 6]}), "its runs are 11 pixels long"),
    (annotation(9, segmentation={"size": [24, 32], "counts": ""}), "its runs are 0 pixels long"),
    (annotation(9, segmentation={"size": [32, 24], "counts": [768]}), "its runs are of a picture of 24 x 32"),
    (annotation(9, bbox=[], segmentation=[]), "neither box, corners"),
    (annotation(9, area=10**400), "its area is no finite number"),
    (annotation(9, iscrowd="some"), "expected an iscrowd of 0 or 1, found 'some'"),
]


def test_broken_annotations_are_left_out_and_listed(tmp_path: Path) -> None:
    root = coco(tmp_path, content(annotation(1), *(one for one, _ in BROKEN)))
    store = prepare(DataSettings(source=Coco(path=root)), tmp_path / "stores")
    reasons = [row["reason"] for row in store.objects_left_out()]
    assert len(reasons) == len(BROKEN)
    for reason, (_, expected) in zip(reasons, BROKEN, strict=True):
        assert re.search(expected, reason), reason
    assert np.sum(list(store.info.class_counts.values())) == 1
    kinds = examine(Subject(Coco(path=root)), DoctorSettings()).by_kind()
    assert {"unusable_object", "zero_area_box", "box_outside"} <= kinds.keys()


def test_what_belongs_to_nothing_is_counted(tmp_path: Path) -> None:
    held = content(annotation(1), annotation(2, image_id=77), pictures=2)
    held["images"].append({"id": 3})
    held["annotations"].append("text")
    source = Coco(path=coco(tmp_path, held))
    assert len(objects(source)) == 1
    file = tmp_path / "annotations" / "instances.json"
    assert source.warnings() == [
        "2 annotations were passed over, since no picture of the file, or more than one, has their image_id: "
        f"{file}: annotations[1], {file}: annotations[2].",
        f"1 entry was passed over, since it lacks an id, a file name or a name that can be used: {file}: images[2].",
    ]


def test_files_are_splits_and_names_stay_short(tmp_path: Path) -> None:
    coco(tmp_path, content(annotation(1), pictures=2), "instances_train2017.json")
    coco(tmp_path, content(annotation(1), pictures=2), "instances_val2017.json")
    (tmp_path / "annotations" / "captions_train2017.json").write_text("{}")
    found = [(example.id, example.split) for example in Coco(path=tmp_path).examples()]
    assert found == [
        ("train/1.png", "train"),
        ("train/2.png", "train"),
        ("validation/1.png", "validation"),
        ("validation/2.png", "validation"),
    ]
    alone = Coco(path=tmp_path / "annotations" / "instances_val2017.json")
    assert [(example.id, example.split) for example in alone.examples()] == [("1.png", None), ("2.png", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n{"id": 1, "file', r"instances\.json:2: not JSON"),
        ("[]", "has no list `images`"),
        ('{"images": []}', "has no list `annotations`"),
        ("[" * 100_000, "lie too deep in each other"),
        ("1" * 5_000, "cannot be read: Exceeds the limit"),
    ],
)
def test_a_file_that_is_not_coco(tmp_path: Path, text: str, message: str) -> None:
    root = coco(tmp_path, content())
    (root / "annotations" / "instances.json").write_text(text)
    with pytest.raises(DataError, match=message):
        Coco(path=root).check()


def test_a_wrong_folder_of_pictures(tmp_path: Path) -> None:
    root = coco(tmp_path, content(annotation(1)))
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError, match=r"None of the first 4 pictures exists.*data\.source\.pictures"):
        Coco(path=root, pictures=tmp_path / "elsewhere").check()


def test_real_annotations_as_pycocotools_reads_them(convoy_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = convoy_data / "fruits_nuts_coco"
    theirs = COCO(str(root / "trainval.json"))
    ours = {example.id: example.objects or () for example in Coco(path=root).examples()}
    assert Counter(one.label for held in ours.values() for one in held) == Counter(
        theirs.cats[one["category_id"]]["name"] for one in theirs.anns.values()
    )
    picture = theirs.imgs[3]
    for mine, their in zip(ours[picture["file_name"]], theirs.imgToAnns[3], strict=True):
        assert mine.mask is not None and not isinstance(mine.mask, bytes | np.ndarray)
        np.testing.assert_array_equal(mine.mask.pixels(600, 800), theirs.annToMask(their))


def test_values_of_other_types_are_set_aside(tmp_path: Path) -> None:
    """Never a traceback, whatever the file holds."""
    wrong = [{"size": [24.0, 32.0], "counts": [24 * 32]}, {"size": [24, 32], "counts": [float("inf")]}]
    held = content(
        *(annotation(n, segmentation=one) for n, one in enumerate(wrong, 1)), annotation(3, bbox=[10**400, 1, 2, 3])
    )
    root = coco(tmp_path, held)
    file = root / "annotations" / "instances.json"
    document = json.loads(file.read_text())
    document["images"].append({"id": 9, "file_name": 12})
    file.write_text(json.dumps(document))
    source = Coco(path=root)
    assert all(one.unusable for one in objects(source)) and len(objects(source)) == 3
    assert any("images[4]" in one for one in source.warnings())


@pytest.mark.parametrize("name", ["fig\0.png", "\ud800.png", "a" * 300, "a/" * 2_000])
def test_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    root = coco(tmp_path, content(annotation(1), pictures=2))
    file = root / "annotations" / "instances.json"
    document = json.loads(file.read_text())
    document["images"].append({"id": 9, "file_name": name})
    file.write_text(json.dumps(document))
    source = Coco(path=root)
    assert len(objects(source)) == 1
    assert source.fingerprint()
    assert source.warnings() == [
        f"1 entry was passed over, since it lacks an id, a file name or a name that can be used: {file}: images[2]."
    ]


def test_ids_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    held = content(annotation(1), {**annotation(2, category_id=5), "id": "\ud800"}, pictures=1)
    source = Coco(path=coco(tmp_path, held))
    assert [one.where.partition(", ")[2] for one in objects(source)] == ["annotation 1", r"annotation \ud800"]


def test_marks_of_crowds_in_text_are_numbers(tmp_path: Path) -> None:
    marks = ["0", "1", "0.0", 0.0, True, None]
    root = coco(tmp_path, content(*(annotation(number, iscrowd=mark) for number, mark in enumerate(marks))))
    assert [one.crowd for one in objects(Coco(path=root))] == [False, True, False, False, True, False]


def test_ids_of_several_pictures_or_categories_mean_none(tmp_path: Path) -> None:
    """Whose annotations they are nobody can tell. What is there twice without a difference is one."""
    held = content(annotation(1), annotation(2, image_id=2), annotation(3, category_id=2), pictures=2)
    held["images"] += [{"id": 2, "file_name": "3.png"}, dict(held["images"][0])]
    held["categories"] = [*CATEGORIES, {"id": 2, "name": "elder"}, dict(CATEGORIES[0])]
    source = Coco(path=coco(tmp_path, held))
    assert [(example.id, len(example.objects or ())) for example in source.examples()] == [("1.png", 2)]
    assert [one.label for one in objects(source) if not one.unusable] == ["fig"]
    assert source.class_names() == ("fig", "hazelnut")
    file = tmp_path / "annotations" / "instances.json"
    assert source.warnings() == [
        "1 annotation was passed over, since no picture of the file, or more than one, has its image_id: "
        f"{file}: annotations[1].",
        f"4 entries were passed over, since others of the file have their id: {file}: images[1], {file}: images[2], "
        f"{file}: categories[1], {file}: categories[3].",
    ]
