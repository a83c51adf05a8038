"""`prepare` on Apache Beam: the same store as in one process, also after it was killed.

Beam is installed beside the main environment (`make test` does so, and names its Python in CONVOY_BEAM_PYTHON).
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.data import beam
from pipeline.data.beam import BeamSettings
from pipeline.data.missing import MissingRegions
from pipeline.data.prepare import DataSettings, prepare, store_key
from pipeline.data.records import Shard
from pipeline.data.shards import Job, without_empty
from pipeline.data.side_columns import SideColumns
from pipeline.data.sources import ClassFolders
from pipeline.data.store import Store
from pipeline.data.targets import NoTarget
from pipeline.errors import ConfigError
from tests.conftest import ROOT
from tests.data.planted import settings as planted
from tests.data.test_prepare_trouble import large_pictures, stores

ON_FOLDERS = """
import sys
from pathlib import Path
from pipeline.data.prepare import prepare
from tests.data.test_beam import on_folders
if __name__ == "__main__":
    print(prepare(on_folders(Path(sys.argv[1]), workers=2), Path(sys.argv[2])).path)
"""
PLANTED = """
import sys
from pathlib import Path
from pipeline.data.beam import BeamSettings
from pipeline.data.prepare import prepare
from tests.data.planted import settings
if __name__ == "__main__":
    beam = BeamSettings(options={"direct_running_mode": "in_memory"})
    for what in sys.argv[2:]:
        print(prepare(settings(what, beam=beam), Path(sys.argv[1])).path)
"""


@pytest.fixture(scope="session")
def beam_python() -> str:
    """A Python that has Apache Beam and Convoy."""
    if python := os.environ.get("CONVOY_BEAM_PYTHON"):
        return str(Path(python).absolute())
    if importlib.util.find_spec("apache_beam") is None:
        pytest.skip("Apache Beam is not installed: set CONVOY_BEAM_PYTHON to a Python that has it, as `make test` does")
    return sys.executable


def on_folders(root: Path, workers: int | None) -> DataSettings:
    """Shards of a picture or two, one of them bad."""
    beam = workers and BeamSettings(workers=workers)
    return DataSettings(source=ClassFolders(path=root), shard_mib=1, max_bad_pictures=2, beam=beam or None)


def start(python: str, script: Path, *arguments: object) -> subprocess.Popen[str]:
    """The script in a process group of its own, from the repository, as its workers import Convoy and the tests."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [python, str(script), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True, process_group=0)


def finish(process: subprocess.Popen[str]) -> list[str]:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return output.split()


def assert_same(ours: Path, theirs: Path) -> None:
    """Not only the same examples, splits and statistics: the same bytes in every file."""
    assert sorted(file.name for file in ours.iterdir()) == sorted(file.name for file in theirs.iterdir())
    for file in ours.iterdir():
        assert file.read_bytes() == (theirs / file.name).read_bytes(), file.name


@pytest.mark.slow
def test_killed_and_run_again_with_two_processes(tmp_path: Path, beam_python: str) -> None:
    root = large_pictures(tmp_path / "data", 40)
    (root / "0" / "4.png").write_bytes(b"no picture")
    script = tmp_path / "script.py"
    script.write_text(ON_FOLDERS)
    process = start(beam_python, script, root, tmp_path / "stores")
    while not any((tmp_path / "stores").glob(".*.partial/result-*")):
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert stores(tmp_path / "stores") == []
    (made,) = map(Path, finish(start(beam_python, script, root, tmp_path / "stores")))
    assert stores(tmp_path / "stores") == [made]
    assert not list((tmp_path / "stores").glob(".*.partial"))
    plain = prepare(on_folders(root, workers=None), tmp_path / "plain")
    assert len(plain.files("train")) > 10
    assert len(plain.quarantine()) == 1
    assert_same(made, plain.path)


@pytest.mark.slow
def test_objects_and_masks(tmp_path: Path, beam_python: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(PLANTED)
    names = ("boxes", "everything", "regions")
    made = finish(start(beam_python, script, tmp_path / "beam", *names))
    for name, path in zip(names, made, strict=True):
        assert_same(Path(path), prepare(planted(name), tmp_path / "plain").path)
    assert Store.open(Path(made[0])).objects_left_out()


def test_who_writes_does_not_change_the_key(tmp_path: Path) -> None:
    root = large_pictures(tmp_path, 2, size=4)
    assert store_key(on_folders(root, workers=None)) == store_key(on_folders(root, workers=7))


def test_pipeline_options() -> None:
    assert BeamSettings(workers=3).pipeline_options() == {
        "runner": "DirectRunner",
        "default_sdk_harness_log_level": "WARNING",
        "direct_running_mode": "multi_processing",
        "direct_num_workers": 3,
    }
    flink = BeamSettings(runner="flink", options={"flink_master": "host:8081", "experiments": ("a", "b")})
    assert flink.pipeline_options()["experiments"] == ["a", "b"]
    assert flink.pipeline_options()["parallelism"] == 2


def test_without_beam_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    root = large_pictures(tmp_path / "data", 20, size=4)
    with pytest.raises(ConfigError, match=r"pip install 'convoy\[beam\]'"):
        prepare(on_folders(root, workers=2), tmp_path / "stores")


def test_work_files_bound_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam, "WORK_ITEMS", 3)
    root = large_pictures(tmp_path / "data", 7, size=4)
    examples = enumerate(ClassFolders(path=root).examples())

    surveyed = SimpleNamespace(keys=[number * 2**60 for number in range(7)])
    targets = NoTarget(), SideColumns()
    job = Job(tmp_path, {"train": 8}, {"train": list(range(4))}, *targets, ("id", "image"), MissingRegions())
    files = beam._write_work(job, examples, surveyed, [0] * 7, csv.writer(io.StringIO()))
    assert len(files) == 3
    work = [item for file in files for item in beam.read_work(str(file))]
    assert [place for place, _ in work] == [("train", number // 2) for number in range(7)]
    assert [one.number for _, one in work] == list(range(7))


def test_shards_without_a_good_picture_are_left_out(tmp_path: Path) -> None:
    for name in ("convoy-train.tfrecord-00000-of-00002", "convoy-train.tfrecord-00001-of-00002"):
        (tmp_path / name).write_text(name)
    shards = [
        Shard("convoy-train.tfrecord-00000-of-00002", "train", 0, 0),
        Shard("convoy-train.tfrecord-00001-of-00002", "train", 5, 9),
    ]
    (kept,) = without_empty(tmp_path, shards)
    assert kept == Shard("convoy-train.tfrecord-00000-of-00001", "train", 5, 9)
    assert [file.name for file in tmp_path.iterdir()] == [kept.file]
    assert (tmp_path / kept.file).read_text() == "convoy-train.tfrecord-00001-of-00002"
