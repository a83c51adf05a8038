"""Labels that are not known: in the table, the store, the statistics, the loss, the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.stack import keras, tf
from pipeline.data.input import InputSettings, training_batches, validation_batches
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.store import Store
from pipeline.errors import DataError
from pipeline.tasks import TASKS
from tests.contracts.subjects import store_with_holes, tiny_task, weighted
from tests.contracts.tables import WITH_HOLES, write_table
from tests.data.pictures import write

NAN = float("nan")
KINDS = [kind for kind, task in TASKS.items() if task.label_field in WITH_HOLES]


def store_of(folder: Path, content: str, columns: dict[str, Any], **settings: Any) -> Store:
    """A table whose rows are half for training, half for validation, in turns; `_` is an empty cell."""
    rows = content.replace("_", "").split(" ")
    for number in range(1, len(rows)):
        write(folder / f"{number}.png", number)
    lines = [f"image,split,{rows[0]}"]
    lines += [f"{number}.png,{('train', 'val')[(number - 1) % 2]},{row}" for number, row in enumerate(rows[1:], 1)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    source = {"kind": "table", "path": str(folder / "t.csv"), "split_column": "split", **columns}
    data = DataSettings.model_validate({"source": source, "missing_labels": "mask", **settings})
    return prepare(data, folder / "stores")


def read(store: Store, field: str, split: str = "train") -> dict[int, Any]:
    """The training examples' field by the number of the picture."""
    records = tf.data.TFRecordDataset(store.files(split)).map(store.parse).as_numpy_iterator()
    return {int(record["id"].split(b".")[0]): record[field] for record in records}


def test_one_class_is_minus_one(tmp_path: Path) -> None:
    store = store_of(tmp_path, "kind a a b b _ a b b _ _", {"label_column": "kind"})
    assert store.info.class_names == ("a", "b")
    assert read(store, "label") == {1: 0, 3: 1, 5: -1, 7: 1, 9: -1}
    assert store.info.class_counts == {"train": [1, 2], "validation": [2, 2]}
    assert store.info.num_examples == {"train": 5, "validation": 5}
    assert store.statistics()["labels_unknown"] == {"train": 2, "validation": 1}
    assert "Labels are missing in 2 of 5 train, 1 of 5 validation examples" in store.warnings()[0]


COLUMNS = "red,big 1,0 0,1 ?,1 1,-1 ,0 0,? 0,1 1,1"


def test_several_classes_are_not_a_number_each(tmp_path: Path) -> None:
    store = store_of(tmp_path, COLUMNS, {"class_columns": ["red", "big"]})
    assert store.info.class_names == ("red", "big")
    labels = read(store, "labels")
    np.testing.assert_array_equal([labels[number] for number in (1, 3, 5, 7)], [[1, 0], [NAN, 1], [NAN, 0], [0, 1]])
    records = tf.data.TFRecordDataset(store.files("train")).batch(4).get_single_element()
    np.testing.assert_array_equal(store.parse(records)["labels"], list(labels.values()))
    assert store.info.class_counts == {"train": [1, 2], "validation": [2, 2]}
    assert store.statistics()["labels_unknown"] == {"train": 2, "validation": 2}


def test_a_store_that_lacks_nothing_holds_nothing_more(tmp_path: Path) -> None:
    store = store_of(tmp_path, "red,big 1,0 0,1 0,1 1,0", {"class_columns": ["red", "big"]})
    assert store.info.fields == ("id", "image", "labels") and store.warnings() == []
    assert "labels_unknown" not in store.statistics()


def test_numbers_are_not_a_number_and_left_out_of_the_statistics(tmp_path: Path) -> None:
    store = store_of(tmp_path, "x,y 1,2 5,5 ,4 6,6 3, 7,7", {"value_columns": ["x", "y"]})
    values = read(store, "value")
    np.testing.assert_array_equal([values[number] for number in (1, 3, 5)], [[1, 2], [NAN, 4], [3, NAN]])
    assert (store.info.value_mean, store.info.value_std) == ((2.0, 3.0), (1.0, 1.0))
    assert store.statistics()["values"]["train"]["x"] == {"mean": 2.0, "std": 1.0, "min": 1.0, "max": 3.0}


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("kind a b _ b", {"label_column": "kind"}, r"t\.csv:4: the label is empty. .*missing_labels=mask"),
        ("red,big 1,0 0,1 1,? 0,1", {"class_columns": ["red", "big"]}, r"t\.csv:4: .*the picture shows big"),
        ("x 1 2 nan 3", {"value_columns": ["x"]}, r"1 example has .*t\.csv:4 \(nan\).*missing_labels=mask"),
    ],
)
def test_by_default_they_are_refused(tmp_path: Path, content: str, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        store_of(tmp_path, content, columns, missing_labels="refuse")


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("kind a _ b _", {"label_column": "kind"}, "No example of the split 'validation' has a label"),
        ("x,y 1,1 1,2 ,4 ,5 ,6 ,7", {"value_columns": ["y", "x"]}, ""),
        ("x,y ,1 1,2 ,4 ,5", {"value_columns": ["y", "x"]}, "No example of the split 'train' has a value of 'x'"),
        (
            "x inf 1 2 3",
            {"value_columns": ["x"]},
            r"not a finite number: .*\(inf\)\. Correct",
        ),
    ],
)
def test_what_cannot_be_learned_or_judged(tmp_path: Path, content: str, columns: dict[str, Any], message: str) -> None:
    if not message:
        assert store_of(tmp_path, content, columns).info.value_mean == (11 / 3, 1.0)
        return
    with pytest.raises(DataError, match=message):
        store_of(tmp_path, content, columns)


def test_text_that_is_missing_is_empty(tmp_path: Path) -> None:
    columns = {"label_column": "kind", "text_column": "says"}
    store = store_of(tmp_path, "kind,says a,hello a,x b, b,y", columns)
    assert read(store, "text") == {1: b"hello", 3: b""}
    assert store.warnings() == ["1 of 4 examples have no text; they get the empty one."]


# ------------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("pictures"), 60)


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_validation_stay_finite(kind: str, table: Path) -> None:
    store = store_with_holes(TASKS[kind], table)
    task = weighted(tiny_task(kind, store), store)
    model = task.build()
    losses, metrics = task.losses(), task.metrics()
    # so few steps are not worth tracing
    model.compile(keras.optimizers.Adam(0.01), loss=losses, weighted_metrics=metrics, run_eagerly=True)
    batches = training_batches(store, task, (), InputSettings(), 12, seed=1)
    history = model.fit(
        batches,
        steps_per_epoch=3,
        epochs=2,
        validation_data=validation_batches(store, task, "validation", 5),
        verbose=0,
    )
    assert all(np.isfinite(values).all() for values in history.history.values())
    assert all(np.isfinite(weights).all() for weights in model.get_weights())
    assert f"val_{task.monitor.name}" in history.history
