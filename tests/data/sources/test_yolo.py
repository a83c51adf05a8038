from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.example import RawObject
from pipeline.data.outlines import Polygons
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import Yolo
from pipeline.errors import DataError
from tests.data.pictures import write

YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"
BOX = "1 0.5 0.5 0.25 0.5\n"


def yolo(root: Path, text: str = YAML) -> Path:
    for split, names in (("train", "123"), ("val", "45")):
        for name in names:
            write(root / "images" / split / f"{name}.png")
            file = root / "labels" / split / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(BOX)
    (root / "data.yaml").write_text(text)
    return root


def objects(root: Path, text: str, **settings: object) -> list[RawObject]:
    (root / "labels" / "train" / "1.txt").write_text(text)
    return list(next(Yolo(path=root, **settings).examples()).objects or ())


def test_boxes_in_shares(tmp_path: Path) -> None:
    (one,) = objects(yolo(tmp_path), "0 0.5 0.25 0.25 0.5\n\n")
    assert (one.label, one.unit, one.box) == ("cat", "picture", (0.375, 0.0, 0.625, 0.5))
    assert one.where == f"{tmp_path}/labels/train/1.txt:1"


def test_outlines(tmp_path: Path) -> None:
    (one,) = objects(yolo(tmp_path), "1 0.25 0.5 0.75 0.5 0.75 1.0\n")
    assert one.mask == Polygons((((0.25, 0.5), (0.75, 0.5), (0.75, 1.0)),))
    store = prepare(DataSettings(source=Yolo(path=tmp_path), missing_classes="warn"), tmp_path / "stores")
    assert "masks" in store.info.fields


def test_splits_ids_and_classes(tmp_path: Path) -> None:
    source = Yolo(path=yolo(tmp_path))
    source.check()
    assert source.class_names() == ("cat", "dog")
    found = [(example.id, example.split) for example in source.examples()]
    assert found == [
        *((f"{name}.png", "train") for name in "123"),
        *((f"{name}.png", "validation") for name in "45"),
    ]
    write(tmp_path / "images" / "val" / "1.png")
    assert next(iter(source.examples())).id == "images/train/1.png"


def test_numbers_with_gaps_keep_their_places(tmp_path: Path) -> None:
    source = Yolo(path=yolo(tmp_path, YAML.replace("[cat, dog]", "{0: cat, 3: dog}")))
    assert source.class_names() == ("cat", "1", "2", "dog")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.25", "found 3"),
        ("1 0.5 0.5 0.25 x", "expected four numbers"),
        ("cat 0.5 0.5 0.25 0.5", "expected the number of a class first, found 'cat'"),
        ("1 0.1 0.1 0.5 0.5 0.1 0.5 0.2", "found 7"),
        ("1 0.1 0.1 0.5 nan 0.1 0.5", "a corner that is not finite"),
    ],
)
def test_broken_lines_are_set_aside(tmp_path: Path, line: str, message: str) -> None:
    bad, good = objects(yolo(tmp_path), f"{line}\n{BOX}")
    assert message in bad.unusable
    assert bad.where.endswith("1.txt:1")
    assert good.unusable == ""


def test_a_class_that_has_no_name(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    (one,) = objects(root, "5 0.5 0.5 0.25 0.5")
    assert (one.label, one.unusable) == ("number 5", "")
    (one,) = objects(root, "5 0.5 0.5 0.25 0.5", other_classes="leave_out")
    assert one.unusable == "its class 'number 5' is not one of data.source.classes"


def test_pictures_without_labels_and_labels_without_pictures(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    (root / "labels" / "train" / "1.txt").unlink()
    (root / "labels" / "train" / "9.txt").write_text(BOX)
    (root / "labels" / "val" / "4.txt").write_bytes(b"\xff\xfe\x00")
    source = Yolo(path=root)
    without, *_, broken, _ = source.examples()
    assert (without.objects, without.unusable) == ((), "")
    assert "not UTF-8" in broken.unusable
    assert source.warnings() == [
        f"1 picture without a file of labels was taken for background: {root}/images/train/1.png.",
        f"1 file of labels was passed over, since no picture has its name: {root}/labels/train/9.txt.",
    ]
    assert next(Yolo(path=root, without_labels="leave_out").examples()).unusable


def test_a_picture_counts_in_one_split_only(tmp_path: Path) -> None:
    root = yolo(tmp_path, YAML.replace("images/val", "images/train"))
    source = Yolo(path=root)
    assert {example.split for example in source.examples()} == {"train"}
    assert "3 pictures are in two splits; the first counts" in source.warnings()[-1]


@pytest.mark.parametrize("train", ["../images/train", "[images/train]", "list.txt"])
def test_other_ways_to_name_pictures(tmp_path: Path, train: str) -> None:
    root = yolo(tmp_path, YAML.replace("train: images/train", f"train: {train}"))
    (root / "list.txt").write_text("".join(f"./images/train/{name}.png\n" for name in "123"))
    assert [example.id for example in Yolo(path=root).examples()][:3] == ["1.png", "2.png", "3.png"]
    assert len(next(Yolo(path=root).examples()).objects or ()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a\ntrain: x", "cannot be read as YAML"),
        ("names: 3\ntrain: images/train", "`names` is 3"),
        ("names: [a]", "names no folder of pictures"),
        ("names: [a]\ntrain: imgs", "imgs does not exist"),
    ],
)
def test_mistakes_in_data_yaml(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Yolo(path=yolo(tmp_path, text)).check()


def test_real_labels(convoy_data: Path) -> None:
    """Against a plain reading of the files."""
    root = convoy_data / "coco128_yolo"
    source = Yolo(path=root)
    source.check()
    examples = list(source.examples())
    lines = [line for file in (root / "labels" / "train2017").glob("*.txt") for line in file.read_text().splitlines()]
    assert len(examples) == len(list((root / "images" / "train2017").iterdir()))
    assert sum(len(example.objects or ()) for example in examples) == len(lines)
    assert "1 picture without a file of labels was taken for background" in source.warnings()[0]
    first = np.array((root / "labels/train2017" / f"{Path(examples[0].id).stem}.txt").read_text().split()[1:5], float)
    box = np.array(examples[0].objects[0].box)  # type: ignore[index]
    np.testing.assert_allclose([*(box[:2] + box[2:]) / 2, *(box[2:] - box[:2])], first, atol=1e-12)


def test_equal_names_in_two_splits_from_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        write(tmp_path / "images" / split / "1.png")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]")
    monkeypatch.chdir(tmp_path)
    found = [(example.id, example.split) for example in Yolo(path=Path()).examples()]
    assert found == [("images/train/1.png", "train"), ("images/val/1.png", "validation")]


def test_pictures_that_are_elsewhere(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / "pictures" / split / "1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.yaml").write_text("path: ../pictures\ntrain: train\nval: val\nnames: [cat]")
    assert [example.id for example in Yolo(path=tmp_path / "set").examples()] == ["train/1.png", "val/1.png"]


def test_a_split_that_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: 5\nnames: [cat]")
    with pytest.raises(DataError, match="`train` is 5, expected a folder"):
        Yolo(path=tmp_path).check()
