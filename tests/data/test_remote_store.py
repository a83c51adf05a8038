"""A store that does not lie on this machine's disk: prepared there, read from there, taken for absent until whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from models.stack import tf
from pipeline.data import prepare as prepare_module
from pipeline.data.input import InputSettings, evaluation_batches, training_batches
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import ClassFolders
from pipeline.data.store import CONTENT, Store
from pipeline.errors import DataError, StorageError
from tests.data.pictures import class_folders
from tests.data.planted import settings as planted
from tests.data.test_objects import Trivial
from tests.remote import bucket

__all__ = ["bucket"]


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.is_dir()}


def test_the_same_store_as_on_disk(tmp_path: Path, bucket: Path) -> None:
    for name in ("boxes", "everything", "regions"):
        remote = prepare(planted(name, store=str(bucket / "stores")), tmp_path / "unused")
        assert str(remote.path).startswith(f"{bucket}/stores/")
        assert files(remote.path) == files(prepare(planted(name), tmp_path / "local").path)
    assert not (tmp_path / "unused").exists()


def test_read_from_there(bucket: Path) -> None:
    store = prepare(planted("everything"), bucket)
    again = Store.open(store.path)
    assert again.info == store.info
    assert all(file.startswith("ram://") for file in again.files("train"))
    for cache in ("decoded", "encoded", "none"):
        batches = training_batches(again, Trivial(), (), InputSettings(cache=cache), batch_size=2, seed=0)
        inputs, _ = next(iter(batches.as_numpy_iterator()))
        assert inputs["boxes"].shape == (2, 3, 4)
    seen = [
        batch["id"][batch["real"]] for batch in evaluation_batches(again, Trivial(), "train", 4).as_numpy_iterator()
    ]
    assert sum(map(len, seen)) == again.info.num_examples["train"]
    rows = tfds.builder_from_directory(str(again.path)).as_dataset(split="train")
    assert len(list(tfds.as_numpy(rows))) == again.info.num_examples["train"]


def test_bad_pictures_and_reuse(tmp_path: Path, bucket: Path) -> None:
    root = class_folders(tmp_path / "data", {"cat": 20, "dog": 20})
    (root / "cat" / "0.png").write_bytes(b"")
    settings = DataSettings(source=ClassFolders(path=root), store=f"{bucket}/s")
    store = prepare(settings, tmp_path)
    assert [row["reason"] for row in store.quarantine()] == ["the file is empty"]
    prepare(settings, tmp_path, lambda done, total: pytest.fail("prepared again"))


def test_absent_until_the_last_file_is_there(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepare_module, "_write_content", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(planted("boxes"), bucket)
    (folder,) = bucket.iterdir()
    assert any("tfrecord" in file.name for file in folder.iterdir())
    assert not (folder / CONTENT).exists()
    with pytest.raises(DataError, match="not a prepared data set"):
        Store.open(folder)
    for file in list(folder.iterdir()):
        if "tfrecord" in file.name:
            file.unlink()  # TensorFlow's ram:// would go on behind the records that are there, as no bucket does
    store = prepare(planted("boxes"), bucket)
    assert store.path == folder
    held = [len(list(tf.data.TFRecordDataset(store.files(split)))) for split in store.info.num_examples]
    assert held == list(store.info.num_examples.values())
    assert sum(held) == 12


def test_a_cut_shard_is_seen(bucket: Path) -> None:
    store = prepare(planted("boxes"), bucket)
    shard = store.path / Path(store.files("train")[0]).name
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match="missing or cut short"):
        Store.open(store.path)


def test_a_bucket_that_cannot_be_written(tmp_path: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise tf.errors.PermissionDeniedError(None, None, "403: no storage.objects.create access")

    monkeypatch.setattr(tf.io.gfile, "makedirs", refused)
    with pytest.raises(StorageError, match=r"403: no storage.*Check the bucket's name"):
        prepare(planted("boxes"), bucket / "x")
