"""A CSV of boxes: `boxes.csv`, `classes.txt` and `images/`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data.convert.base import IMAGES, SPLIT_FILES, Picture, Writer, number

COLUMNS = ("image", "x_min", "y_min", "x_max", "y_max", "class", "split", "difficult", "crowd")
FILE = "boxes.csv"


class CsvWriter(Writer):
    """A row for each object; a picture without any has a row without a box."""

    holds = frozenset({"difficult", "crowd"})

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._rows: list[tuple[str, ...]] = []

    def place(self, picture: Picture) -> str:
        return f"{IMAGES}/{picture.file}"

    def add(self, picture: Picture) -> None:
        split = SPLIT_FILES[picture.split] if picture.split else ""
        for one in picture.objects:
            edges = (number(value) for value in one.box or ())
            marks = str(int(one.difficult)), str(int(one.crowd))
            self._rows.append((picture.file, *edges, one.label, split, *marks))
        if not picture.objects:
            self._rows.append((picture.file, "", "", "", "", "", split, "", ""))

    def finish(self) -> None:
        with (self.folder / FILE).open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([COLUMNS, *self._rows])
        self.write_classes()

    def source(self, folder: Path) -> Mapping[str, Any]:
        return {
            "kind": "csv_boxes",
            "path": str(folder / FILE),
            "image_root": str(folder / IMAGES),
            "split_column": "split",
            "difficult_column": "difficult",
            "crowd_column": "crowd",
        }
