"""Runs that do not lie on this machine's disk."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pipeline import mirror
from pipeline.cli import execute
from pipeline.errors import ConfigError, DataError
from pipeline.locations import is_remote, location, resolved, size_of
from pipeline.mirror import Mirror, download, mirrored
from pipeline.run import Run
from tests.data.pictures import class_folders
from tests.remote import bucket

__all__ = ["bucket"]

CONFIG = """
data: {source: digits}
task:
  kind: classification
  picture: {height: 8, width: 8, channels: 1}
  backbone: {kind: small_resnet, depth: 20, stem_width: 4, widths: [4, 4, 4]}
train: {epochs: 2, batch_size: 256}
evaluate: {samples: 4, mistakes: 2}
compress: {variants: [float32], calibration: {count: 8}}
verify: {latency_runs: 1}
"""


def tree(folder: Path, below: str = "") -> dict[str, bytes]:
    found = {}
    for entry in folder.iterdir():
        name = f"{below}{entry.name}"
        found |= tree(entry, f"{name}/") if entry.is_dir() else {name: entry.read_bytes()}
    return found


def test_a_local_run_is_worked_on_where_it_is(tmp_path: Path) -> None:
    with mirrored(tmp_path / "run") as folder:
        assert folder == tmp_path / "run"


def test_what_is_there_comes_and_what_changes_goes_back(bucket: Path) -> None:
    run = bucket / "run"
    for name in ("kept", "changed", "removed"):
        (run / "sub").mkdir(parents=True, exist_ok=True)
        (run / "sub" / name).write_text(name)
    with mirrored(run) as folder:
        assert sorted(file.name for file in (folder / "sub").iterdir()) == ["changed", "kept", "removed"]
        (folder / "sub" / "changed").write_text("otherwise")
        (folder / "sub" / "removed").unlink()
        (folder / "new").write_bytes(b"new")
        (folder / ".x.1234.partial.json").write_text("half")
    assert tree(run) == {"sub/kept": b"kept", "sub/changed": b"otherwise", "new": b"new"}
    assert not folder.exists()


def test_an_error_still_saves_what_was_done(bucket: Path) -> None:
    with pytest.raises(KeyError), mirrored(bucket / "run") as folder:
        (folder / "checkpoint").write_text("step 7")
        raise KeyError
    assert tree(bucket / "run") == {"checkpoint": b"step 7"}


def test_it_is_copied_while_it_works(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "SECONDS", 0.02)
    with mirrored(bucket / "run") as folder:
        (folder / "checkpoint").write_text("step 1")
        until = time.monotonic() + 10
        while not (bucket / "run" / "checkpoint").exists():
            assert time.monotonic() < until
            time.sleep(0.01)


def test_files_that_name_others_go_last(tmp_path: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = []
    monkeypatch.setattr(mirror, "_copy_to", lambda file, target: copied.append(file.name))
    work = Mirror(tmp_path, bucket)
    for name in ("z.index", "a.data", "m", "checkpoint"):
        (tmp_path / name).write_text(name)
        time.sleep(0.02)
    work.upload()
    work.upload()
    assert copied == ["z.index", "a.data", "m", "checkpoint"]


@pytest.mark.slow
def test_stages_on_a_run_in_a_bucket(tmp_path: Path, bucket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not as far as the export: `ram://` lists the files of `assets.extra` as some of `assets`, as no bucket does."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    run = bucket / "runs" / "digits"
    assert execute(["train", str(config), "--run", str(run), "--json"]) == 0, capsys.readouterr()
    assert json.loads(capsys.readouterr().out)["run"] == str(run)
    held = tree(run)
    assert {"config.yaml", "history.csv", "model/model.keras", "checkpoints/checkpoint"} < held.keys()
    # The store lies beside the Run, and the Run's files name it so that both can be moved.
    assert json.loads(held["data.json"])["store"].startswith("../store/")
    assert str(Run(run).store).startswith(f"{bucket}/runs/store/")
    # A stage alone, from what lies there.
    assert execute(["evaluate", str(run), "--json"]) == 0, capsys.readouterr()
    assert "accuracy" in json.loads(capsys.readouterr().out)["metrics"]
    assert (run / "metrics" / "evaluation.json").exists()


def test_doctor_data_on_a_run_in_a_bucket(tmp_path: Path, bucket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = class_folders(tmp_path / "data", {"cat": 6, "dog": 6})
    (bucket / "config.yaml").write_text(f"data: {{source: {{kind: folders, path: {folders}}}}}\n")
    run = bucket / "runs" / "animals"
    assert execute(["doctor", "data", str(bucket / "config.yaml"), "--run", str(run), "--json"]) == DataError.exit_code
    answered = json.loads(capsys.readouterr().out)
    assert any(
        finding["kind"] == "leakage" for finding in answered["findings"]
    )  # the pictures of both classes are alike
    assert answered["file"] == f"{run}/doctor.json"
    assert json.loads((run / "doctor.json").read_text())["findings"] == answered["findings"]


def test_locations(tmp_path: Path, bucket: Path) -> None:
    assert location("a/b") == Path("a/b")
    assert location("~") == Path.home()
    assert str(location("gs://bucket/a") / "b") == "gs://bucket/a/b"
    assert is_remote(location("gs://bucket/a"))
    assert not is_remote(tmp_path)
    assert str(resolved(bucket / "a" / ".." / "b")) == f"{bucket}/b"
    with pytest.raises(ConfigError, match=r"no file system is known for ftp://"):
        location("ftp://host/x")
    (bucket / "file").write_bytes(b"12345")
    assert size_of(bucket / "file") == 5
    download(bucket / "nothing", tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []
