"""The Source interface: anything that gives labelled pictures, and the helpers that all sources share."""

from __future__ import annotations

import hashlib
import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from models.settings import Settings
from pipeline.data.example import MASKS, TEST, TRAIN, VALIDATION, RawExample
from pipeline.errors import DataError, nearest
from pipeline.locations import is_remote, location

SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""What people call the splits -> what Convoy calls them; compared without case."""

PICTURE_SUFFIXES = {
    ".avif",
    ".bmp",
    ".dib",
    ".gif",
    ".heic",
    ".ico",
    ".j2k",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".svg",
    ".tga",
    ".tif",
    ".tiff",
    ".webp",
}
"""Files taken for pictures when a folder is listed; what is in them is decided by their content alone."""

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


class DataSource(Settings):
    """Where examples come from. Its fields say where and how; nothing is read before a method is called."""

    @abstractmethod
    def check(self) -> None:
        """Finds the usual mistakes quickly (a missing folder, an absent column), without going through all the data.

        Raises:
            DataError: naming the setting, what was found and what was expected.
        """

    @abstractmethod
    def examples(self) -> Iterator[RawExample]:
        """Every example once, in a fixed order; `image` is a path wherever the picture is a file of its own.

        Raises:
            DataError: the data cannot be read on.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the content does. Files are known by path, size and time of change, not read."""

    def class_names(self) -> tuple[str, ...] | None:
        """The classes in index order where the source knows them, else None: then the labels that occur, sorted."""
        return None

    def value_names(self) -> tuple[str, ...]:
        """What the numbers of `value` are called; empty where there are none."""
        return ()

    def number_names(self) -> tuple[str, ...]:
        """What the numbers are called that go into the model beside the picture."""
        return ()

    def category_names(self) -> tuple[str, ...]:
        """The same of categories."""
        return ()

    def never_holds(self) -> frozenset[str]:
        """Fields that none of its examples can have as it is set, whatever is in the data. Most formats have no place
        for masks of objects."""
        return frozenset({MASKS})

    def warnings(self) -> list[str]:
        """What the user should know but need not act on, such as files that were passed over."""
        return []


def located(path: Path | str) -> Path:
    """A path of the settings with `~`, `${NAME}` and `${NAME:-default}` filled in from the environment.

    They are filled in when the path is used, so that a saved configuration still runs on another machine.

    Raises:
        DataError: the variable is not set and has no default.
    """
    return location(VARIABLE.sub(_environment, str(path)))


def _environment(match: re.Match[str]) -> str:
    value = os.environ.get(match["name"], match["default"])
    if value is None:
        raise DataError(
            f"A path holds {match[0]}, but the environment variable {match['name']} is not set. "
            f"Set it, or write ${{{match['name']}:-default}}."
        )
    return value


def existing_folder(path: Path, setting: str) -> Path:
    """The folder that a setting names, or a DataError with the nearest name beside it."""
    folder = located(path)
    if folder.is_dir():
        return folder
    what = "is a file, not a folder" if folder.exists() else "does not exist"
    raise DataError(f"{setting}: the folder {folder} {what}. {_beside(folder, folders=True)}")


def existing_file(path: Path, setting: str) -> Path:
    """The file that a setting names, or a DataError with the nearest name beside it."""
    file = located(path)
    if file.is_file():
        return file
    what = "is a folder, not a file" if file.exists() else "does not exist"
    raise DataError(f"{setting}: the file {file} {what}. {_beside(file, folders=False)}")


def _beside(path: Path, folders: bool) -> str:
    """What a mistyped path may have meant: the names in the deepest folder above it that exists."""
    parent, missing = path.parent, path.name
    while not parent.is_dir() and parent != parent.parent:
        parent, missing, folders = parent.parent, parent.name, True
    names = [entry.name for entry in parent.iterdir() if entry.is_dir() == folders and not entry.name.startswith(".")]
    if not names:
        return f"The folder {parent.absolute()} exists, and holds no {'folder' if folders else 'file'}."
    return f"In {parent.absolute()} there is no {missing!r}. {nearest(missing, sorted(names)[:50])}"


def split_named(name: str) -> str | None:
    """`train`, `validation` or `test` for any usual name of a split, else None."""
    return SPLIT_NAMES.get(name.strip().lower())


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts `2` before `10`, and text as text."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)


def text_of(path: str) -> str:
    """A file name as UTF-8 text; bytes that are not UTF-8 are written as `\\udc..`, so that two names stay two."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def files_below(folder: Path) -> Iterator[Path]:
    """Every file under a folder that is not hidden, in a fixed order; links are followed, circles of them are not."""
    if is_remote(folder):
        yield from _remote_files_below(folder)
        return
    visited = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def _remote_files_below(folder: Path) -> Iterator[Path]:
    """The same in a bucket, which has no links: the files of a folder, then those of the folders in it."""
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda one: one.name)
    folders = [entry for entry in entries if entry.is_dir()]
    yield from (entry for entry in entries if entry not in folders)
    for inner in folders:
        yield from _remote_files_below(inner)


def is_picture(path: Path) -> bool:
    """Whether a file's name says that it is a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def fingerprint_of(files: Iterable[Path], *more: str) -> str:
    """A digest of files by path, size and time of change, and of any more text; a missing file is known as missing."""
    digest = hashlib.sha256("\0".join(more).encode("utf-8", "backslashreplace"))
    for file in files:
        digest.update(f"\0{file}\0{_state(file)}".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _state(file: Path) -> str:
    try:
        status = file.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def shortened(items: Sequence[str], most: int = 5) -> str:
    """A list for a message: the first few, and how many more."""
    more = f", and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
