"""Versions: whole or absent, checked against their contract, each content once, no number twice."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, RunError, StorageError, VerificationError
from pipeline.export.contract import checksum
from serving import history
from serving.deployment import Deployment
from serving.publish import Published, find, publish, published_in, read_export, require_whole, version_folders
from serving.rollout import Rollout
from tests.conftest import ROOT
from tests.serving.deploy.runs import change_contract, judge

Verbs = Callable[..., Rollout]
OTHER_FILE_SYSTEM = Path("/dev/shm")


def published(run: Path, base_path: Path, **more: int) -> Published:
    return publish(read_export(run), base_path, (), **more)[0]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_version_holds_the_export_and_a_contract_of_its_own(runs: list[Path], tmp_path: Path) -> None:
    there = published(runs[0], tmp_path)
    source = runs[0] / "export" / "saved_model" / "1"
    for file in (path for path in source.rglob("*") if path.is_file()):
        assert (there.folder / file.relative_to(source)).read_bytes() == file.read_bytes()
    contract = json.loads((there.folder / "contract.json").read_text(encoding="utf-8"))
    assert contract["saved_model"]["path"] == "." and contract["tflite"] == {}
    assert all(checksum(there.folder / name) == digest for name, digest in contract["checksums"].items())
    assert there.blessed and there.version == 1
    require_whole(there)


def test_the_same_content_is_published_once_and_another_gets_the_next_number(runs: list[Path], tmp_path: Path) -> None:
    assert [published(run, tmp_path).version for run in (runs[0], runs[0], runs[1])] == [1, 1, 2]
    assert names(tmp_path) == ["1", "2"]


def test_a_number_may_be_chosen_but_not_twice(runs: list[Path], tmp_path: Path) -> None:
    assert published(runs[0], tmp_path, version=7).version == 7
    assert published(runs[0], tmp_path, version=7).version == 7
    with pytest.raises(ConfigError, match="Version 7 was published already"):
        published(runs[1], tmp_path, version=7)
    assert published(runs[1], tmp_path).version == 8


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_an_export_that_differs_from_its_contract_is_refused(own_run: Path, tmp_path: Path, damage: str) -> None:
    version = own_run / "export" / "saved_model" / "1"
    if damage == "added":
        (version / "assets" / "more.txt").write_text("x")
    elif damage == "missing":
        (version / "variables" / "variables.index").unlink()
    else:
        (version / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(RunError, match="differs from its contract"):
        published(own_run, tmp_path / "models")
    assert not (tmp_path / "models").exists() or names(tmp_path / "models") == []


def test_a_version_that_was_damaged_later_is_not_served(rollout: Verbs, runs: list[Path]) -> None:
    verbs = rollout()
    there = verbs.publish(read_export(runs[1]))
    (verbs.base_path / str(there.version) / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(RunError, match=r"changed: saved_model.pb"):
        verbs.canary()


def test_what_is_not_blessed_is_refused_unless_forced(rollout: Verbs, own_run: Path) -> None:
    judge(own_run, blessed=False, why="accuracy drops by 0.3 (limit 0.01)")
    (own_run / "export" / "saved_model" / "1" / "fingerprint.pb").touch()
    with pytest.raises(VerificationError, match=r"drops by 0.3.*--force"):
        rollout().publish(read_export(own_run))
    assert names(rollout().base_path) == ["1"]


def test_a_forced_version_is_noted_and_needs_force_again(runs: list[Path], tmp_path: Path, rollout: Verbs) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    judge(run, blessed=False, why="too slow")
    forced = rollout(force=True).publish(read_export(run))
    assert history.read(rollout().deployment)[-1]["forced"] is True
    for verb in (rollout().canary, rollout().promote):
        with pytest.raises(VerificationError, match="Version 2 is not blessed: saved_model: too slow"):
            verb(forced.version)
    assert rollout(force=True).canary(forced.version).changed


def test_a_verification_of_another_version_does_not_count(own_run: Path) -> None:
    judge(own_run, file=Path("export/saved_model/0"))
    export = read_export(own_run)
    assert not export.blessed and "is about export/saved_model/0" in export.why


def test_without_a_verification_nothing_is_blessed(own_run: Path) -> None:
    (own_run / "verification.json").unlink()
    assert not read_export(own_run).blessed
    (own_run / "export" / "contract.json").unlink()
    with pytest.raises(RunError, match="convoy export"):
        read_export(own_run)


def test_numbers_of_removed_versions_are_not_given_again(rollout: Verbs, runs: list[Path]) -> None:
    verbs = rollout()
    for run in runs[1:]:
        verbs.publish(read_export(run))
    removed = verbs.publish(read_export(runs[2]), keep=1)
    assert removed.changed and names(verbs.base_path) == ["1", "3"]  # 1 is stable
    assert verbs.publish(read_export(runs[1])).version == 4


def test_what_is_labelled_is_never_removed(rollout: Verbs, runs: list[Path]) -> None:
    verbs = rollout()
    verbs.publish(read_export(runs[1]))
    verbs.canary()
    verbs.publish(read_export(runs[2]), keep=1)
    assert names(verbs.base_path) == ["1", "2", "3"]


@pytest.mark.skipif(not OTHER_FILE_SYSTEM.is_dir(), reason="there is no second file system")
def test_from_another_file_system(runs: list[Path], tmp_path: Path) -> None:
    away = OTHER_FILE_SYSTEM / f"convoy-{os.getpid()}"
    assert OTHER_FILE_SYSTEM.stat().st_dev != tmp_path.stat().st_dev
    try:
        published(Path(shutil.copytree(runs[0], away / "run")), tmp_path / "models")
        published(runs[1], away / "models")
        assert names(tmp_path / "models") == names(away / "models") == ["1"]
        require_whole(find(away / "models", 1))
    finally:
        shutil.rmtree(away)


def test_a_full_disk_leaves_nothing(runs: list[Path], tmp_path: Path) -> None:
    export = read_export(runs[0])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(StorageError, match="Free some space"):
            publish(export, tmp_path / "models", ())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path / "models") == []
    assert publish(export, tmp_path / "models", ())[1]


def test_folders_that_are_no_versions_are_passed_over(tmp_path: Path) -> None:
    for name in ("3", "0007", "v1", "1.0", ".3.ab.partial", "tmp-2", "²"):
        (tmp_path / name).mkdir()
    assert sorted(version_folders(tmp_path)) == [3, 7]
    assert published_in(tmp_path) == {}
    with pytest.raises(RunError, match=r"no published version 3 \(published: none\)"):
        find(tmp_path, 3)


def test_three_publish_at_once(folder: Deployment, runs: list[Path]) -> None:
    command = [sys.executable, "-m", "tests.serving.deploy.at_once", str(folder.path), *map(str, (*runs[1:], runs[2]))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    there = published_in(folder.base_path("flowers"))
    assert sorted(there) == [1, 2, 3]
    assert {one.digest for one in there.values()} == {read_export(run).digest for run in runs}
    assert [one["version"] for one in history.read(folder) if one["verb"] == "publish"] == [1, 2, 3]


def test_what_clients_have_to_know_is_said(
    rollout: Verbs, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))

    def change(contract: dict[str, Any]) -> None:
        contract["labels"][0] = "tulip"
        contract["environment"]["versions"]["tensorflow"] = "2.30.0"

    change_contract(run, change)
    rollout().publish(read_export(runs[2]))
    assert "Warning" not in capsys.readouterr().err
    rollout().publish(read_export(run))
    told = capsys.readouterr().err.replace("\n", " ")
    assert "version 3 has other labels than stable" in told
    assert "exported by TensorFlow 2.30.0, the servers are of 2.21.0 (tensorflow/serving:2.21.0)" in told
