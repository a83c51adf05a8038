"""`convoy init`: what is recognised, what is refused with advice, and that the written file runs."""

from __future__ import annotations

import csv
import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import starting_config
from pipeline.config import Config, loads
from pipeline.data.prepare import prepare
from pipeline.errors import ConfigError, DataError
from pipeline.inspect_folder import inspect


def picture(path: Path, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 50).convert(mode).save(path)
    return path


def class_folders(root: Path, classes: Sequence[str] = ("cat", "dog"), count: int = 12) -> Path:
    for name in classes:
        for index in range(count):
            picture(root / name / f"{index}.png")
    return root


def table(root: Path, header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    with (root / "table.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter).writerows([header, *rows])
    return root / "table.csv"


def written(path: Path) -> Config:
    return loads(starting_config.configuration(inspect(path), Path("found.yaml")))


def test_class_folders_give_a_configuration_that_prepares(tmp_path: Path) -> None:
    config = written(class_folders(tmp_path / "pets"))
    assert config.task.kind == "classification"
    assert (config.task.picture.height, config.task.picture.width, config.task.picture.channels) == (10, 12, 3)
    assert config.task.backbone.kind == "small_resnet"
    store = prepare(config.data, tmp_path / "store")
    assert store.info.class_names == ("cat", "dog")
    assert sum(store.info.num_examples.values()) == 24


def test_split_folders_and_a_wrapping_folder(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets" / "inner" / "train")
    class_folders(tmp_path / "pets" / "inner" / "val", count=3)
    found = inspect(tmp_path / "pets")
    assert found.survey.splits == {"train": 24, "validation": 6}
    assert "splits" not in starting_config.configuration(found, Path("x.yaml")).split("\ntask:")[0].split("data:\n")[1]
    assert written(tmp_path / "pets").data.source.model_dump()["path"] == tmp_path / "pets" / "inner"


def test_large_pictures_get_a_large_network(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "data" / name / "1.jpg", (300, 180))
    config = written(tmp_path / "data")
    assert config.task.backbone.kind == "mobilenet_v2"
    assert config.task.picture.height == config.task.picture.width == 192
    assert config.augment[0].kind == "random_resized_crop"


def test_grey_pictures_give_one_channel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "data" / name / "1.png", mode="L")
    assert written(tmp_path / "data").task.picture.channels == 1


def test_idx(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 5, 6), np.uint8)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as stream:
        stream.write(struct.pack(">BBBBIII", 0, 0, 8, 3, 20, 5, 6) + pixels.tobytes())
    with gzip.open(tmp_path / "train-labels-idx1-ubyte.gz", "wb") as stream:
        stream.write(struct.pack(">BBBBI", 0, 0, 8, 1, 20) + bytes(index % 2 for index in range(20)))
    config = written(tmp_path)
    assert config.data.source.kind == "idx"
    assert config.task.picture.shape == (5, 6, 1)


ROWS = range(12)


@pytest.mark.parametrize(
    ("header", "cells", "task", "settings"),
    [
        (["file", "class"], lambda i: ["ab"[i % 2]], "classification", {"label_column": "class"}),
        (["file", "tags"], lambda i: ["a|b" if i % 3 else "b"], "multi_label", {"labels_column": "tags"}),
        (
            ["file", "tags"],
            lambda i: ["a;b" if i % 3 else "b"],
            "multi_label",
            {"labels_column": "tags", "separator": ";"},
        ),
        (["file", "weight"], lambda i: [i * 1.5], "regression", {"value_columns": ("weight",)}),
        (["file", "grade"], lambda i: [i % 3], "classification", {"label_column": "grade"}),
        (
            ["file", "id", "weight", "name", "part", "genres"],
            lambda i: [i, i * 1.5, f"the {i} name", "train" if i < 9 else "val", "a|b" if i % 2 else "b"],
            "multi_label",
            {"labels_column": "genres", "text_column": "name", "split_column": "part"},
        ),
        (
            ["file", "Patient", "finding"],
            lambda i: [f"the patient number {i}", i % 3],
            "classification",
            {"label_column": "finding", "group_column": "Patient", "text_column": None},
        ),
    ],
)
def test_columns_are_guessed(tmp_path: Path, header: list[str], cells: object, task: str, settings: dict) -> None:
    rows = [[f"pictures/{i}.png", *cells(i)] for i in ROWS]  # type: ignore[operator]
    for i in ROWS:
        picture(tmp_path / "pictures" / f"{i}.png")
    table(tmp_path, header, rows)
    config = written(tmp_path)
    assert config.task.kind == task
    source = config.data.source.model_dump()
    assert {name: source[name] for name in settings} == settings
    assert source["image_column"] == "file"


def test_a_table_by_name_with_another_delimiter_and_its_pictures_elsewhere(tmp_path: Path) -> None:
    for i in ROWS:
        picture(tmp_path / "all" / "pictures" / f"{i}.png")
    path = table(tmp_path / "all", ["label", "image"], [["ab"[i % 2], f"{i}.png"] for i in ROWS], ";")
    source = written(path).data.source.model_dump()
    assert (source["delimiter"], source["image_root"]) == (";", tmp_path / "all" / "pictures")


def test_parquet_with_the_pictures_inside(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    data = [{"bytes": picture(tmp_path / "one.png").read_bytes(), "path": f"{i}.png"} for i in ROWS]
    parquet.write_table(pa.table({"image": data, "label": ["ab"[i % 2] for i in ROWS]}), tmp_path / "t.parquet")
    config = written(tmp_path / "t.parquet")
    assert config.data.source.model_dump()["label_column"] == "label"


def test_other_readings_of_a_table_are_comments(tmp_path: Path) -> None:
    for i in ROWS:
        picture(tmp_path / f"{i}.png")
    path = table(tmp_path, ["image", "label", "weight"], [[f"{i}.png", "ab"[i % 2], i * 1.5] for i in ROWS])
    text = starting_config.configuration(inspect(path), Path("x.yaml"))
    assert "label_column: label" in text
    assert "# instead: value_columns: [weight]    # a number from 0 to 16.5 (regression)" in text


def test_odd_things_are_pointed_out(tmp_path: Path) -> None:
    class_folders(tmp_path / "data", ["images", "masks"], count=20)
    picture(tmp_path / "data" / "rare" / "1.png")
    (tmp_path / "data" / "masks" / "broken.png").write_bytes(b"no picture")
    problems = "\n".join(inspect(tmp_path / "data").problems)
    assert "1 of 42 pictures cannot be opened" in problems
    assert "1 class has fewer than 5 pictures: rare" in problems
    assert "very unequal" in problems
    assert "images, masks look like detection or segmentation" in problems


def test_what_cannot_be_learned_from_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "flat" / "1.png")
    picture(tmp_path / "one" / "only" / "1.png")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "reviews.txt").write_text("good\nbad\n", encoding="utf-8")
    (tmp_path / "numbers").mkdir()
    table(tmp_path / "numbers", ["a", "b"], [[1, 2], [3, 4]])
    (tmp_path / "gone").mkdir()
    table(tmp_path / "gone", ["image", "label"], [["x.png", "a"], ["y.png", "b"]])
    for name, message in {
        "empty": "holds nothing that Convoy can read",
        "text": "holds nothing that Convoy can read",
        "flat": "one folder per class",
        "one": "at least two classes",
        "numbers": "no column names pictures that exist",
        "gone": "names pictures, but they are not there",
        "emtpy": "Did you mean 'empty'",
    }.items():
        with pytest.raises(DataError, match=message):
            inspect(tmp_path / name)


def test_pictures_that_nothing_opens_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the pictures can be opened"):
        inspect(tmp_path)


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    starting_config.write("first", target, force=False)
    with pytest.raises(ConfigError, match="--force"):
        starting_config.write("second", target, force=False)
    assert target.read_text(encoding="utf-8") == "first"
    starting_config.write("second", target, force=True)
    assert target.read_text(encoding="utf-8") == "second"


@pytest.mark.parametrize(
    ("name", "task", "count", "classes"),
    [
        ("flowers", "classification", 500, 5),
        ("fashion_mnist", "classification", 70_000, 10),
        ("movie_posters", "multi_label", 520, 19),
    ],
)
def test_real_data(convoy_data: Path, name: str, task: str, count: int, classes: int) -> None:
    found = inspect(convoy_data / name)
    assert (found.task, found.survey.count, len(found.survey.labels)) == (task, count, classes)
    config = loads(starting_config.configuration(found, Path("x.yaml")))
    config.data.source.check()


@pytest.mark.parametrize("name", ["odd_images", "captcha", "rt_polarity", "omniglot"])
def test_real_data_without_classes(convoy_data: Path, name: str) -> None:
    with pytest.raises(DataError, match="per class"):
        inspect(convoy_data / name)
