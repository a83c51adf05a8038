"""What all sources of pictures with boxes have in common: their classes, and what is set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipeline.data.example import RawExample, RawObject
from pipeline.data.sources.base import DataSource, shortened
from pipeline.errors import DataError
from pipeline.wording import quantity

Box = tuple[float, float, float, float]
Name = TypeVar("Name", bound=Hashable)

PICTURES_TRIED = 100
CLASSES_FILE = "classes.txt"
"""The classes in index order, one a line, beside labels in a format that has no place for them."""


class BoxSource(DataSource):
    """Pictures with boxes of objects.

    What is wrong with one object, or with the labels of one picture, sets that object or picture aside: it is listed
    in the store's `objects_left_out.csv` or `quarantine.csv`.
    """

    classes: tuple[str, ...] = ()
    """The classes in index order; by default those that the data names (Pascal VOC and a CSV in a `classes.txt` beside
    them, one a line), else those that occur, sorted."""
    other_classes: Literal["refuse", "leave_out"] = "refuse"
    """What to do with objects of a class that is not one of these: an error, or leave them out of their pictures and
    list them. With `leave_out`, `classes` chooses some of many."""

    def class_names(self) -> tuple[str, ...] | None:
        return self.classes or self.own_classes()

    def own_classes(self) -> tuple[str, ...] | None:
        """The classes that the data itself names, in their order; None where it names none."""
        return None

    def chosen_classes(self) -> Sequence[str] | None:
        """The only classes whose objects are taken, where others are to be left out; else None."""
        return self.class_names() if self.other_classes == "leave_out" else None


class LabelFiles(BoxSource):
    """The same where each picture has a file of labels of its own."""

    without_labels: Literal["leave_out", "background"] = "leave_out"
    """What a picture that should have a file of labels but has none is: `leave_out`: one that nobody labelled;
    `background`: one that shows no object."""

    def unlabelled(self, identity: str, image: Path, split: str | None, where: str) -> RawExample:
        """The example of a picture without a file of labels."""
        why = "" if self.without_labels == "background" else "no file of labels belongs to it"
        return RawExample(id=identity, image=image, split=split, objects=(), where=where, unusable=why)


def of_classes(objects: Iterable[RawObject], names: Sequence[str] | None) -> list[RawObject]:
    """Objects, those of other classes than these marked as unusable; None: all classes are taken."""
    if names is None:
        return list(objects)
    return [one if one.unusable or one.label in names else _of_another(one) for one in objects]


def _of_another(one: RawObject) -> RawObject:
    return replace(one, unusable=f"its class {one.label!r} is not one of data.source.classes")


def unusable_object(where: str, why: str) -> RawObject:
    """An object that is set aside."""
    return RawObject(label="", where=where, unusable=why)


def number_box(values: Sequence[Any]) -> Box | None:
    """Four numbers, or None where they are something else; what is not finite is for `prepare` to refuse."""
    try:
        first, second, third, fourth = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return first, second, third, fourth


def lines_of(file: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        DataError: it cannot be read, or is not text.
    """
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error


def listed_classes(folder: Path) -> tuple[str, ...] | None:
    """The classes that the folder's `classes.txt` names, in its order; None where there is no such file.

    Raises:
        DataError: it cannot be read, names nothing, or a class twice.
    """
    file = folder / CLASSES_FILE
    if not file.is_file():
        return None
    names = [name for line in lines_of(file) if (name := line.strip())]
    if not names:
        raise DataError(f"{file} names no class. Expected one a line, in index order; else remove the file.")
    if twice := repeated(names):
        raise DataError(f"{file} names {shortened(twice)} more than once. Name each class in one line.")
    return tuple(names)


def class_files(folder: Path) -> list[Path]:
    """The `classes.txt` of a folder, where it has one."""
    return [file for file in [folder / CLASSES_FILE] if file.is_file()]


def require_pictures(files: Iterable[Any], setting: str) -> None:
    """Raises DataError where none of the first pictures exists: the folder is then a wrong one."""
    tried = [file for file, _ in zip(files, range(PICTURES_TRIED), strict=False) if isinstance(file, Path)]
    if tried and not any(file.is_file() for file in tried):
        raise DataError(
            f"None of the first {quantity(len(tried), 'picture')} exists, such as {tried[0]}. Set "
            f"data.source.{setting} to the folder that has them."
        )


def unique_ids(short: Sequence[str], long: Sequence[str]) -> Sequence[str]:
    """The short names where no two are the same, else the long ones: a picture keeps its name, alone or in a set."""
    return long if len(set(short)) < len(short) else short


def count_of(names: Sequence[str], one: str, many: str) -> list[str]:
    """A warning such as `2 files of labels were passed over, since ...: a.txt, b.txt.`; none where there are none.

    Args:
        one, many: what is said of one name, and of several, as `quantity` takes it.
    """
    return [f"{quantity(len(names), one, many)}: {shortened(names)}."] if names else []


def repeated(names: Iterable[Name]) -> list[Name]:
    """The names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
