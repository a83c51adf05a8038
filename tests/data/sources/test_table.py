from __future__ import annotations

import math
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from pipeline.data.sources import Table
from pipeline.errors import DataError
from tests.data.pictures import encoded, noise, write


def table(folder: Path, text: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    write(folder / "1.png")
    write(folder / "2.png", 1)
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_single_label_with_text_and_split(tmp_path):
    path = table(tmp_path, 'image,kind,title,part\n1.png, cat ,"A, b",train\n2.png,dog,,val\n1.png,cat,x,\n')
    source = Table(path=path, label_column="kind", text_column="title", split_column="part")
    source.check()
    first, second, third = source.examples()
    assert (first.id, first.label, first.text, first.split) == ("1.png", "cat", "A, b", "train")
    assert (first.image, first.where) == (tmp_path / "1.png", f"{path}:2")
    assert (second.label, second.text, second.split, third.split) == ("dog", "", "validation", None)
    assert first.labels is None
    assert first.value is None


def test_groups(tmp_path):
    (tmp_path / "t.csv").write_text("image,kind,patient\n0.png,a,p1\n1.png,b,p1\n2.png,b,\n")
    found = Table(path=tmp_path / "t.csv", label_column="kind", group_column="patient").examples()
    assert [example.group for example in found] == ["p1", "p1", ""]


def test_multi_label_with_its_separator(tmp_path):
    path = table(tmp_path, "image,genres\n1.png,a| b |a\n2.png,\n")
    assert [example.labels for example in Table(path=path, labels_column="genres").examples()] == [["a", "b", "a"], []]
    semicolons = table(tmp_path, "image,genres\n1.png,a;b\n")
    assert [row.labels for row in Table(path=semicolons, labels_column="genres", separator=";").examples()] == [
        ["a", "b"]
    ]


def test_numbers(tmp_path):
    path = table(tmp_path, "image,x,y\n1.png,1e-3,2\n2.png,,inf\n")
    source = Table(path=path, value_columns=("x", "y"))
    first, second = (example.value for example in source.examples())
    assert first == [0.001, 2.0]
    assert math.isnan(second[0])
    assert second[1] == math.inf
    assert source.value_names() == ("x", "y")


def test_an_empty_label_is_not_known(tmp_path):
    path = table(tmp_path, "image,kind\n1.png,a\n2.png, \n")
    assert [row.label for row in Table(path=path, label_column="kind").examples()] == ["a", ""]


def test_a_column_for_each_class(tmp_path):
    path = table(tmp_path, "image,oedema,fracture\n1.png,1.0,0\n2.png,,yes\n3.png,-1.0,?\n4.png,False,nan\n")
    source = Table(path=path, class_columns=("fracture", "oedema"))
    rows = list(source.examples())
    assert source.class_names() == ("fracture", "oedema")
    assert [row.labels for row in rows] == [["oedema"], ["fracture"], [], []]
    assert [row.labels_unknown for row in rows] == [[], ["oedema"], ["fracture", "oedema"], ["fracture"]]
    with pytest.raises(DataError, match=r"class_columns: .*no column 'edema'.*Did you mean 'oedema'"):
        Table(path=path, class_columns=("edema",)).check()
    with pytest.raises(DataError, match=r"labels\.csv:2: the column 'a' holds '2', expected 1 \(shown\)"):
        list(Table(path=table(tmp_path, "image,a\n1.png,2\n"), class_columns=("a",)).examples())


def test_number_that_is_none_names_file_and_line(tmp_path):
    path = table(tmp_path, "image,x\n1.png,1\n2.png,many\n")
    with pytest.raises(DataError, match=r"labels\.csv:3: the column 'x' holds 'many', expected a number"):
        list(Table(path=path, value_columns=("x",)).examples())


def test_encodings_and_delimiters(tmp_path):
    path = table(tmp_path, "image;kind\n1.png;café\n", encoding="cp1252")
    source = Table(path=path, label_column="kind", delimiter=";", encoding="cp1252")
    assert next(iter(source.examples())).label == "café"
    with pytest.raises(DataError, match=r"encoding 'utf-8-sig'.*cp1252"):
        list(Table(path=path, label_column="kind", delimiter=";").examples())
    with pytest.raises(DataError, match="encoding 'utf-9'"):
        Table(path=path, label_column="kind", encoding="utf-9").check()
    marked = table(tmp_path, "\ufeffimage\tkind\n1.png\tx\n", name="marked.tsv")
    assert next(iter(Table(path=marked, label_column="kind").examples())).label == "x"


def test_absent_column_names_the_nearest(tmp_path):
    path = table(tmp_path, "image,genre\n1.png,x\n")
    with pytest.raises(DataError, match=r"data\.source\.labels_column: .*no column 'genres'.*Did you mean 'genre'"):
        Table(path=path, labels_column="genres").check()
    with pytest.raises(DataError, match=r"data\.source\.image_column: .*no column 'file'"):
        Table(path=path, image_column="file").check()


def test_empty_table_empty_cell_ragged_row_unknown_split(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        Table(path=table(tmp_path, "image,kind\n"), label_column="kind").check()
    with pytest.raises(DataError, match=r":2: the column 'image' is empty"):
        list(Table(path=table(tmp_path, "image,kind\n,a\n"), label_column="kind").examples())
    with pytest.raises(DataError, match=r":2: 3 cells, but the header names 2"):
        list(Table(path=table(tmp_path, "image,kind\n1.png,a,b\n"), label_column="kind").examples())
    with pytest.raises(DataError, match=r":2: the split 'trian' is unknown. Did you mean 'train'"):
        list(Table(path=table(tmp_path, "image,s\n1.png,trian\n"), split_column="s").examples())


def test_wrong_picture_folder_is_found_at_once(tmp_path):
    path = table(tmp_path, "image,kind\na/1.png,x\na/2.png,y\n")
    with pytest.raises(DataError, match=r"None of the first 2 pictures.*image_root"):
        Table(path=path, label_column="kind").check()
    write(tmp_path / "elsewhere" / "a" / "1.png")
    Table(path=path, label_column="kind", image_root=tmp_path / "elsewhere").check()


def test_only_one_target():
    with pytest.raises(ValidationError, match="one of `label_column`"):
        Table(path=Path("x.csv"), label_column="a", value_columns=("b",))


def test_parquet_with_bytes_lists_and_numbers(tmp_path):
    pictures = [encoded(noise(seed)) for seed in range(2)]
    columns = {
        "image": [{"bytes": data, "path": f"{number}.png"} for number, data in enumerate(pictures)],
        "raw": pictures,
        "tags": [["a", "b"], []],
        "class": [3, 11],
        "x": [0.5, None],
    }
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    tags = list(Table(path=path, labels_column="tags").examples())
    assert [(row.id, row.image, row.labels) for row in tags] == [
        ("0.png", pictures[0], ["a", "b"]),
        ("1.png", pictures[1], []),
    ]
    classes = list(Table(path=path, image_column="raw", label_column="class").examples())
    assert [(row.id, row.label, row.image) for row in classes] == [("1", "3", pictures[0]), ("2", "11", pictures[1])]
    numbers = [row.value[0] for row in Table(path=path, value_columns=("x",)).examples()]
    assert numbers[0] == 0.5
    assert math.isnan(numbers[1])
    with pytest.raises(DataError, match="no column 'clas'"):
        Table(path=path, label_column="clas").check()


def test_damaged_parquet(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a Parquet file"):
        Table(path=tmp_path / "rows.parquet").check()


def test_fingerprint_follows_table_and_pictures(tmp_path):
    source = Table(path=table(tmp_path, "image,kind\n1.png,a\n2.png,b\n"), label_column="kind")
    seen = {source.fingerprint()}
    (tmp_path / "2.png").write_bytes(encoded(noise(9, 20, 20)))
    seen.add(source.fingerprint())
    table(tmp_path, "image,kind\n1.png,a\n2.png,cc\n")
    assert len(seen | {source.fingerprint()}) == 3


def test_movie_posters(convoy_data):
    source = Table(path=convoy_data / "movie_posters" / "labels.csv", labels_column="genres", text_column="title")
    source.check()
    examples = list(source.examples())
    assert len(examples) == 520
    assert all(example.image.is_file() and example.text for example in examples)
