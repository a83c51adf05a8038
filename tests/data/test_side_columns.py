"""Numbers and categories beside the picture: filled from the training examples, with what was known beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from models.stack import keras, tf
from pipeline.augment.mixing import MixUp
from pipeline.config import loads
from pipeline.data.beam import BeamSettings
from pipeline.data.input import InputSettings, evaluation_batches, training_batches
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.store import Store
from pipeline.errors import ConfigError, DataError
from pipeline.tasks.classification import Classification
from tests.data.pictures import write

ROWS = [
    "a,train,1,10,ward,x",
    "b,train,,20,ward,x",
    "a,train,2,,,x",
    "b,train,9,10,home,",
    "a,val,,,,z",
    "b,val,5,30,street,x",
]
COLUMNS = {"label_column": "kind", "number_columns": ["age", "dose"], "category_columns": ["place", "scanner"]}


def table(folder: Path, rows: list[str] = ROWS) -> Path:
    """Pictures 0.png, 1.png ... and a table with two columns of numbers and two of categories."""
    lines = [f"{number}.png,{row}" for number, row in enumerate(rows)]
    for number in range(len(rows)):
        write(folder / f"{number}.png", number)
    file = folder / "t.csv"
    file.write_text("\n".join(["image,kind,split,age,dose,place,scanner", *lines]) + "\n")
    return file


def settings(file: Path, **more: Any) -> DataSettings:
    source = {"kind": "table", "path": str(file), "split_column": "split", **COLUMNS}
    return DataSettings.model_validate({"source": source, **more})


def read(store: Store, split: str) -> dict[int, dict[str, Any]]:
    """The examples of a split by the number of their picture."""
    records = tf.data.TFRecordDataset(store.files(split)).map(store.parse).as_numpy_iterator()
    return {int(record["id"].split(b".")[0]): record for record in records}


def test_filled_from_the_training_examples_alone(tmp_path: Path) -> None:
    store = prepare(settings(table(tmp_path)), tmp_path / "stores")
    info = store.info
    assert (info.number_names, info.number_fill) == (("age", "dose"), (4.0, 40 / 3))
    np.testing.assert_allclose(info.number_mean, [4, 40 / 3])
    np.testing.assert_allclose(info.number_std, [np.std([1, 2, 9]), np.std([10, 20, 10])])
    assert info.category_values == (("home", "ward"), ("x",)) and info.category_fill == (1, 0)
    train, validation = read(store, "train"), read(store, "validation")
    np.testing.assert_allclose([train[n]["numbers"] for n in range(4)], [[1, 10], [4, 20], [2, 40 / 3], [9, 10]])
    known = [train[n]["numbers_known"].tolist() for n in range(4)]
    assert known == [[True, True], [False, True], [True, False], [True, True]]
    assert [train[n]["categories"].tolist() for n in range(4)] == [[1, 0], [1, 0], [1, 0], [0, 0]]
    assert train[2]["categories_known"].tolist() == [False, True]
    np.testing.assert_allclose(validation[4]["numbers"], [4, 40 / 3])
    assert not validation[4]["numbers_known"].any() and not validation[4]["categories_known"].any()
    assert validation[5]["categories"].tolist() == [1, 0]  # no training example shows a street
    assert validation[5]["categories_known"].tolist() == [False, True]


def test_records_hold_what_came(tmp_path: Path) -> None:
    store = prepare(settings(table(tmp_path)), tmp_path / "stores")
    builder = tfds.builder_from_directory(store.path)
    raw = {row["id"]: row for row in tfds.as_numpy(builder.as_dataset(split="train"))}
    np.testing.assert_array_equal(raw[b"1.png"]["numbers"], [np.nan, 20])
    assert raw[b"2.png"]["categories"].tolist() == [-1, 0]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    store = prepare(settings(table(tmp_path)), tmp_path / "stores")
    assert store.statistics()["columns_unknown"] == {
        "age": {"train": 1, "validation": 1},
        "dose": {"train": 1, "validation": 1},
        "place": {"train": 1, "validation": 2},
        "scanner": {"train": 1, "validation": 1},
    }
    assert store.warnings()[:3] == [
        "The column 'age' is not known in 1 train, 1 validation examples; 4 takes its place.",
        "The column 'dose' is not known in 1 train, 1 validation examples; 13.3333 takes its place.",
        "The column 'place' is not known in 1 train, 2 validation examples; 'ward' takes its place.",
    ]
    assert "'place' holds what no training example has: street" in store.warnings()[4]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [("mean", 4.0), ("median", 2.0), ("most_frequent", 1.0), ({"kind": "constant", "value": -7.5}, -7.5)],
)
def test_ways_to_fill_numbers(tmp_path: Path, numbers: Any, expected: float) -> None:
    text = f"""
data:
  source: {{kind: table, path: {table(tmp_path)}, label_column: kind, number_columns: [age, dose]}}
  missing_columns: {{number_columns: {{age: {numbers if isinstance(numbers, str) else dict(numbers)}}}}}
task: classification
"""
    data = loads(text).data
    data = data.model_copy(update={"source": data.source.model_copy(update={"split_column": "split"})})
    assert prepare(data, tmp_path / "stores").info.number_fill == (expected, 40 / 3)


def test_a_category_of_its_own(tmp_path: Path) -> None:
    unknown = {"category_columns": {"place": {"kind": "constant", "value": "unknown"}}}
    info = prepare(settings(table(tmp_path), missing_columns=unknown), tmp_path / "stores").info
    assert info.category_values[0] == ("home", "unknown", "ward") and info.category_fill == (1, 0)


def test_nothing_missing_nothing_said(tmp_path: Path) -> None:
    rows = ["a,train,1,1,u,x", "b,train,2,1,v,y", "a,val,1,1,u,x", "b,val,1,1,u,x"]
    store = prepare(settings(table(tmp_path, rows)), tmp_path / "stores")
    assert store.warnings() == [] and "columns_unknown" not in store.statistics()
    assert store.info.number_std == (0.5, 1.0)
    assert all(record["numbers_known"].all() for record in read(store, "train").values())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ((0, "a,train,inf,10,ward,x"), DataError, r"t\.csv:2: the column 'age' holds inf.*finite"),
        ((0, "a,train,old,10,ward,x"), DataError, r"t\.csv:2: the column 'age' holds 'old', expected a number"),
        (({"number_columns": {"ago": {"kind": "median"}}}), ConfigError, r"names 'ago'.*Did you mean 'age'"),
    ],
)
def test_mistakes(tmp_path: Path, change: Any, error: type[Exception], message: str) -> None:
    rows, more = list(ROWS), {}
    if isinstance(change, dict):
        more = {"missing_columns": change}
    else:
        rows[change[0]] = change[1]
    with pytest.raises(error, match=message):
        prepare(settings(table(tmp_path, rows), **more), tmp_path / "stores")


def test_a_column_without_anything(tmp_path: Path) -> None:
    empty = ["a,train,,1,u,x", "b,train,,1,u,x", "a,val,3,1,u,x", "b,val,3,1,u,x"]
    with pytest.raises(DataError, match=r"No training example has a number in the column 'age'.*constant"):
        prepare(settings(table(tmp_path, empty)), tmp_path / "stores")
    zero = {"numbers": {"kind": "constant", "value": 0}}
    store = prepare(settings(table(tmp_path, empty), missing_columns=zero), tmp_path / "stores")
    assert (store.info.number_fill[0], store.info.number_mean[0], store.info.number_std[0]) == (0, 0, 1)
    nowhere = [row.replace(",u,", ",,") for row in empty]
    with pytest.raises(DataError, match="No training example has anything in the column 'place'"):
        prepare(settings(table(tmp_path, nowhere), missing_columns=zero), tmp_path / "stores")


def test_the_same_on_beam(tmp_path: Path) -> None:
    pytest.importorskip("apache_beam")
    here = settings(table(tmp_path))
    beam = BeamSettings(options={"direct_running_mode": "in_memory"})
    there = here.model_copy(update={"beam": beam})
    stores = [prepare(one, tmp_path / name) for one, name in ((here, "a"), (there, "b"))]
    for files in zip(*(sorted(store.path.iterdir()) for store in stores), strict=True):
        assert files[0].read_bytes() == files[1].read_bytes(), files[0].name


class BesidePictures(Classification):
    """What a task of several kinds of input will be: the picture, the numbers, and which of them were there."""

    def encode(self, examples: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs, targets = super().encode(examples)
        known = tf.cast(tf.concat([examples["numbers_known"], examples["categories_known"]], -1), tf.float32)
        beside = {"numbers": examples["numbers"], "categories": examples["categories"], "known": known}
        return {**inputs, **beside}, targets


@pytest.mark.parametrize("cache", ["decoded", "encoded", "none"])
def test_they_reach_a_model(tmp_path: Path, cache: Any) -> None:
    store = prepare(settings(table(tmp_path)), tmp_path / "stores")
    task = BesidePictures(picture={"height": 8, "width": 8}).resolve(store.info)
    batches = training_batches(store, task, (MixUp(),), InputSettings(cache=cache), 4, seed=0)
    inputs = {
        name: keras.Input(spec.shape[1:], dtype=spec.dtype, name=name) for name, spec in batches.element_spec[0].items()
    }
    floats = [tf.cast(keras.layers.Flatten()(one), tf.float32) for one in inputs.values()]
    model = keras.Model(inputs, {"logits": keras.layers.Dense(2, name="logits")(tf.concat(floats, -1))})
    model.compile("sgd", loss=task.losses(), run_eagerly=True)  # two steps are not worth tracing
    history = model.fit(batches, steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    first = next(iter(batches.as_numpy_iterator()))[0]
    assert np.isfinite(first["numbers"]).all() and first["categories"].min() >= 0
    padded = next(evaluation_batches(store, task, "validation", 4).as_numpy_iterator())
    assert padded["numbers_known"].dtype == bool and padded["real"].tolist() == [True, True, False, False]
