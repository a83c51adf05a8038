"""A table, CSV or Parquet: one row a picture, with a label, several labels, or numbers, and any text."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from pipeline.data.example import RawExample
from pipeline.data.sources.base import (
    SPLIT_NAMES,
    DataSource,
    existing_file,
    existing_folder,
    fingerprint_of,
    located,
    split_named,
    text_of,
)
from pipeline.errors import DataError, nearest
from pipeline.wording import quantity

Row = Mapping[str, Any]
PARQUET = (".parquet", ".pq")
ROWS_TRIED = 100
SINGLE_COLUMNS = ("label", "labels", "text", "missing", "split", "group", "id")
"""What one column may give, named by the setting `NAME_column`."""
SHOWN = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
"""What a cell of `class_columns` may hold."""
NOT_KNOWN = {"", "?", "-1", "-1.0", "nan", "none"}
"""The same where it is not known; -1 is how CheXpert (Irvin et al. 2019) writes uncertain findings."""


class Table(DataSource):
    """Pictures listed in a CSV or Parquet file. At most one of the label, labels and value columns is given."""

    kind: Literal["table"] = "table"
    """A CSV or Parquet table."""
    path: Path
    """The table; `.parquet` and `.pq` are read as Parquet, all else as CSV with a header line."""
    image_column: str = "image"
    """Column with each picture's path. In Parquet it may hold the encoded picture, as bytes or as `{bytes, path}`."""
    image_root: Path | None = None
    """Folder that the paths are relative to; by default the table's own."""
    label_column: str | None = None
    """Column with one class name per picture. An empty cell is not known (`data.missing_labels`)."""
    labels_column: str | None = None
    """Column with any number of class names per picture, separated by `separator`; Parquet lists are taken too."""
    value_columns: tuple[str, ...] = ()
    """Columns with one number each, for regression. An empty cell is not known (`data.missing_labels`)."""
    class_columns: tuple[str, ...] = ()
    """Columns that stand for a class each, for any number of classes a picture: 1 where the picture shows it, 0 where
    not; empty, -1 or ? where that is not known (`data.missing_labels`)."""
    text_column: str | None = None
    """Column with text that belongs to the picture."""
    number_columns: tuple[str, ...] = ()
    """Columns with numbers that go into the model beside the picture. An empty cell is not known
    (`data.missing_columns`)."""
    category_columns: tuple[str, ...] = ()
    """Columns with categories that go into the model beside the picture, such as a place or a device. An empty cell is
    not known (`data.missing_columns`)."""
    missing_column: str | None = None
    """Column with the path of a picture of the same size that is not 0 where something is missing, relative to
    `image_root`; an empty cell: nothing is (`data.missing_regions`)."""
    split_column: str | None = None
    """Column that says train, val or test; a picture whose cell is empty is placed by `data.splits`."""
    group_column: str | None = None
    """Column that says what pictures belong together, such as a patient, a video or a place: `data.splits` draws no
    group into two splits. A picture whose cell is empty stands for itself."""
    id_column: str | None = None
    """Column with a name for each picture that occurs once; by default the picture's path, or the row's number."""
    separator: str = "|"
    """What stands between the names in `labels_column`."""
    delimiter: str | None = None
    """What stands between the columns of a CSV; by default a tab for `.tsv` files, else a comma."""
    encoding: str = "utf-8-sig"
    """The CSV's text encoding; the default is UTF-8 with or without a byte order mark."""

    @model_validator(mode="after")
    def _one_target(self) -> Table:
        columns = (self.label_column, self.labels_column, self.value_columns, self.class_columns)
        if sum(map(bool, columns)) > 1:
            raise ValueError(
                "a table takes one of `label_column`, `labels_column`, `value_columns` and `class_columns`"
            )
        return self

    def check(self) -> None:
        columns = self.column_names()
        for setting, name in self._columns():
            if name not in columns:
                raise DataError(
                    f"data.source.{setting}: {self._file()} has no column {name!r}. {nearest(name, columns)}"
                )
        self._check_first_pictures()

    def class_names(self) -> tuple[str, ...] | None:
        return self.class_columns or None

    def value_names(self) -> tuple[str, ...]:
        return self.value_columns

    def number_names(self) -> tuple[str, ...]:
        return self.number_columns

    def category_names(self) -> tuple[str, ...]:
        return self.category_columns

    def examples(self) -> Iterator[RawExample]:
        root = self._root()
        for where, row in self._rows():
            picture = self._picture(row, root, where)
            yield RawExample(
                id=self._id(row, where),
                image=picture,
                split=self._split(row, where),
                group="" if self.group_column is None else _text(row[self.group_column]),
                label=None if self.label_column is None else _text(row[self.label_column]),
                labels=self._labels(row, where),
                labels_unknown=[name for name in self.class_columns if _shown(row[name], name, where) is None],
                value=[_number(row[name], name, where) for name in self.value_columns] or None,
                text=None if self.text_column is None else _text(row[self.text_column]),
                numbers=[_number(row[name], name, where) for name in self.number_columns],
                categories=[_text(row[name]) for name in self.category_columns],
                missing=None if self.missing_column is None else self._missing(row[self.missing_column], root),
                where=where,
            )

    def fingerprint(self) -> str:
        pictures = (picture for example in self.examples() for picture in (example.image, example.missing))
        files = (picture for picture in pictures if isinstance(picture, Path))
        return fingerprint_of((self._file(), *files))

    def _file(self) -> Path:
        return existing_file(self.path, "data.source.path")

    def _root(self) -> Path:
        return (
            self._file().parent
            if self.image_root is None
            else existing_folder(self.image_root, "data.source.image_root")
        )

    def _columns(self) -> Iterator[tuple[str, str]]:
        """(setting, column) for every column that the settings name."""
        yield "image_column", self.image_column
        for setting in (f"{kind}_column" for kind in SINGLE_COLUMNS):
            if (name := getattr(self, setting)) is not None:
                yield setting, name
        for setting in ("value_columns", "class_columns", "number_columns", "category_columns"):
            yield from ((setting, name) for name in getattr(self, setting))

    def column_names(self) -> list[str]:
        """All columns that the file has."""
        if self._is_parquet():
            return list(_parquet(self._file()).schema_arrow.names)
        return next(self._csv_lines(), (0, []))[1]

    def _check_first_pictures(self) -> None:
        tried = [example.image for example, _ in zip(self.examples(), range(ROWS_TRIED), strict=False)]
        if not tried:
            raise DataError(f"data.source.path: {self._file()} has no rows.")
        missing = [picture for picture in tried if isinstance(picture, Path) and not picture.is_file()]
        if len(missing) == len(tried):
            raise DataError(
                f"None of the first {quantity(len(tried), 'picture')} of {self._file()} exists, such as {missing[0]}. "
                "Set data.source.image_root to the folder that the paths are relative to."
            )

    def _is_parquet(self) -> bool:
        return self._file().suffix.lower() in PARQUET

    def _rows(self) -> Iterator[tuple[str, Row]]:
        return self._parquet_rows() if self._is_parquet() else self._csv_rows()

    def _parquet_rows(self) -> Iterator[tuple[str, Row]]:
        number, names = 0, sorted({name for _, name in self._columns()})
        for batch in _parquet(self._file()).iter_batches(batch_size=256, columns=names):
            for row in batch.to_pylist():
                number += 1
                yield f"{self._file()} row {number}", row

    def _csv_rows(self) -> Iterator[tuple[str, Row]]:
        lines = self._csv_lines()
        header = next(lines, (0, []))[1]
        for line, cells in lines:
            where = f"{self._file()}:{line}"
            if len(cells) != len(header):
                raise DataError(
                    f"{where}: {quantity(len(cells), 'cell')}, but the header names {quantity(len(header), 'column')}. "
                    "Put quotes around cells that hold the delimiter, or set data.source.delimiter."
                )
            yield where, dict(zip(header, cells, strict=True))

    def _csv_lines(self) -> Iterator[tuple[int, list[str]]]:
        delimiter = self.delimiter or ("\t" if self._file().suffix.lower() == ".tsv" else ",")
        try:
            with self._file().open(encoding=self.encoding, newline="") as stream:
                reader = csv.reader(stream, delimiter=delimiter)
                yield from ((reader.line_num, cells) for cells in reader if cells)
        except (UnicodeDecodeError, LookupError, csv.Error) as error:
            raise DataError(
                f"{self._file()} cannot be read with encoding {self.encoding!r} and delimiter {delimiter!r}: {error}. "
                "Set data.source.encoding (such as cp1252) or data.source.delimiter."
            ) from error

    def _picture(self, row: Row, root: Path, where: str) -> Path | bytes:
        cell = row[self.image_column]
        if isinstance(cell, dict):
            cell = cell.get("bytes") or cell.get("path")
        return cell if isinstance(cell, bytes) else root / located(Path(_required(cell, self.image_column, where)))

    def _missing(self, cell: Any, root: Path) -> Path | bytes | None:
        if isinstance(cell, dict):
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, bytes):
            return cell
        return root / located(Path(name)) if (name := _text(cell)) else None

    def _id(self, row: Row, where: str) -> str:
        if self.id_column is not None:
            return _required(row[self.id_column], self.id_column, where)
        cell = row[self.image_column]
        path = cell.get("path") if isinstance(cell, dict) else cell
        return text_of(path) if isinstance(path, str) else where.rpartition(" ")[2]

    def _split(self, row: Row, where: str) -> str | None:
        if self.split_column is None or not (name := _text(row[self.split_column])):
            return None
        split = split_named(name)
        if split is None:
            raise DataError(f"{where}: the split {name!r} is unknown. {nearest(name.lower(), SPLIT_NAMES)}")
        return split

    def _labels(self, row: Row, where: str) -> Sequence[str] | None:
        if self.class_columns:
            return [name for name in self.class_columns if _shown(row[name], name, where)]
        if self.labels_column is None:
            return None
        cell = row[self.labels_column]
        names = cell if isinstance(cell, list) else _text(cell).split(self.separator)
        return [name for name in map(_text, names) if name]


def _parquet(file: Path) -> Any:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(file)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{file} is not a Parquet file: {error}") from error


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _shown(cell: Any, column: str, where: str) -> bool | None:
    """Whether a picture shows a class, by the class's own column; None where that is not known."""
    text = _text(cell).lower()
    if text in NOT_KNOWN:
        return None
    if text not in SHOWN:
        expected = "1 (shown), 0 (not shown), or empty, -1 or ? (not known)"
        raise DataError(f"{where}: the column {column!r} holds {text!r}, expected {expected}.")
    return SHOWN[text]


def _required(cell: Any, column: str, where: str) -> str:
    text = _text(cell)
    if not text:
        raise DataError(f"{where}: the column {column!r} is empty. Fill it in or remove the row.")
    return text


def _number(cell: Any, column: str, where: str) -> float:
    """NaN and infinity are let through: `prepare` names all of them at once."""
    text = _text(cell)
    try:
        return float(text or "nan")
    except ValueError as error:
        raise DataError(f"{where}: the column {column!r} holds {text!r}, expected a number.") from error
