"""Guessing what the columns of a table of pictures mean, from the first rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.data.sources.base import PICTURE_SUFFIXES, is_picture, split_named
from pipeline.data.sources.table import PARQUET, Table
from pipeline.errors import DataError

TABLE_SUFFIXES = frozenset({".csv", ".tsv", *PARQUET})
ROWS_READ = 2000
FILES_TRIED = 50
DELIMITERS = (",", "\t", ";", "|")
SEPARATORS = ("|", ";", ",")
LABEL_NAMES = {
    "label",
    "labels",
    "class",
    "classes",
    "category",
    "categories",
    "target",
    "tag",
    "tags",
    "genre",
    "genres",
}
"""Column names that say what is to be learned; compared without case."""
GROUPS = frozenset(
    {f"{name}{end}" for name in ("patient", "subject", "video", "sequence", "group") for end in ("", "_id")} - {"group"}
)
"""Those that say what belongs together; `group` alone may be a class as well."""

Row = Mapping[str, Any]
Line = tuple[str, str]


@dataclass(frozen=True)
class Guess:
    """One way to learn from a column.

    Args:
        settings: for `data.source`.
        meaning: in words.
        rank: the larger, the likelier that it is meant.
    """

    settings: dict[str, Any]
    meaning: str
    rank: float


def guess_table(file: Path) -> tuple[Table, list[Line]]:
    """A table's source settings, and the other ways to read it: each a YAML line and what it would mean.

    Raises:
        DataError: no column names pictures, or nothing is left to learn from.
    """
    reading, rows = _read(file)
    columns = {name: [row.get(name) for row in rows] for name in (rows[0] if rows else ())}
    image, root = _image_column(file, columns)
    others = {name: values for name, values in columns.items() if name != image}
    split = next((name for name, values in others.items() if _is_split(values)), None)
    group = next((name for name in others if name.lower() in GROUPS), None)
    learned = {name: values for name, values in others.items() if name != group}
    guesses = sorted(_guesses(learned, split), key=lambda guess: -guess.rank)
    if not guesses:
        raise DataError(
            f"{file} lists pictures in {image!r}, but none of its other columns ({', '.join(others) or 'none'}) "
            "looks like a label (few different values), a list of labels (a|b|c) or a number."
        )
    text = next((name for name, values in learned.items() if _is_text(values)), None)
    extra = {"image_root": root, "split_column": split, "group_column": group, "text_column": text, **reading}
    given = {key: value for key, value in extra.items() if value is not None}
    source = Table.model_validate({"path": file, "image_column": image, **guesses[0].settings, **given})
    return source, [(_line(guess), guess.meaning) for guess in guesses[1:]]


def _line(guess: Guess) -> str:
    return ", ".join(
        f"{key}: [{', '.join(value)}]" if isinstance(value, list) else f"{key}: {value}"
        for key, value in guess.settings.items()
    )


def _read(file: Path) -> tuple[dict[str, str], list[Row]]:
    """How the table is to be read where that is not the default, and its first rows."""
    if file.suffix.lower() in PARQUET:
        return {}, _parquet_rows(file)
    text, reading = _text(file)
    lines = text.splitlines()
    header = lines[0] if lines else ""
    delimiter = max(DELIMITERS, key=header.count)
    if header.count(delimiter) and delimiter != ("\t" if file.suffix.lower() == ".tsv" else ","):
        reading["delimiter"] = delimiter
    return reading, list(islice(csv.DictReader(lines, delimiter=delimiter), ROWS_READ))


def _text(file: Path) -> tuple[str, dict[str, str]]:
    try:
        return file.read_text(encoding="utf-8-sig"), {}
    except UnicodeDecodeError:
        return file.read_text(encoding="cp1252", errors="replace"), {"encoding": "cp1252"}


def _parquet_rows(file: Path) -> list[Row]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        batch = next(ParquetFile(file).iter_batches(batch_size=ROWS_READ), None)
    except ArrowInvalid as error:
        raise DataError(f"{file} is no Parquet file: {error}") from error
    return batch.to_pylist() if batch else []


def _image_column(file: Path, columns: Mapping[str, Sequence[Any]]) -> tuple[str, Path | None]:
    """The column that holds or names pictures, and the folder that the names are relative to, if not the table's."""
    for name, values in columns.items():
        if _holds_pictures(values):
            return name, None
    for root in _roots(file.parent):
        for name, values in columns.items():
            names = [value for value in values[:FILES_TRIED] if isinstance(value, str) and value]
            if names and sum((root / value).is_file() for value in names) * 2 > len(names):
                return name, None if root == file.parent else root
    named = [
        name for name, values in columns.items() if any(_looks_like_picture(value) for value in values[:FILES_TRIED])
    ]
    hint = f"The column {named[0]!r} names pictures, but they are not there. " if named else ""
    raise DataError(
        f"{file}: no column names pictures that exist (columns: {', '.join(map(str, columns)) or 'none'}). {hint}"
        "Expected paths relative to the table's folder or one below it, or a Parquet column of encoded pictures."
    )


def _roots(folder: Path) -> Iterator[Path]:
    """The folders that picture names may be relative to: the table's, those in it, and the one above."""
    yield folder
    yield from sorted(entry for entry in folder.glob("*") if entry.is_dir())
    yield from sorted(entry for entry in folder.glob("*/*") if entry.is_dir())
    yield folder.parent


def _holds_pictures(values: Sequence[Any]) -> bool:
    first = next((value for value in values if value is not None), None)
    return isinstance(first, bytes) or (isinstance(first, dict) and "bytes" in first)


def _looks_like_picture(value: Any) -> bool:
    return isinstance(value, str) and is_picture(Path(value))


def _guesses(columns: Mapping[str, Sequence[Any]], split: str | None) -> Iterator[Guess]:
    for name, values in columns.items():
        filled = [value for value in values if value not in (None, "")]
        if name == split or not filled or any(_looks_like_picture(value) for value in filled[:FILES_TRIED]):
            continue
        guess = _labels(name, filled) or _label(name, filled) or _value(name, filled)
        if guess:
            yield guess


def _labels(name: str, values: Sequence[Any]) -> Guess | None:
    """Several labels a cell: lists, or text in which a separator stands between names that occur again."""
    if isinstance(values[0], list):
        return _labels_guess(name, None, [str(part) for value in values for part in value], len(values))
    texts = [str(value) for value in values]
    for separator in SEPARATORS:
        if sum(separator in text for text in texts) * 10 < len(texts):
            continue
        parts = [part.strip() for text in texts for part in text.split(separator)]
        if guess := _labels_guess(name, separator, parts, len(texts)):
            return guess
    return None


def _labels_guess(name: str, separator: str | None, parts: Sequence[str], rows: int) -> Guess | None:
    classes = len(set(parts))
    if not 2 <= classes <= max(2, rows // 2) or len(parts) < 3 * classes:
        return None
    settings: dict[str, Any] = {"labels_column": name}
    if separator not in (None, "|"):
        settings["separator"] = separator
    return Guess(settings, f"any of {classes} classes a picture (multi_label)", 3 + _named(name))


def _label(name: str, values: Sequence[Any]) -> Guess | None:
    """One label a cell: few different values; numbers count only when whole and few."""
    classes = {str(value) for value in values}
    numbers = [_number(value) for value in values]
    all_numbers = all(number is not None for number in numbers)
    if all_numbers and not (
        len(classes) <= 20 and all(number == int(number) for number in numbers if number is not None)
    ):
        return None
    if not 2 <= len(classes) <= len(values) // 2:
        return None
    rank = (1.5 if all_numbers else 2) + _named(name)
    return Guess({"label_column": name}, f"one of {len(classes)} classes a picture (classification)", rank)


def _value(name: str, values: Sequence[Any]) -> Guess | None:
    """A number a cell, unless it is a running number."""
    numbers = [number for value in values if (number := _number(value)) is not None]
    if len(numbers) != len(values) or len(set(numbers)) < 3 or name.lower() in ("id", "index", ""):
        return None
    meaning = f"a number from {min(numbers):g} to {max(numbers):g} (regression)"
    return Guess({"value_columns": [name]}, meaning, 1 + _named(name))


def _named(name: str) -> float:
    return 3 if name.lower() in LABEL_NAMES else 0


def _is_split(values: Sequence[Any]) -> bool:
    names = {str(value) for value in values if value not in (None, "")}
    return len(names) > 1 and all(split_named(name) for name in names)


def _is_text(values: Sequence[Any]) -> bool:
    """Whether most cells differ and hold several words."""
    texts = [value for value in values if isinstance(value, str) and value]
    worded = [text for text in texts if " " in text.strip() and not text.lower().endswith(tuple(PICTURE_SUFFIXES))]
    return len(worded) * 2 > len(values) and len(set(texts)) * 2 > len(texts)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
