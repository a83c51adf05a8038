"""Class folders: one folder a class, with or without split folders above them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pipeline.data.example import TRAIN, RawExample
from pipeline.data.sources.base import (
    DataSource,
    existing_folder,
    files_below,
    fingerprint_of,
    is_picture,
    natural_order,
    shortened,
    split_named,
    text_of,
)
from pipeline.errors import DataError
from pipeline.wording import quantity


class ClassFolders(DataSource):
    """Pictures in one folder per class, at any depth: `roses/1.jpg`, or `train/roses/1.jpg` and `val/roses/2.jpg`."""

    kind: Literal["folders"] = "folders"
    """Class folders."""
    path: Path
    """The folder that holds the class folders or the split folders; `${NAME}` and `${NAME:-default}` are filled in."""
    layout: Literal["auto", "classes", "splits"] = "auto"
    """What the folders directly below `path` are. `auto`: splits where all of them have a split's name (train, val,
    valid, validation, test, in any case) and one is `train`; else classes."""

    def check(self) -> None:
        names = [name for name, _ in self._classes()]
        if not names:
            raise DataError(
                f"data.source.path: {self._folder()} holds no class folders. "
                "Expected one folder per class with pictures in it, or train/ and val/ with class folders in them."
            )
        empty = [str(folder) for _, folder in self._classes() if not any(map(is_picture, files_below(folder)))]
        if empty:
            raise DataError(
                f"{quantity(len(empty), 'class folder holds', 'class folders hold')} no picture: {shortened(empty)}. "
                "Add pictures or remove the folder."
            )

    def class_names(self) -> tuple[str, ...]:
        return tuple(sorted({name for name, _ in self._classes()}, key=natural_order))

    def examples(self) -> Iterator[RawExample]:
        within = len(str(self._folder() / "x")) - 1  # many times faster than `relative_to`
        for split, folder in self._splits():
            for name, class_folder in _class_folders(folder):
                for file in filter(is_picture, files_below(class_folder)):
                    where = text_of(str(file))
                    yield RawExample(id=where[within:], image=file, split=split, label=name, where=where)

    def fingerprint(self) -> str:
        return fingerprint_of(filter(is_picture, files_below(self._folder())))

    def warnings(self) -> list[str]:
        root, least_depth = self._folder(), 3 if self._has_splits() else 2
        below = ((file, file.relative_to(root)) for file in files_below(root))
        others = [text_of(str(name)) for file, name in below if not is_picture(file) or len(name.parts) < least_depth]
        return (
            [f"{quantity(len(others), 'file was', 'files were')} passed over: {shortened(others)}."] if others else []
        )

    def _folder(self) -> Path:
        return existing_folder(self.path, "data.source.path")

    def _classes(self) -> Iterator[tuple[str, Path]]:
        for _, folder in self._splits():
            yield from _class_folders(folder)

    def _splits(self) -> Iterator[tuple[str | None, Path]]:
        if not self._has_splits():
            yield None, self._folder()
            return
        for folder in _folders_in(self._folder()):
            split = split_named(folder.name)
            if split is None:
                raise DataError(f"data.source.layout is `splits`, but {folder} has no split's name (train, val, test).")
            yield split, folder

    def _has_splits(self) -> bool:
        if self.layout != "auto":
            return self.layout == "splits"
        splits = {split_named(folder.name) for folder in _folders_in(self._folder())}
        return TRAIN in splits and None not in splits


def _folders_in(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _class_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    yield from ((text_of(entry.name), entry) for entry in _folders_in(folder))
