from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from models.stack import tf
from pipeline.data.prepare import DataSettings, prepare, store_key
from pipeline.data.sources import ClassFolders, Digits, Table
from pipeline.data.splits import Splits
from pipeline.data.store import Store
from pipeline.errors import DataError
from tests.data.pictures import class_folders, encoded, noise, write

HALF = Splits(validation=0.5, test=0)


def folders(path: Path, **settings) -> DataSettings:
    return DataSettings(source=ClassFolders(path=path), **settings)


def numbers_table(folder: Path, values: list[str]) -> DataSettings:
    for number in range(len(values)):
        write(folder / f"{number}.png", number)
    rows = "".join(f"{number}.png,{value}\n" for number, value in enumerate(values))
    (folder / "t.csv").write_text("image,x\n" + rows)
    return DataSettings(source=Table(path=folder / "t.csv", value_columns=("x",)), splits=HALF)


def labels_table(folder: Path, labels: list[str], **settings) -> DataSettings:
    for number in range(len(labels)):
        write(folder / f"{number}.png", number)
    (folder / "t.csv").write_text("image,y\n" + "".join(f"{n}.png,{names}\n" for n, names in enumerate(labels)))
    return DataSettings(source=Table(path=folder / "t.csv", labels_column="y"), splits=HALF, **settings)


def read(store: Store, split: str) -> list[dict[str, np.ndarray]]:
    return list(tf.data.TFRecordDataset(store.files(split)).map(store.parse).as_numpy_iterator())


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.endswith(".lock")] if folder.exists() else []


def test_class_folders_to_a_store(tmp_path):
    root = class_folders(tmp_path / "data", {"train/cat": 3, "train/dog": 2, "val/cat": 1, "val/dog": 1})
    store = prepare(folders(root), tmp_path / "stores")
    info = store.info
    assert info.fields == ("id", "image", "label")
    assert (info.class_names, info.num_examples) == (("cat", "dog"), {"train": 5, "validation": 2})
    assert info.class_counts == {"train": [3, 2], "validation": [1, 1]}
    assert info.picture_sizes == {"train": (12, 16, 12, 16), "validation": (12, 16, 12, 16)}
    examples = {row["id"].decode(): row for row in read(store, "train") + read(store, "validation")}
    assert len(examples) == 7
    assert examples["train/dog/1.png"]["label"] == 1
    assert examples["train/dog/1.png"]["image"] == (root / "train" / "dog" / "1.png").read_bytes()
    assert info.image_bytes["train"] == sum(len(row["image"]) for row in read(store, "train"))


def test_tfds_reads_the_store(tmp_path):
    table = labels_table(tmp_path, ["a|b", "", "b", "a", "a", "b"])
    source = table.source.model_copy(update={"text_column": "y"})
    store = prepare(table.model_copy(update={"source": source}), tmp_path / "stores")
    builder = tfds.builder_from_directory(store.path)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == store.info.num_examples
    assert builder.info.features["labels"].feature.names == ["a", "b"]
    rows = [row for split in store.info.num_examples for row in tfds.as_numpy(builder.as_dataset(split=split))]
    by_id = {row["id"].decode(): row for row in rows}
    np.testing.assert_array_equal(by_id["0.png"]["labels"], [0, 1])
    np.testing.assert_array_equal(by_id["2.png"]["image"], np.asarray(noise(2)))
    assert by_id["0.png"]["text"] == b"a|b"


def test_multi_label_is_multi_hot_alone_and_in_a_batch(tmp_path):
    store = prepare(labels_table(tmp_path, ["a|c|a", "", "b", "a", "a|b|c", "c"]), tmp_path / "stores")
    rows = {row["id"]: row["labels"] for split in store.info.num_examples for row in read(store, split)}
    assert rows[b"0.png"].tolist() == [1, 0, 1]
    assert rows[b"1.png"].tolist() == [0, 0, 0]
    assert rows[b"0.png"].dtype == np.float32
    batch = next(iter(tf.data.TFRecordDataset(store.files("train")).batch(9).map(store.parse).as_numpy_iterator()))
    for identity, labels in zip(batch["id"], batch["labels"], strict=True):
        np.testing.assert_array_equal(labels, rows[identity])


def test_numbers_and_their_statistics(tmp_path):
    store = prepare(numbers_table(tmp_path, ["1", "2", "3", "4"]), tmp_path / "stores")
    values = {split: [row["value"][0] for row in read(store, split)] for split in ("train", "validation")}
    assert sorted(values["train"] + values["validation"]) == [1, 2, 3, 4]
    assert store.info.value_names == ("x",)
    assert store.info.value_mean == pytest.approx([np.mean(values["train"])])
    assert store.info.value_std == pytest.approx([np.std(values["train"])])
    assert store.statistics()["values"]["train"]["x"]["max"] == max(values["train"])


def test_a_target_that_never_changes_has_a_std_of_one(tmp_path):
    assert prepare(numbers_table(tmp_path, ["7"] * 4), tmp_path / "stores").info.value_std == (1.0,)


def test_digits_are_grey_and_stratified(tmp_path):
    store = prepare(DataSettings(source=Digits(), splits=Splits(validation=0.1, test=0.2)), tmp_path)
    assert (store.info.num_examples["test"], store.statistics()["channels"]) == (359, 1)  # a fifth of 1797
    assert set(store.info.class_counts["validation"]) == {18}
    labels = [row["label"] for row in read(store, "train")]
    assert len(set(labels[:40])) == 10  # mixed, though the source is not


def test_many_shards_hold_everything_once_in_one_order(tmp_path):
    root = tmp_path / "data"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 320, 320, 3), np.uint8)
    for number, picture in enumerate(pixels):
        path = write(root / f"{number % 2}" / f"{number}.png")
        path.write_bytes(encoded(Image.fromarray(picture)))
    small = prepare(folders(root, shard_mib=1, splits=HALF), tmp_path / "stores")
    large = prepare(folders(root, shard_mib=64, splits=HALF), tmp_path / "stores")
    assert len(small.files("train")) > 2
    assert len(large.files("train")) == 1
    assert [row["id"] for row in read(small, "train")] == [row["id"] for row in read(large, "train")]
    assert sum(small.shard_lengths("train")) == small.info.num_examples["train"] == 15


def test_reused_until_something_changes(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 6, "dog": 6})
    seen = []
    first = prepare(folders(root), tmp_path / "stores", lambda done, total: seen.append((done, total)))
    assert (seen[0], seen[11], seen[12], seen[-1]) == ((1, None), (12, None), (1, 12), (12, 12))
    state = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    again = prepare(folders(root), tmp_path / "stores", lambda done, total: pytest.fail("prepared again"))
    assert {path: path.stat().st_mtime_ns for path in again.path.iterdir()} == state
    write(root / "cat" / "new.png", 7)
    assert prepare(folders(root), tmp_path / "stores").path != first.path
    assert first.path.exists()
    assert prepare(folders(root, splits=Splits(seed=5)), tmp_path / "stores").path not in (first.path, again.path)


def test_same_settings_same_bytes(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 6, "dog": 6})
    one, two = (prepare(folders(root), tmp_path / name) for name in "ab")
    assert one.path.name == two.path.name == store_key(folders(root))
    for file in one.path.iterdir():
        if file.suffix != ".json" or file.name == "convoy.json":
            assert file.read_bytes() == (two.path / file.name).read_bytes()


def test_a_store_may_be_kept_elsewhere(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 6, "dog": 6})
    store = prepare(folders(root, store=tmp_path / "shared"), tmp_path / "run")
    assert store.path.parent == tmp_path / "shared"
    assert store.path.name == store_key(folders(root))
    assert not (tmp_path / "run").exists()


def test_split_file_is_saved_and_given(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 6, "dog": 6})
    first = prepare(folders(root, splits=Splits(seed=3)), tmp_path / "stores")
    saved = first.path / "splits.csv"
    second = prepare(folders(root, splits=Splits(file=saved)), tmp_path / "stores")
    assert second.info == first.info
    assert {row["id"] for row in read(second, "test")} == {row["id"] for row in read(first, "test")}
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("id,split\ncat/0.png,train\ndog/0.png,train\ncat/1.png,val\ndog/1.png,val\n")
    third = prepare(folders(root, splits=Splits(file=fewer)), tmp_path / "stores")
    assert third.info.num_examples == {"train": 2, "validation": 2}
    assert any("does not name 8 examples" in warning for warning in third.warnings())
    fewer.write_text(fewer.read_text() + "cow/0.png,train\n")
    with pytest.raises(DataError, match=r"names 5 examples, but the source holds only 4"):
        prepare(folders(root, splits=Splits(file=fewer)), tmp_path / "stores")


def test_excluded_split(tmp_path):
    root = class_folders(
        tmp_path / "data", {f"{split}/{name}": 1 for split in ("train", "val", "test") for name in "ab"}
    )
    store = prepare(folders(root, exclude_splits=("test",)), tmp_path / "stores")
    assert store.info.num_examples == {"train": 2, "validation": 2}


def test_bad_pictures_are_named_counted_and_left_out(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 20, "dog": 20})
    (root / "cat" / "0.png").write_bytes(b"")
    (root / "dog" / "1.png").write_bytes(b"GIF? no")
    store = prepare(folders(root), tmp_path / "stores")
    assert sum(store.info.num_examples.values()) == 38
    assert sum(map(sum, store.info.class_counts.values())) == 38
    assert [(row["id"], row["reason"]) for row in store.quarantine()] == [
        ("cat/0.png", "the file is empty"),
        ("dog/1.png", "not a picture in any format that Pillow reads"),
    ]
    assert store.quarantine()[0]["where"] == str(root / "cat" / "0.png")
    assert store.statistics()["quarantine"] == 2
    with (store.path / "splits.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 38
    with pytest.raises(DataError, match=r"2 of 40 so far, data\.max_bad_pictures=0\.02 allows 0|1 of 40"):
        prepare(folders(root, max_bad_pictures=0.02), tmp_path / "other")
    assert prepare(folders(root, max_bad_pictures=2), tmp_path / "stores").info == store.info
    assert leftovers(tmp_path / "other") == []


def test_missing_and_forbidden_picture_files_are_bad_pictures(tmp_path):
    settings = labels_table(tmp_path, ["a", "b"] * 12)
    (tmp_path / "3.png").unlink()
    (tmp_path / "4.png").unlink()
    (tmp_path / "4.png").mkdir()
    store = prepare(settings.model_copy(update={"max_bad_pictures": 2}), tmp_path / "stores")
    reasons = {row["id"]: row["reason"] for row in store.quarantine()}
    assert reasons["3.png"] == f"the file {tmp_path / '3.png'} does not exist"
    assert reasons["4.png"] == "the file cannot be read: Is a directory"


def test_class_lost_to_bad_pictures(tmp_path):
    root = class_folders(tmp_path / "data", {"train/cat": 8, "train/dog": 8, "val/cat": 1, "val/dog": 1})
    (root / "val" / "dog" / "0.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"`validation` has no picture of: dog"):
        prepare(folders(root, max_bad_pictures=1), tmp_path / "stores")
    assert leftovers(tmp_path / "stores") == []


def test_one_class_only(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 6})
    with pytest.raises(DataError, match=r"show 1 class \(cat\), expected at least 2"):
        prepare(folders(root), tmp_path / "stores")


def test_split_without_a_class(tmp_path):
    root = class_folders(tmp_path / "data", {"train/cat": 2, "train/dog": 2, "val/cat": 1})
    with pytest.raises(DataError, match=r"`validation` has no picture of: dog.*data\.missing_classes=warn"):
        prepare(folders(root), tmp_path / "stores")
    store = prepare(folders(root, missing_classes="warn"), tmp_path / "stores")
    assert store.warnings() == ["The split `validation` has no picture of: dog."]
    assert store.info.class_counts["validation"] == [1, 0]


def test_rare_labels_are_a_warning_unless_refused(tmp_path):
    labels = ["a"] * 6 + ["a|b"]
    assert "no picture of: b" in prepare(labels_table(tmp_path, labels), tmp_path / "stores").warnings()[0]
    with pytest.raises(DataError, match="no picture of: b"):
        prepare(labels_table(tmp_path, labels, missing_classes="refuse"), tmp_path / "stores")
    with pytest.raises(DataError, match="No picture has any label"):
        prepare(labels_table(tmp_path, [""] * 4), tmp_path / "stores")


@pytest.mark.parametrize("bad", ["nan", "", "inf", "1e39"])
def test_targets_that_are_not_finite(tmp_path, bad):
    with pytest.raises(DataError, match=r"1 example has a target that is not a finite number: .*t\.csv:3"):
        prepare(numbers_table(tmp_path, ["1", bad, "2", "3"]), tmp_path / "stores")
    assert leftovers(tmp_path / "stores") == []


def test_repeated_ids(tmp_path):
    write(tmp_path / "0.png")
    (tmp_path / "t.csv").write_text("image,kind\n0.png,a\n0.png,b\n")
    with pytest.raises(DataError, match=r"1 example occurs more than once: 0\.png.*id_column"):
        prepare(DataSettings(source=Table(path=tmp_path / "t.csv", label_column="kind")), tmp_path / "stores")


def test_nothing_to_train_or_evaluate_on(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 4, "dog": 4})
    with pytest.raises(DataError, match="nothing to evaluate on"):
        prepare(folders(root, splits=Splits(validation=0, test=0)), tmp_path / "stores")
    with pytest.raises(DataError, match="`train` is empty"):
        prepare(folders(root, exclude_splits=("train",)), tmp_path / "stores")


def test_all_of_one_group_leaves_nothing_to_evaluate_on(tmp_path):
    for number in range(20):
        write(tmp_path / f"{number}.png", number)
    (tmp_path / "t.csv").write_text("image,kind,patient\n" + "".join(f"{n}.png,{n % 2},one\n" for n in range(20)))
    source = Table(path=tmp_path / "t.csv", label_column="kind", group_column="patient")
    with pytest.raises(DataError, match="They are of 1 group, none of which is drawn into two splits"):
        prepare(DataSettings(source=source), tmp_path / "stores")


def test_pictures_alone(tmp_path):
    for number in range(4):
        write(tmp_path / f"{number}.png", number)
    (tmp_path / "t.csv").write_text("image\n0.png\n1.png\n2.png\n3.png\n")
    store = prepare(DataSettings(source=Table(path=tmp_path / "t.csv"), splits=HALF), tmp_path / "stores")
    assert store.info.fields == ("id", "image")
    assert set(read(store, "train")[0]) == {"id", "image"}


def test_warnings_of_the_source_are_kept(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 6, "dog": 6})
    (root / "cat" / "readme.txt").write_text("x")
    assert prepare(folders(root), tmp_path / "stores").warnings() == ["1 file was passed over: cat/readme.txt."]


def test_a_damaged_store_is_made_anew(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 6, "dog": 6})
    store = prepare(folders(root), tmp_path / "stores")
    shard = Path(store.files("train")[0])
    whole = shard.read_bytes()
    os.truncate(shard, 10)
    with pytest.raises(DataError, match="cut short"):
        Store.open(store.path)
    assert prepare(folders(root), tmp_path / "stores").path == store.path
    assert shard.read_bytes() == whole


def test_what_is_not_a_store(tmp_path):
    with pytest.raises(DataError, match="not a prepared data set"):
        Store.open(tmp_path)
    (tmp_path / "convoy.json").write_text('{"info": ')
    with pytest.raises(DataError, match="not a prepared data set"):
        Store.open(tmp_path)
    store = prepare(folders(class_folders(tmp_path / "data", {"cat": 6, "dog": 6})), tmp_path / "stores")
    with pytest.raises(DataError, match=r"no split 'tst'\. Did you mean 'test'"):
        store.files("tst")


def test_real_sets_prepare(tmp_path, convoy_data):
    flowers = prepare(folders(convoy_data / "flowers"), tmp_path)
    assert flowers.info.num_examples == {"train": 350, "validation": 150}
    assert flowers.statistics()["changes"] == {"kept": 500}
    posters = Table(path=convoy_data / "movie_posters" / "labels.csv", labels_column="genres", text_column="title")
    store = prepare(DataSettings(source=posters), tmp_path)
    assert sum(store.info.num_examples.values()) == 520
    assert "text" in store.info.fields
