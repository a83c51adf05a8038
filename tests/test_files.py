"""Atomic files and folders."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.files import new_file, new_folder, storage_errors, write_file


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_file(path, "grün")
    write_file(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["b.json"]


def test_a_failure_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    write_file(path, "old")
    with pytest.raises(KeyError), new_file(path) as temporary:
        assert temporary.suffix == ".keras"
        temporary.write_text("half")
        raise KeyError("stop")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["model.keras"]


def test_a_folder_is_built_beside_its_target_under_a_name_that_is_no_version(tmp_path: Path) -> None:
    with new_folder(tmp_path / "export" / "7") as folder:
        (folder / "variables").mkdir()
        (folder / "variables" / "data").write_bytes(b"x")
        assert folder.parent == tmp_path / "export"
        assert re.fullmatch(r"[+-]?\d+", folder.name) is None
        assert not (tmp_path / "export" / "7").exists()
    assert names(tmp_path / "export") == ["7"]
    assert (tmp_path / "export" / "7" / "variables" / "data").read_bytes() == b"x"


def test_a_folder_replaces_the_earlier_one_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "variant"
    with new_folder(target) as folder:
        (folder / "old").touch()
    with pytest.raises(KeyboardInterrupt), new_folder(target) as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert names(target) == ["old"]
    with new_folder(target) as folder:
        (folder / "new").touch()
    assert names(target) == ["new"]
    assert names(tmp_path) == ["variant"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_what_the_system_refuses_is_a_storage_error(tmp_path: Path, number: int) -> None:
    with pytest.raises(StorageError, match=os.strerror(number)), new_folder(tmp_path / "7") as folder:
        raise OSError(number, os.strerror(number), str(folder / "file"))
    assert names(tmp_path) == []


def test_libraries_that_put_the_system_error_in_a_message_are_understood(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Free some space"), storage_errors(tmp_path / "x"):
        raise RuntimeError("Failed to write checkpoint; No space left on device")


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), storage_errors(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/picture.jpg")
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path / "out"):
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_files() -> None:
    with pytest.raises(StorageError, match=r"Cannot write /proc/x\.png: /proc takes no new files"):
        write_file(Path("/proc/x.png"), b"")
