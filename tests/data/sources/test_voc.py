from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.data.example import RawExample
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import PascalVoc
from pipeline.data.sources.xml_lines import read_xml
from pipeline.diagnosis import DoctorSettings
from pipeline.diagnosis.examine import Subject, examine
from pipeline.errors import DataError
from tests.data.pictures import write

BOX = (2, 3, 9, 10)


def element(name: str = "cat", box: tuple[float, ...] = BOX, difficult: int = 0) -> str:
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object>\n<name>{name}</name>\n<difficult>{difficult}</difficult>\n<bndbox>{corners}</bndbox>\n</object>\n"


def annotation(*elements: str) -> str:
    return "<annotation>\n<filename>elsewhere/other.jpg</filename>\n" + "".join(elements) + "</annotation>\n"


def voc(root: Path, sets: dict[str, list[str]] | None = None, names: tuple[str, ...] = ("1", "2", "3", "4")) -> Path:
    (root / "Annotations").mkdir(parents=True)
    for name in names:
        write(root / "JPEGImages" / f"{name}.png")
        (root / "Annotations" / f"{name}.xml").write_text(annotation(element()))
    for name, members in (sets or {}).items():
        file = root / "ImageSets" / "Main" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{member}\n" for member in members))
    return root


def splits(source: PascalVoc) -> dict[str, str | None]:
    source.check()
    return {example.id: example.split for example in source.examples()}


def only(source: PascalVoc) -> RawExample:
    (example,) = source.examples()
    return example


def test_objects_with_their_lines(tmp_path: Path) -> None:
    voc(tmp_path, names=("1",))
    file = tmp_path / "Annotations" / "1.xml"
    file.write_text(annotation(element(), element("dog", (0, 0.5, 4.5, 6), difficult=1)))
    example = only(PascalVoc(path=tmp_path))
    assert (example.id, example.where, example.image) == ("1", str(file), tmp_path / "JPEGImages" / "1.png")
    assert example.objects is not None
    assert [(one.label, one.box, one.difficult, one.where) for one in example.objects] == [
        ("cat", (2.0, 3.0, 9.0, 10.0), False, f"{file}:3"),
        ("dog", (0.0, 0.5, 4.5, 6.0), True, f"{file}:8"),
    ]


def test_the_challenge_counts_pixels_from_1(tmp_path: Path) -> None:
    voc(tmp_path, names=("1",))
    objects = only(PascalVoc(path=tmp_path, first_pixel=1)).objects
    assert objects and objects[0].box == (1.0, 2.0, 9.0, 10.0)


def test_difficult_objects_can_be_dropped(tmp_path: Path) -> None:
    voc(tmp_path, names=("1",))
    (tmp_path / "Annotations" / "1.xml").write_text(annotation(element(), element("dog", difficult=1)))
    assert [one.label for one in only(PascalVoc(path=tmp_path, difficult="drop")).objects or ()] == ["cat"]


def test_a_picture_without_objects_has_none(tmp_path: Path) -> None:
    voc(tmp_path, names=("1",))
    (tmp_path / "Annotations" / "1.xml").write_text(annotation())
    assert only(PascalVoc(path=tmp_path)).objects == []


def test_sets_are_splits(tmp_path: Path) -> None:
    voc(tmp_path, {"train": ["1"], "val": ["2  1"], "test": ["3"], "cat_train": ["4"]})
    source = PascalVoc(path=tmp_path)
    assert splits(source) == {"1": "train", "2": "validation", "3": "test"}
    assert source.warnings() == [
        f"1 picture was passed over, since no file of ImageSets/Main names it: {tmp_path}/JPEGImages/4.png."
    ]


def test_trainval_is_for_what_the_others_do_not_name(tmp_path: Path) -> None:
    both = voc(tmp_path / "both", {"train": ["1"], "val": ["2"], "trainval": ["1", "2", "3"]})
    assert splits(PascalVoc(path=both)) == {"1": "train", "2": "validation", "3": "train"}
    alone = voc(tmp_path / "alone", {"trainval": ["1", "2"], "test": ["3"]})
    assert splits(PascalVoc(path=alone)) == {"1": "train", "2": "train", "3": "test"}


def test_folders_with_pictures_and_xml_side_by_side(tmp_path: Path) -> None:
    for name in ("train/1", "valid/2", "test/deep/3"):
        write(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.xml").write_text(annotation(element()))
    write(tmp_path / "train" / "4.png")
    source = PascalVoc(path=tmp_path)
    assert splits(source) == {"train/1": "train", "valid/2": "validation", "test/deep/3": "test"}
    assert all(example.image.is_file() for example in source.examples())
    assert "1 picture was passed over, since it has no XML file" in source.warnings()[0]


def test_one_flat_folder_has_no_splits(tmp_path: Path) -> None:
    for name in "12":
        write(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.xml").write_text(annotation(element()))
    assert splits(PascalVoc(path=tmp_path)) == {"1": None, "2": None}


def test_a_picture_without_annotation_is_told_from_one_without_objects(tmp_path: Path) -> None:
    voc(tmp_path, {"train": ["1", "9"]})
    known, unknown = PascalVoc(path=tmp_path).examples()
    assert known.objects
    assert unknown.unusable == "no file of labels belongs to it"
    assert unknown.where == f"{tmp_path}/ImageSets/Main/train.txt:2"
    _, background = PascalVoc(path=tmp_path, without_labels="background").examples()
    assert (background.unusable, background.objects) == ("", ())


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("<annotation>\n<object>\n</annotation>", 3, "not XML: mismatched tag"),
        (annotation(element())[:-30], 6, "not XML: unclosed token"),
        ('<!DOCTYPE a [\n<!ENTITY x "y">\n<!ENTITY z "&x;&x;">]>\n<annotation>&z;</annotation>', 2, "entities"),
        ('<!DOCTYPE a [\n<!ENTITY x SYSTEM "file:///etc/hostname">]>\n<annotation>&x;</annotation>', 2, "entities"),
    ],
)
def test_a_file_that_cannot_be_read_sets_its_picture_aside(
    tmp_path: Path, content: str, line: int, message: str
) -> None:
    voc(tmp_path, names=("1", "2"))
    file = tmp_path / "Annotations" / "1.xml"
    file.write_text(content)
    source = PascalVoc(path=tmp_path)
    source.check()
    bad, good = source.examples()
    assert re.search(rf"{re.escape(str(file))}:{line}: .*{message}", bad.unusable)
    assert (good.unusable, len(good.objects or ())) == ("", 1)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("<object>\n<name> </name></object>", "it has no name"),
        ("<object><name>cat</name>\n</object>", "expected a bndbox"),
        (element().replace("9", "nine"), "expected a bndbox"),
    ],
)
def test_a_broken_object_is_set_aside_with_its_line(tmp_path: Path, broken: str, message: str) -> None:
    voc(tmp_path, names=("1",))
    file = tmp_path / "Annotations" / "1.xml"
    file.write_text(annotation(broken, element("dog")))
    bad, good = only(PascalVoc(path=tmp_path)).objects or ()
    assert message in bad.unusable
    assert bad.where == f"{file}:3"
    assert (good.label, good.unusable) == ("dog", "")


def test_other_classes_are_refused_or_left_out(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "Annotations" / "1.xml").write_text(annotation(element(), element("dgo")))
    settings = DataSettings(source=PascalVoc(path=tmp_path, classes=("cat", "dog")), missing_classes="warn")
    with pytest.raises(DataError, match=r"1\.xml:8: the class 'dgo' .*Did you mean 'dog'.*other_classes=leave_out"):
        prepare(settings, tmp_path / "refused")
    chosen = PascalVoc(path=tmp_path, classes=("cat",), other_classes="leave_out")
    store = prepare(DataSettings(source=chosen), tmp_path / "stores")
    assert [row["reason"] for row in store.objects_left_out()] == ["its class 'dgo' is not one of data.source.classes"]
    assert sum(map(sum, store.info.class_counts.values())) == 4


def test_set_aside_pictures_are_in_the_quarantine(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "Annotations" / "3.xml").write_text("<annotation><object>")
    source = PascalVoc(path=tmp_path)
    with pytest.raises(DataError, match=r"1 of 4 so far, data\.max_bad_pictures=0\.05"):
        prepare(DataSettings(source=source), tmp_path / "refused")
    store = prepare(DataSettings(source=source, max_bad_pictures=1), tmp_path / "stores")
    assert [(row["id"], row["reason"].rpartition(":")[2]) for row in store.quarantine()] == [
        ("3", " no element found.")
    ]
    diagnosis = examine(Subject(source), DoctorSettings())
    assert "no element found" in diagnosis.by_kind()["unusable_picture"][0].what


def test_an_element_knows_its_line(tmp_path: Path) -> None:
    file = tmp_path / "x.xml"
    file.write_text('<?xml version="1.0"?>\n<a>\n<!-- two\nlines -->\n<b>t&amp;u</b></a>')
    root = read_xml(file)
    assert [(one.tag, one.get("line"), (one.text or "").strip()) for one in root.iter()] == [
        ("a", "2", ""),
        ("b", "5", "t&u"),
    ]


def test_a_folder_without_annotations(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    with pytest.raises(DataError, match="holds no Pascal VOC annotations"):
        PascalVoc(path=tmp_path).check()


def test_the_fingerprint_follows_annotations_pictures_and_sets(tmp_path: Path) -> None:
    voc(tmp_path, {"train": ["1", "2"], "val": ["3"]})
    source = PascalVoc(path=tmp_path)
    seen = {source.fingerprint()}
    assert {source.fingerprint()} == seen
    (tmp_path / "Annotations" / "1.xml").write_text(annotation(element("dog")))
    seen.add(source.fingerprint())
    (tmp_path / "JPEGImages" / "2.png").write_bytes(b"other")
    seen.add(source.fingerprint())
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("3\n4\n")
    seen.add(source.fingerprint())
    assert len(seen) == 4


def test_bccd_by_independent_counting(convoy_data: Path) -> None:
    """Counted by searching the XML as text."""
    root = convoy_data / "bccd"
    expected: Counter[tuple[str, str]] = Counter()
    for split, name in (("train", "train"), ("validation", "val")):
        for identity in (root / "ImageSets" / "Main" / f"{name}.txt").read_text().split():
            text = (root / "Annotations" / f"{identity}.xml").read_text()
            expected.update((split, label) for label in re.findall(r"<name>(.*?)</name>", text))
    source = PascalVoc(path=root)
    source.check()
    examples = list(source.examples())
    assert Counter((str(example.split), one.label) for example in examples for one in example.objects or ()) == expected
    assert sum(expected.values()) == 3943
    assert len(examples) == 292
    assert source.warnings() == []
    for example in examples[:20]:
        for one in example.objects or ():
            file, _, line = one.where.rpartition(":")
            assert Path(file).read_text().splitlines()[int(line) - 1].strip() == "<object>"
