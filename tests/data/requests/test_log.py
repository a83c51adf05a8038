"""The request log on disk: what is written is read back, shards are whole or not there, the limit holds."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.example import TEST
from pipeline.data.input import encoded_pictures
from pipeline.data.pictures import BadPicture
from pipeline.data.requests import view
from pipeline.data.requests.reader import Choice, RequestLog, drawn, from_time
from pipeline.data.requests.shard import RECORDS, remove
from pipeline.data.requests.writer import MOST_OPEN, LogLimits, RequestWriter, whole_shards
from pipeline.data.store import Store
from pipeline.errors import ConfigError, DataError, StorageError
from tests.data.requests.given import NOON, ids, noise, picture, png, written

OUTPUTS = {
    "scores": np.array([0.25, -1.5], np.float32),
    "boxes": np.arange(8, dtype=np.float32).reshape(2, 4),
    "none": np.zeros((0, 4), np.float32),
    "count": np.array(3, np.int64),
    "flags": np.array([True, False]),
    "names": np.array([b"rose", b"\xff\x00"], object),
}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    given = picture(7, outputs=OUTPUTS, came_as="pixels", version=12, signature="images")
    log = written(tmp_path, [given])
    (found,) = log.pictures(log.ids(Choice()))
    assert dataclasses.replace(found, outputs={}) == dataclasses.replace(given, outputs={})
    assert {name: (value.shape, value.tolist()) for name, value in found.outputs.items()} == {
        name: (value.shape, value.tolist()) for name, value in OUTPUTS.items()
    }


def test_a_shard_is_a_prepared_store(tmp_path: Path) -> None:
    (shard,) = written(tmp_path, [picture(0), picture(1, image=png(5, side=9, mode="L"))]).shards
    store = Store.open(shard.path)
    assert store.info.num_examples == {TEST: 2} and store.info.picture_sizes == {TEST: (7, 6, 10, 9)}
    assert encoded_pictures(store, TEST, 2) == [png(0), png(5, side=9, mode="L")]
    assert store.quarantine() == [] and store.statistics()["channels"] == 3


def test_tensorflow_datasets_reads_all_shards_with_the_answers(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    log = written(tmp_path, [picture(number) for number in range(4)], shard_mib=0.0005)
    assert len(log.shards) > 1
    builder = tfds.builder_from_directories([shard.path for shard in log.shards])
    rows = list(tfds.as_numpy(builder.as_dataset(split=TEST)))
    assert [row["id"] for row in rows] == [b"p0000", b"p0001", b"p0002", b"p0003"]
    assert [row["predictions"]["scores"].tolist() for row in rows] == [[0.25, number] for number in range(4)]
    assert rows[3]["image"].shape == (7, 6, 3) and rows[3]["time"] == (NOON + 3) * 1e6


def test_shards_roll_by_size_and_by_age(tmp_path: Path) -> None:
    writer = RequestWriter(tmp_path, LogLimits(shard_mib=0.02))
    for number in range(10):  # of five kilobytes each
        writer.write(picture(number, image=noise(number)))
    assert len(whole_shards(tmp_path)) == 2
    writer.close()
    assert ids(RequestLog(tmp_path)) == [f"p{number:04}" for number in range(10)]
    old = RequestWriter(tmp_path / "old", LogLimits(shard_minutes=1e-9))
    old.write(picture(1))
    assert whole_shards(tmp_path / "old") == []
    old.tend()
    assert len(whole_shards(tmp_path / "old")) == 1


def test_each_model_and_signature_has_shards_of_its_own(tmp_path: Path) -> None:
    signatures = [f"s{number}" for number in range(MOST_OPEN + 2)]
    writer = RequestWriter(tmp_path, LogLimits())
    for number, signature in enumerate(signatures):
        writer.write(picture(number, signature=signature))
    assert len(whole_shards(tmp_path)) == 2  # those that were written to longest ago
    writer.close()
    log = RequestLog(tmp_path)
    assert {shard.kind.signature for shard in log.shards} == set(signatures)
    assert [row["signature"] for row in view.as_document(log)["shards"]] == [s.kind.signature for s in log.shards]


def test_the_oldest_shards_go_beyond_the_limit(tmp_path: Path) -> None:
    limit = 100 / 2**20  # 100 KiB in GiB; a shard is a quarter of it
    writer = RequestWriter(tmp_path, LogLimits(limit_gib=limit))
    for number in range(60):
        writer.write(picture(number, image=noise(number)))
        writer.tend()
    writer.close()
    kept = ids(RequestLog(tmp_path))
    assert sum((shard / RECORDS).stat().st_size for shard in whole_shards(tmp_path)) <= 100 * 1024
    assert 8 <= len(kept) < 25 and "p0059" in kept and "p0000" not in kept
    assert sorted(kept) == [f"p{number:04}" for number in range(60 - len(kept), 60)]


def test_a_killed_writer_loses_only_what_was_not_flushed(tmp_path: Path) -> None:
    killed(tmp_path, flushed=5, after=3)
    with pytest.raises(DataError, match="holds no whole shard yet"):
        RequestLog(tmp_path)
    (partial,) = tmp_path.glob(".*.partial")
    with (partial / RECORDS).open("ab") as stream:
        stream.write(b"half a record")
    RequestWriter(tmp_path, LogLimits()).close()
    assert ids(RequestLog(tmp_path))[:5] == [f"p{number:04}" for number in range(5)]
    (shard,) = RequestLog(tmp_path).shards
    assert Store.open(shard.path).info.num_examples[TEST] == shard.count
    assert sorted(file.name for file in shard.path.iterdir() if "tfrecord" not in file.name) == [
        *("convoy.json", "dataset_info.json", "features.json", "quarantine.csv", "splits.csv"),
    ]


def test_one_that_had_nothing_to_lose_leaves_nothing(tmp_path: Path) -> None:
    killed(tmp_path, flushed=0, after=1)
    RequestWriter(tmp_path, LogLimits()).close()
    assert list(tmp_path.iterdir()) == []


def test_one_that_had_no_records_yet_does_not_hinder_the_next(tmp_path: Path) -> None:
    killed(tmp_path, flushed=1, after=0)
    (partial,) = tmp_path.glob(".*.partial")
    (partial / RECORDS).unlink()
    assert ids(written(tmp_path, [picture(7)])) == ["p0007"]
    assert list(tmp_path.glob(".*")) == []


def test_a_shard_that_is_removed_while_the_log_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        log = written(tmp_path, [picture(number)])
    chosen = log.ids(Choice())
    remove(log.shards[0].path)
    assert log.ids(Choice()) == ["p0001", "p0002"]
    assert [one.id for one in log.pictures(chosen)] == ["p0001", "p0002"]
    assert "was removed while it was read" in capfd.readouterr().err

    def removed_once_listed(folder: Path) -> list[Path]:
        listed = whole_shards(folder)
        remove(listed[0])
        return listed

    monkeypatch.setattr("pipeline.data.requests.reader.whole_shards", removed_once_listed)
    assert ids(RequestLog(tmp_path)) == ["p0002"]


def test_only_shards_with_chosen_pictures_are_read(tmp_path: Path) -> None:
    for number in range(2):
        log = written(tmp_path, [picture(2 * number), picture(2 * number + 1)])
    first, second = (shard.path / RECORDS for shard in log.shards)
    first.write_bytes(b"damaged")
    second.write_bytes(second.read_bytes()[:-20])
    assert [one.id for one in log.pictures(["p0002"])] == ["p0002"]
    with pytest.raises(DataError, match="is damaged"):
        list(log.pictures(["p0003"]))


def test_the_open_shard_of_another_server_is_left_alone(tmp_path: Path) -> None:
    first = RequestWriter(tmp_path, LogLimits())
    first.write(picture(1))
    first.tend()
    second = RequestWriter(tmp_path, LogLimits())
    second.write(picture(2))
    second.close()
    assert ids(RequestLog(tmp_path)) == ["p0002"]
    first.write(picture(3))
    first.close()
    assert sorted(ids(RequestLog(tmp_path))) == ["p0001", "p0002", "p0003"]


def test_a_folder_that_vanishes_is_an_error_of_the_log(tmp_path: Path) -> None:
    writer = RequestWriter(tmp_path / "log", LogLimits())
    writer.write(picture(1))
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(StorageError, match="has vanished"):
        writer.tend()
    writer.abandon()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; skips where this process may not mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs the rights of root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_whole_shards_and_is_recovered(small_disk: Path) -> None:
    writer, number = RequestWriter(small_disk, LogLimits(shard_mib=0.1)), 0
    with pytest.raises(StorageError, match=r"No space left on device"):
        for number in range(1000):
            writer.write(picture(number, image=noise(number)))
            writer.tend()
    writer.abandon()
    whole = RequestLog(small_disk)
    assert 10 < len(ids(whole)) < number
    shutil.rmtree(whole.shards[0].path)
    RequestWriter(small_disk, LogLimits()).close()
    assert len(RequestLog(small_disk).shards) == len(whole.shards)  # one removed, one recovered


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    writer = RequestWriter(tmp_path, LogLimits())
    with pytest.raises(BadPicture, match="the header cannot be read"):
        writer.write(picture(1, image=b"\x89PNG\r\n\x1a\n"))
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_choice_by_time_version_and_model(tmp_path: Path) -> None:
    pictures = [picture(number, version=1 + number % 2) for number in range(10)]
    log = written(tmp_path, [*pictures, picture(20, model="trees")])
    assert ids(log, model="flowers", version=2) == ["p0001", "p0003", "p0005", "p0007", "p0009"]
    assert ids(log, model="flowers", since=NOON + 3, until=NOON + 5) == ["p0003", "p0004"]
    with pytest.raises(ConfigError, match=r"several models: choose with --model\. Valid: flowers, trees"):
        log.ids(Choice())
    with pytest.raises(ConfigError, match=r"no request of 'tree'\. Did you mean 'trees'\?"):
        log.ids(Choice(model="tree"))
    with pytest.raises(DataError, match=r"fits\. It holds those from 2026-09-21T.*, of the versions 1, 2"):
        log.ids(Choice(model="flowers", version=3))


def test_times_are_utc() -> None:
    assert from_time("2026-10-01") == from_time("2026-10-01T02:00+02:00") == 1_790_812_800
    with pytest.raises(ConfigError, match="'yesterday' is no time"):
        from_time("yesterday")


def test_a_draw_is_fair_and_the_same_each_time() -> None:
    names = [f"p{number:04}" for number in range(1000)]
    chosen = drawn(names, 100)
    assert chosen == drawn(list(reversed(names)), 100) and len(set(chosen)) == 100
    assert 300 < np.mean([int(name[1:]) for name in chosen]) < 700
    assert set(drawn(names, 50)) < set(chosen)


def test_damage_is_named(tmp_path: Path) -> None:
    log = written(tmp_path, [picture(1)])
    file = log.shards[0].path / RECORDS
    file.write_bytes(file.read_bytes()[:-20] + b"x" * 20)
    with pytest.raises(DataError, match="is damaged"):
        ids(log)
    (log.shards[0].path / "convoy.json").write_text("{}")
    with pytest.raises(DataError, match="no shard of a request log, or damaged"):
        RequestLog(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        RequestLog(tmp_path / "other")


def test_a_bucket_is_refused() -> None:
    from pipeline.locations import location

    with pytest.raises(ConfigError, match="buckets know no appending"):
        RequestWriter(location("gs://bucket/log"), LogLimits())


def killed(folder: Path, flushed: int, after: int) -> None:
    """A process that logs pictures and is killed: some are flushed, some come after that."""
    if pid := os.fork():
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        return
    try:
        writer = RequestWriter(folder, LogLimits())
        for number in range(flushed + after):
            writer.write(picture(number))
            if number == flushed - 1:
                writer.tend()
        os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(1)  # whatever goes wrong: the child must not go on as a second pytest
