from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.data.sources import ClassFolders
from pipeline.errors import DataError
from tests.data.pictures import class_folders, write


def test_class_folders_at_any_depth(tmp_path):
    class_folders(tmp_path, {"cat": 1, "dog/brown": 2})
    source = ClassFolders(path=tmp_path)
    source.check()
    assert source.class_names() == ("cat", "dog")
    found = [(example.id, example.label, example.split) for example in source.examples()]
    assert found == [("cat/0.png", "cat", None), ("dog/brown/0.png", "dog", None), ("dog/brown/1.png", "dog", None)]


def test_split_folders_by_any_usual_name(tmp_path):
    class_folders(tmp_path, {"Train/a": 1, "valid/a": 1, "testing/a": 1})
    found = {example.id: (example.split, example.label) for example in ClassFolders(path=tmp_path).examples()}
    assert found == {
        "Train/a/0.png": ("train", "a"),
        "valid/a/0.png": ("validation", "a"),
        "testing/a/0.png": ("test", "a"),
    }


def test_a_class_named_train_is_a_class(tmp_path):
    class_folders(tmp_path, {"bus": 1, "train": 1})
    assert ClassFolders(path=tmp_path).class_names() == ("bus", "train")


def test_layout_can_be_said(tmp_path):
    class_folders(tmp_path, {"train/a": 1, "test/a": 1})
    assert ClassFolders(path=tmp_path, layout="classes").class_names() == ("test", "train")
    write(tmp_path / "other" / "0.png")
    with pytest.raises(DataError, match="no split's name"):
        ClassFolders(path=tmp_path, layout="splits").check()


def test_class_names_are_sorted_as_people_do(tmp_path):
    class_folders(tmp_path, {"class 10": 1, "class 9": 1, "9": 1, "10": 1})
    assert ClassFolders(path=tmp_path).class_names() == ("9", "10", "class 9", "class 10")


def test_other_files_are_passed_over_with_a_warning(tmp_path):
    class_folders(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / ".DS_Store").write_text("x")
    write(tmp_path / "cover.png")
    source = ClassFolders(path=tmp_path)
    assert len(list(source.examples())) == 2
    assert source.warnings() == ["2 files were passed over: cover.png, a/notes.txt."]


def test_links_are_followed_and_circles_are_not(tmp_path):
    class_folders(tmp_path / "elsewhere", {"a": 2})
    root = class_folders(tmp_path / "data", {"b": 1})
    (root / "a").symlink_to(tmp_path / "elsewhere" / "a")
    (root / "b" / "up").symlink_to(root / "b")
    assert [example.id for example in ClassFolders(path=root).examples()] == ["a/0.png", "a/1.png", "b/0.png"]


def test_names_that_are_not_utf8(tmp_path):
    class_folders(tmp_path, {"a": 1, "b": 1})
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "a" / "0.png").rename(tmp_path / "a" / name)
    example = next(iter(ClassFolders(path=tmp_path).examples()))
    assert example.id.encode() == b"a/caf\\udce9.png"
    assert example.image.is_file()


def test_missing_folder_names_the_nearest(tmp_path):
    class_folders(tmp_path, {"flowers/a": 1})
    with pytest.raises(DataError, match=r"flowrs does not exist.*Did you mean 'flowers'"):
        ClassFolders(path=tmp_path / "flowrs").check()
    with pytest.raises(DataError, match=r"no 'flwers'.*'flowers'"):
        ClassFolders(path=tmp_path / "flwers" / "train").check()
    with pytest.raises(DataError, match="is a file"):
        ClassFolders(path=tmp_path / "flowers" / "a" / "0.png").check()


def test_empty_class_and_no_classes(tmp_path):
    with pytest.raises(DataError, match="no class folders"):
        ClassFolders(path=tmp_path).check()
    class_folders(tmp_path, {"a": 1})
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"1 class folder holds no picture: .*/b\."):
        ClassFolders(path=tmp_path).check()


def test_fingerprint_follows_the_content(tmp_path):
    class_folders(tmp_path, {"a": 1, "b": 1})
    source = ClassFolders(path=tmp_path)
    before = source.fingerprint()
    assert source.fingerprint() == before
    os.utime(tmp_path / "a" / "0.png", ns=(1, 1))
    touched = source.fingerprint()
    write(tmp_path / "b" / "1.png")
    assert len({before, touched, source.fingerprint()}) == 3


def test_environment_variables_in_paths(tmp_path, monkeypatch):
    class_folders(tmp_path, {"a": 1})
    monkeypatch.setenv("SOME_DATA", str(tmp_path))
    assert ClassFolders(path=Path("${SOME_DATA}")).class_names() == ("a",)
    monkeypatch.delenv("SOME_DATA")
    assert ClassFolders(path=Path(f"${{SOME_DATA:-{tmp_path}}}")).class_names() == ("a",)
    with pytest.raises(DataError, match="SOME_DATA is not set"):
        ClassFolders(path=Path("${SOME_DATA}/x")).check()


def test_flowers(convoy_data):
    source = ClassFolders(path=convoy_data / "flowers")
    source.check()
    splits = [example.split for example in source.examples()]
    assert (splits.count("train"), splits.count("validation"), len(source.class_names())) == (350, 150, 5)
