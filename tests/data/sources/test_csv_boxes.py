from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.sources import CsvBoxes
from pipeline.data.sources.recognise import recognised
from pipeline.errors import DataError
from tests.data.pictures import write

HEADER = "image,x_min,y_min,x_max,y_max,class,split,difficult,crowd\n"
ROWS = "1.png,2,3,9,10,cat,train,0,1\n2.png,,,,,,val,,\n1.png,0.5,1,4,6,dog,train,1,\n"


def table(root: Path, rows: str = ROWS, header: str = HEADER) -> Path:
    for name in "12":
        write(root / f"{name}.png")
    (root / "boxes.csv").write_text(header + rows)
    return root / "boxes.csv"


def source(file: Path, **settings: object) -> CsvBoxes:
    marks = {"split_column": "split", "difficult_column": "difficult", "crowd_column": "crowd"}
    return CsvBoxes(path=file, **marks, **settings)  # type: ignore[arg-type]


def test_rows_are_gathered_by_picture(tmp_path: Path) -> None:
    held = source(table(tmp_path))
    held.check()
    first, second = held.examples()
    assert (first.id, first.split, second.split, second.objects) == ("1.png", "train", "validation", [])
    assert [(one.label, one.box, one.difficult, one.crowd) for one in first.objects or ()] == [
        ("cat", (2.0, 3.0, 9.0, 10.0), False, True),
        ("dog", (0.5, 1.0, 4.0, 6.0), True, False),
    ]
    assert [one.where for one in first.objects or ()] == [f"{tmp_path}/boxes.csv:2", f"{tmp_path}/boxes.csv:4"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.png,2,3,x,10,cat,train,0,0", "expected four numbers"),
        ("1.png,2,3,9,10,,train,0,0", "it has no class"),
        ("1.png,2,3,9,10,cat,train,maybe,0", "its marks are neither 0 nor 1"),
        ("1.png,2,3", "expected four numbers"),
    ],
)
def test_broken_rows_are_set_aside(tmp_path: Path, row: str, message: str) -> None:
    bad, good = next(source(table(tmp_path, f"{row}\n1.png,2,3,9,10,cat,train,0,0\n")).examples()).objects or ()
    assert message in bad.unusable
    assert good.unusable == ""


def test_rows_without_a_picture_are_counted(tmp_path: Path) -> None:
    held = source(table(tmp_path, ROWS + ",1,2,3,4,cat,train,0,0\n"))
    assert held.warnings() == [f"1 row was passed over, since it names no picture: {tmp_path}/boxes.csv:5."]
    assert len(list(held.examples())) == 2


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (HEADER.replace("x_max", "xmax"), ROWS, r"box_columns: .*no column 'x_max'\. Did you mean 'xmax'"),
        (HEADER, ROWS.replace("png", "jpg"), r"None of the first 2 pictures exists.*image_root"),
        (HEADER, ROWS.replace("train", "trian"), "the split 'trian' is unknown. Did you mean 'train'"),
        ("", "", "no column 'image'"),
    ],
)
def test_mistakes(tmp_path: Path, header: str, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        source(table(tmp_path, rows, header)).check()


def test_classes_in_a_file_beside_it(tmp_path: Path) -> None:
    """In their order, with those that no row shows; a setting goes before them, and a change makes another store."""
    file = table(tmp_path)
    assert source(file).class_names() is None
    before = source(file).fingerprint()
    (tmp_path / "classes.txt").write_text("dog\n\n tree frog \ncat\n")
    assert source(file).class_names() == ("dog", "tree frog", "cat")
    assert source(file, classes=("cat", "dog")).class_names() == ("cat", "dog")
    assert source(file).fingerprint() != before


@pytest.mark.parametrize(
    ("text", "message"),
    [("\n", "classes.txt names no class. Expected one a line"), ("cat\ndog\ncat\n", "names cat more than once")],
)
def test_a_file_of_classes_that_says_nothing_sure(tmp_path: Path, text: str, message: str) -> None:
    file = table(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        source(file).check()


def test_cells_are_data_and_no_settings(tmp_path: Path) -> None:
    write(tmp_path / "~1.png")
    file = table(tmp_path, "~1.png,2,3,9,10,cat,train,0,0\n${HOME}.png,2,3,9,10,cat,train,0,0\n")
    assert [example.image for example in source(file).examples()] == [tmp_path / "~1.png", tmp_path / "${HOME}.png"]


def test_edges_as_shares_are_recognised(tmp_path: Path) -> None:
    assert recognised(table(tmp_path, "1.png,0.25,0.5,0.75,1,cat,train,0,0\n"))["unit"] == "picture"
    assert "unit" not in recognised(table(tmp_path))
