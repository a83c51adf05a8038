"""`convoy convert`: there and back again, through every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.detectors.anchors import FittedAnchors
from pipeline.cli import execute
from pipeline.cli_data import usual_count
from pipeline.config import load, load_for_anchors
from pipeline.data.convert import FORMATS, _name, convert
from pipeline.data.example import RawExample
from pipeline.data.sources import SOURCES, DataSource, PascalVoc
from pipeline.data.sources.recognise import recognised
from pipeline.errors import ConfigError, DataError
from pipeline.yaml_file import parse
from tests.conftest import ROOT
from tests.data.pictures import encoded, noise, write
from tests.data.sources.test_coco import SQUARE, coco, content
from tests.data.sources.test_coco import annotation as coco_annotation
from tests.data.sources.test_mot_challenge import sequence, walking
from tests.data.sources.test_voc import annotation, element, voc
from tests.data.sources.test_yolo import yolo

ROUNDING = 1e-3  # pixels


def read(source: dict[str, Any]) -> DataSource:
    return SOURCES[source["kind"]].model_validate(source)


def boxes(source: DataSource) -> dict[str, list[tuple[Any, ...]]]:
    """Name without suffix -> class, box in pixels, marks of each object."""
    found = {}
    for example in source.examples():
        with Image.open(example.image) as picture:
            size = np.array([*picture.size, *picture.size] if example.objects else [1] * 4)
        rows = [
            (one.label, np.array(one.box) * (size if one.unit == "picture" else 1), one.difficult)
            for one in example.objects or ()
        ]
        found[str(Path(example.id).with_suffix(""))] = [(example.split, *row) for row in rows]
    return found


def assert_same(ours: dict[str, Any], theirs: dict[str, Any], *, marks: bool) -> None:
    assert ours.keys() == theirs.keys()
    for name, rows in ours.items():
        for (split, label, box, mark), (their_split, their_label, their_box, their_mark) in zip(
            rows, theirs[name], strict=True
        ):
            assert (split, label) == (their_split, their_label)
            assert mark == their_mark or not marks
            np.testing.assert_allclose(box, their_box, atol=ROUNDING)


@pytest.fixture
def given(tmp_path: Path) -> PascalVoc:
    """Four pictures in two splits: a fractional box, a difficult one, one that reaches out, none."""
    root = voc(tmp_path / "given", {"train": ["1", "2", "3"], "val": ["4"]})
    texts = {
        "1": annotation(element("cat", (1, 2.25, 9.5, 10)), element("dog", (0, 0, 16, 12), difficult=1)),
        "2": annotation(element("dog", (-3, 2, 5, 20))),
        "3": annotation(),
    }
    for name, text in texts.items():
        (root / "Annotations" / f"{name}.xml").write_text(text)
    return PascalVoc(path=root)


def test_round_trip_of_all_formats(given: PascalVoc, tmp_path: Path) -> None:
    source: DataSource = given
    lost = []
    for kind in ("coco", "yolo", "csv_boxes", "pascal_voc"):
        result = convert(source, kind, tmp_path / kind)
        source = read(dict(result.source))
        source.check()
        lost.append((kind, dict(result.lost), result.clipped, result.pictures, result.objects))
    expected = boxes(given)
    expected["2"] = [("train", "dog", np.array([0, 2, 5, 12]), False)]  # cut at the edge
    assert_same(boxes(source), expected, marks=False)
    assert lost == [
        ("coco", {"difficult": 1}, 1, 4, 4),
        ("yolo", {}, 0, 4, 4),
        ("csv_boxes", {}, 0, 4, 4),
        ("pascal_voc", {}, 0, 4, 4),
    ]


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_classes_and_their_order_go_round(given: PascalVoc, tmp_path: Path, first: str, second: str) -> None:
    """Also of classes without an object, and with nothing but the path to read the result by."""
    source: DataSource = given.model_copy(update={"classes": ("wolf", "dog", "cat", "ant 2")})
    for kind, folder in ((first, tmp_path / "first"), (second, tmp_path / "second")):
        convert(source, kind, folder)
        source = read(recognised(folder))
        assert source.model_dump()["kind"] == kind
        assert source.class_names() == ("wolf", "dog", "cat", "ant 2"), kind
    assert_same({"1": boxes(source)["1"]}, {"1": boxes(given)["1"]}, marks=False)


@pytest.mark.parametrize("kind", FORMATS)
def test_pictures_without_any_object_go_round(given: PascalVoc, tmp_path: Path, kind: str) -> None:
    for file in (given.path / "Annotations").iterdir():
        file.write_text(annotation())
    convert(given, kind, tmp_path / kind)
    source = read(recognised(tmp_path / kind))
    assert not source.class_names()
    assert_same(boxes(source), boxes(given), marks=True)


def test_formats_with_marks_keep_them(given: PascalVoc, tmp_path: Path) -> None:
    table = convert(given, "csv_boxes", tmp_path / "table")
    again = convert(read(dict(table.source)), "pascal_voc", tmp_path / "again", pictures="link")
    result = boxes(read(dict(again.source)))
    assert_same(
        {name: rows for name, rows in result.items() if name != "2"},
        {name: rows for name, rows in boxes(given).items() if name != "2"},
        marks=True,
    )
    assert (tmp_path / "again" / "JPEGImages" / "1.png").is_symlink()


def test_names_with_folders_keep_their_boxes(tmp_path: Path) -> None:
    root = tmp_path / "given"
    for place in ("images", "a b"):
        (root / place).mkdir(parents=True)
        Image.new("RGB", (16, 12)).save(root / place / "c d.png")
    rows = ["image,x_min,y_min,x_max,y_max,class", "images/c d.png,1,2,9,10,cat", "a b/c d.png,0,0,4,4,dog"]
    (root / "boxes.csv").write_text("\n".join(rows))
    source = read({"kind": "csv_boxes", "path": str(root / "boxes.csv")})
    for kind in ("yolo", "pascal_voc"):
        again = read(dict(convert(source, kind, tmp_path / kind).source))
        assert sorted(name for rows in boxes(again).values() for _, name, *_ in rows) == ["cat", "dog"], kind


def test_no_name_leads_out_of_the_target() -> None:
    assert _name("//nas/../photos/a.jpg") == "nas/photos/a"
    assert _name("../../etc/a.txt") == "etc/a.txt"


def test_real_boxes_go_round(convoy_data: Path, tmp_path: Path) -> None:
    source: DataSource = PascalVoc(path=convoy_data / "bccd")
    expected = boxes(source)
    left_out = []
    for kind in ("coco", "yolo", "csv_boxes", "pascal_voc"):
        result = convert(source, kind, tmp_path / kind, pictures="link")
        source = read(dict(result.source))
        left_out += result.left_out
    assert [reason for _, reason in left_out] == [
        "the box (181, 329, 181, 329) has no area",
        "the box (504, 337, 504, 337) has no area",
    ]
    good = {name: [row for row in rows if (row[2][:2] < row[2][2:]).all()] for name, rows in expected.items()}
    inside = {
        name: [(split, label, np.clip(box, 0, (640, 480, 640, 480)), mark) for split, label, box, mark in rows]
        for name, rows in good.items()
    }
    assert_same(boxes(source), inside, marks=True)


def test_outlines_and_runs(tmp_path: Path) -> None:
    runs = {"size": [12, 16], "counts": [2 * 12 + 3, 6, 6, 6, 12 * 12 + 3]}
    held = content(coco_annotation(1), coco_annotation(2, iscrowd=1, segmentation=runs, bbox=[2, 3, 2, 6]))
    root = coco(tmp_path / "given", held)
    again = convert(read({"kind": "coco", "path": str(root)}), "coco", tmp_path / "again")
    written = json.loads((tmp_path / "again" / "annotations" / "instances.json").read_text())["annotations"]
    assert [(one["segmentation"], one["area"], one["iscrowd"]) for one in written] == [
        (SQUARE, 36.0, 0),
        (runs, 36.0, 1),
    ]
    yolo = convert(read(dict(again.source)), "yolo", tmp_path / "yolo", outlines=True)
    assert yolo.lost == {"crowd": 1, "area": 1}
    first, second = (tmp_path / "yolo" / "labels" / "train" / "1.txt").read_text().splitlines()
    assert first == "1 0.125 0.25 0.5 0.25 0.5 0.75 0.125 0.75"
    corners = np.array(second.split()[1:], float).reshape(-1, 2) * (16, 12)
    np.testing.assert_allclose([corners.min(0), corners.max(0)], [[2.25, 3.25], [3.75, 8.75]])
    assert convert(read(dict(again.source)), "yolo", tmp_path / "boxes").lost["outline or mask"] == 2


def test_places_are_of_the_upright_picture(tmp_path: Path) -> None:
    """A JPEG that EXIF turns by 90 degrees: its sides change places."""
    root = voc(tmp_path / "given", names=("1",))
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "JPEGImages" / "1.png").unlink()
    (root / "JPEGImages" / "1.jpg").write_bytes(encoded(noise(0), "JPEG", exif=exif))
    convert(PascalVoc(path=root), "yolo", tmp_path / "yolo")
    line = (tmp_path / "yolo" / "labels" / "train" / "1.txt").read_text().split()
    np.testing.assert_allclose([float(cell) for cell in line[1:]], [5.5 / 12, 6.5 / 16, 7 / 12, 7 / 16])


def test_what_cannot_be_used_is_listed(given: PascalVoc, tmp_path: Path) -> None:
    (given.path / "Annotations" / "3.xml").write_text("<annotation>")
    (given.path / "JPEGImages" / "2.png").write_bytes(b"no picture")
    (given.path / "JPEGImages" / "4.png").unlink()
    result = convert(given, "coco", tmp_path / "coco")
    reasons = [reason for _, reason in result.left_out]
    assert "not a picture that can be read" in reasons[0]
    assert "not XML" in reasons[1]
    assert "does not exist" in reasons[2]
    assert (result.pictures, result.objects) == (1, 2)


@pytest.mark.parametrize("kind", FORMATS)
def test_whole_or_not_at_all(given: PascalVoc, tmp_path: Path, kind: str) -> None:
    write(given.path / "JPEGImages" / "deep" / "1.png")

    class Broken(PascalVoc):
        def examples(self) -> Any:
            yield from super().examples()
            yield RawExample("1.jpg", given.path / "JPEGImages" / "1.png", objects=[], where="here")

    with pytest.raises(DataError, match="here: two pictures would be called '1'"):
        convert(Broken(path=given.path), kind, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given"]


def test_nothing_is_written_over(given: PascalVoc) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        convert(given, "yolo", given.path)


def test_what_a_source_passes_over_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo(tmp_path / "pets")
    (root / "labels" / "train" / "1.txt").rename(root / "labels" / "train" / "9.txt")
    assert execute(["convert", str(root), str(tmp_path / "coco"), "--to", "coco"]) == 0
    said = capsys.readouterr().err
    assert "Warning: 1 picture without a file of labels was taken for background" in said
    assert "Warning: 1 file of labels was passed over" in said


def test_anchors_for_a_detector_that_the_present_ones_do_not_suit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three on two levels: what the error names as the remedy works, and gives as many as suit by itself."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "data: {source: {kind: scenes, train: 8, validation: 1, test: 0, height: 64, width: 64}}\n"
        "task:\n  kind: detection\n  picture: {height: 64, width: 64}\n  strides: [8, 16]\n"
        "  detector: {kind: ssd, anchors: {kind: fitted, pixels: [[8, 8], [16, 16], [24, 24]]}}\n"
        "export: {anchored: true}\n"
    )
    with pytest.raises(ConfigError, match="convoy anchors"):
        load(config)
    assert execute(["anchors", str(config), "--run", str(tmp_path / "run"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["width"], answer["height"], len(answer["anchors"])) == (64, 64, 6)


def test_anchors_are_three_for_each_stride(tmp_path: Path) -> None:
    assert usual_count(load_for_anchors(ROOT / "configs" / "scenes_detection.yaml")) == 6
    assert usual_count(load_for_anchors(ROOT / "configs" / "scenes_detection.yaml", ["task.strides=[8,16,32]"])) == 9
    without = tmp_path / "config.yaml"
    without.write_text("data: {source: {kind: scenes}}\n")
    assert usual_count(load_for_anchors(without)) == 9


@pytest.mark.parametrize("kind", ["coco", "pascal_voc", "csv_boxes"])
def test_outlines_instead_of_boxes_are_yolo_s_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert execute(["convert", str(tmp_path), str(tmp_path / "x"), "--to", kind, "--outlines"]) == 2
    assert f"--outlines says what YOLO's files are to hold, but --to is {kind}" in capsys.readouterr().err


def test_from_the_command_line(given: PascalVoc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["convert", str(given.path), str(tmp_path / "yolo"), "--to", "yolo", "--json", "difficult=drop"]
    assert execute(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["pictures"], answer["objects"], answer["clipped"]) == (4, 3, 1)
    config = tmp_path / "config.yaml"
    config.write_text("data: {source: {kind: scenes, train: 2, validation: 1, test: 0, height: 64, width: 64}}\n")
    assert execute(["convert", str(config), str(tmp_path / "scenes"), "--to", "coco", "data.source.train=3"]) == 0
    assert "cannot hold the visible share" in capsys.readouterr().err
    assert (
        execute(["anchors", str(config), "--count", "2", "--size", "64x64", "--run", str(tmp_path / "run"), "--json"])
        == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["anchors"]) == 2
    assert answer["recall"]["0.50"] > 0.4
    assert execute(["anchors", str(config), "--count", "2", "--size", "64x64", "--run", str(tmp_path / "run")]) == 0
    pasted = capsys.readouterr().out.partition("such as retinanet or ssd:")[2]
    settings = parse(pasted, "pasted").data["task"]["detector"]["anchors"]
    assert FittedAnchors.model_validate(settings).pixels == tuple(map(tuple, answer["anchors"]))
    assert execute(["anchors", str(config), "--run", str(tmp_path / "run")]) == 2
    assert "Give --size" in capsys.readouterr().err
    assert execute(["convert", str(given.path), str(tmp_path / "x"), "--to", "yolo", "dificult=drop"]) == 2
    assert "Did you mean 'difficult'" in capsys.readouterr().err


def test_from_motchallenges_sequences(tmp_path: Path) -> None:
    lines = [*walking(2), "1,2,1,1,9,9,1,3,1"]
    sequence(tmp_path / "data" / "street", lines, frames=2)
    command = ["convert", str(tmp_path / "data"), str(tmp_path / "boxes"), "--to", "csv_boxes", "ignored=[]"]
    assert execute([*command, "--from", "mot_challenge"]) == 0
    folder = tmp_path / "boxes"
    found = boxes(read({"kind": "csv_boxes", "path": folder / "boxes.csv", "image_root": folder / "images"}))
    assert [(name, len(rows)) for name, rows in found.items()] == [
        ("street/000001", 1),
        ("street/000002", 1),
    ]
