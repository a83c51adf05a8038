"""A CSV of boxes: one row an object, with the picture, the edges of the box and the class."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.data.example import RawExample, RawObject
from pipeline.data.sources.base import (
    SPLIT_NAMES,
    existing_file,
    existing_folder,
    fingerprint_of,
    split_named,
    text_of,
)
from pipeline.data.sources.boxes import (
    BoxSource,
    class_files,
    count_of,
    listed_classes,
    number_box,
    of_classes,
    require_pictures,
    unusable_object,
)
from pipeline.errors import DataError, nearest

YES, NO = {"1", "1.0", "true", "yes"}, {"", "0", "0.0", "false", "no"}
"""What a cell of a mark may hold; compared without case."""


@dataclass
class Picture:
    """What the rows of one picture say."""

    where: str
    split: str | None
    objects: list[RawObject] = field(default_factory=list)


class CsvBoxes(BoxSource):
    """Boxes in a CSV with a header, in any order. A row with a picture and empty cells is a picture without objects."""

    kind: Literal["csv_boxes"] = "csv_boxes"
    """A CSV of boxes."""
    path: Path
    """The CSV."""
    image_root: Path | None = None
    """Folder that the pictures' paths are relative to; by default the CSV's own."""
    image_column: str = "image"
    """Column with the picture's path."""
    box_columns: tuple[str, ...] = Field(default=("x_min", "y_min", "x_max", "y_max"), min_length=4, max_length=4)
    """Columns with the left, top, right and bottom edge of the box."""
    class_column: str = "class"
    """Column with the class."""
    unit: Literal["pixel", "picture"] = "pixel"
    """Of the edges: pixels, or shares of the picture, 0 to 1."""
    split_column: str | None = None
    """Column that says train, val or test; the first row of a picture counts."""
    difficult_column: str | None = None
    """Column that marks difficult objects by 1."""
    crowd_column: str | None = None
    """Column that marks by 1 what stands for many objects."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """What stands between the columns."""
    encoding: str = "utf-8-sig"
    """The CSV's text encoding; the default is UTF-8 with or without a byte order mark."""

    def check(self) -> None:
        header = next(self._lines(), (0, []))[1]
        for setting, name in self._columns():
            if name not in header:
                raise DataError(
                    f"data.source.{setting}: {self._file()} has no column {name!r}. {nearest(name, header)}"
                )
        self.own_classes()
        require_pictures((example.image for example in self.examples()), "image_root")

    def own_classes(self) -> tuple[str, ...] | None:
        return listed_classes(self._file().parent)

    def examples(self) -> Iterator[RawExample]:
        root, names = self._root(), self.chosen_classes()
        for name, picture in self._pictures().items():
            yield RawExample(
                id=text_of(name),
                image=root / name,
                split=picture.split,
                objects=of_classes(picture.objects, names),
                where=picture.where,
            )

    def fingerprint(self) -> str:
        root, labels = self._root(), [self._file(), *class_files(self._file().parent)]
        return fingerprint_of([*labels, *(root / name for name in self._pictures())])

    def warnings(self) -> list[str]:
        """Rows that name no picture."""
        homeless = [where for where, row in self._rows() if not row[self.image_column].strip()]
        return count_of(
            homeless,
            "row was passed over, since it names no picture",
            "rows were passed over, since they name no picture",
        )

    def _file(self) -> Path:
        return existing_file(self.path, "data.source.path")

    def _root(self) -> Path:
        if self.image_root is None:
            return self._file().parent
        return existing_folder(self.image_root, "data.source.image_root")

    def _columns(self) -> Iterator[tuple[str, str]]:
        """(setting, column) for every column that is read."""
        yield from (("image_column", self.image_column), ("class_column", self.class_column))
        yield from (("box_columns", name) for name in self.box_columns)
        for setting in ("split_column", "difficult_column", "crowd_column"):
            if (name := getattr(self, setting)) is not None:
                yield setting, name

    def _pictures(self) -> Mapping[str, Picture]:
        """Path as the CSV has it -> what its rows say, in the order in which the pictures come first."""
        pictures: dict[str, Picture] = {}
        for where, row in self._rows():
            if not (name := row[self.image_column].strip()):
                continue
            picture = pictures.setdefault(name, Picture(where, self._split(row, where)))
            if any(row[column].strip() for column in (*self.box_columns, self.class_column)):
                picture.objects.append(self._object(row, where))
        return pictures

    def _object(self, row: Mapping[str, str], where: str) -> RawObject:
        cells = [row[column].strip() for column in self.box_columns]
        box, label = number_box(cells), row[self.class_column].strip()
        difficult, crowd = self._mark(row, self.difficult_column), self._mark(row, self.crowd_column)
        if box is None:
            return unusable_object(where, f"expected four numbers in {', '.join(self.box_columns)}, found {cells}")
        if not label:
            return unusable_object(where, "it has no class")
        if difficult is None or crowd is None:
            return unusable_object(where, "its marks are neither 0 nor 1")
        return RawObject(label=label, box=box, unit=self.unit, where=where, difficult=difficult, crowd=crowd)

    def _mark(self, row: Mapping[str, str], column: str | None) -> bool | None:
        """Whether an object is marked; None where the cell says neither."""
        cell = "" if column is None else row[column].strip().lower()
        return cell in YES if cell in YES | NO else None

    def _split(self, row: Mapping[str, str], where: str) -> str | None:
        name = "" if self.split_column is None else row[self.split_column].strip()
        split = split_named(name)
        if name and split is None:
            raise DataError(f"{where}: the split {name!r} is unknown. {nearest(name.lower(), SPLIT_NAMES)}")
        return split

    def _rows(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """`file:line` and the cells by column; a row that is cut short has empty cells at its end."""
        lines = self._lines()
        header = next(lines, (0, []))[1]
        for line, cells in lines:
            filled = [*cells, *[""] * (len(header) - len(cells))]
            yield f"{self._file()}:{line}", dict(zip(header, filled, strict=False))

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        try:
            with self._file().open(encoding=self.encoding, newline="") as stream:
                reader = csv.reader(stream, delimiter=self.delimiter)
                yield from ((reader.line_num, cells) for cells in reader if cells)
        except (UnicodeDecodeError, LookupError, csv.Error) as error:
            raise DataError(
                f"{self._file()} cannot be read with encoding {self.encoding!r} and delimiter {self.delimiter!r}: "
                f"{error}. Set data.source.encoding (such as cp1252) or data.source.delimiter."
            ) from error
