"""Pictures that every task can learn from, drawn on the fly, and the table that lists them for all label fields."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.example import BOXES, LABEL, LABELS, TRACKS, VALUE

COLOURS = ("red", "green", "blue")
OBJECTS = "objects.csv"
"""Beside the table: the square in each picture, and in some all of the picture as a second object, or none."""
SMALL: dict[str, dict[str, Any]] = {
    "detection": {
        "strides": [2, 4],
        "neck": {"kind": "fpn", "channels": 8},
        "detector": {"kind": "yolo", "head_depth": 1, "head_width": 8, "bins": 5},
        "suppression": {"kind": "class_wise", "most": 6, "candidates": 20, "least_score": 0.0},
        "threshold": 0.0,
    },
    "single_object_tracking": {
        "picture": {"height": 44, "width": 22},
        "network": {"stride": 2, "channels": 8, "template_cells": 3, "head_depth": 1},
        "threshold": 0.0,
    },
}
"""Task -> settings without which it does not fit pictures of 16 pixels; a task that is not named here needs none."""
COLUMNS_OF: dict[str, dict[str, Any]] = {
    LABEL: {"label_column": "colour"},
    LABELS: {"labels_column": "words"},
    VALUE: {"value_columns": ["x", "millions"]},
}
"""Label field of a task -> the columns that give it. A task that learns from another field adds a column."""
WITH_HOLES: dict[str, dict[str, Any]] = {
    LABEL: {"label_column": "some_colour"},
    LABELS: {"class_columns": ["is_red", "is_green"]},
    VALUE: {"value_columns": ["some_x", "some_millions"]},
}
"""The same with cells that are not known; a field that is not named here cannot have any."""
HOLES = (3, 4, 5)
"""Of every so many rows, one has an empty colour, an empty first number or class, an empty second one."""
HEADER = (
    *("image", "colour", "words", "x", "millions"),
    *("some_colour", "some_x", "some_millions", "is_red", "is_green"),
)


def write_table(folder: Path, count: int, size: int = 16) -> Path:
    """`count` pictures of a square, its colour the class, its place the numbers, and what is said of both as labels."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(5)
    rows = []
    for number in range(count):
        colour, side = number % len(COLOURS), size // 3
        x, y = (int(place) for place in generator.integers(0, size - side, 2))
        pixels = generator.integers(0, 60, (size, size, 3), dtype=np.uint8)
        pixels[y : y + side, x : x + side, colour] += 180
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
        words = [COLOURS[colour], *(["right"] if x + side / 2 > size / 2 else []), *(["low"] if y > size / 3 else [])]
        known = (COLOURS[colour], "|".join(words), x / size, 1e6 * y)
        rows.append((f"{number:03}.png", *known, *with_holes(number // len(COLOURS), colour, known)))
    write_objects(folder, rows, size)
    table = folder / "pictures.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([HEADER, *rows])
    return table


def write_objects(folder: Path, rows: Sequence[tuple[Any, ...]], size: int) -> None:
    """The boxes in pixels: of every seventh picture none, of every second two."""
    lines = []
    for number, (file, colour, _, x, millions, *_) in enumerate(rows):
        left, top, side = round(x * size), round(millions / 1e6), size // 3
        square, whole = (file, left, top, left + side, top + side, colour), (file, 0, 0, size, size, COLOURS[0])
        lines += [(file, "", "", "", "", "")] if number % 7 == 6 else [square, whole] if number % 2 else [square]
    with (folder / OBJECTS).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("image", "x_min", "y_min", "x_max", "y_max", "class"), *lines])


def with_holes(number: int, colour: int, known: tuple[Any, ...]) -> list[Any]:
    """`some_colour`, `some_x`, `some_millions`, `is_red`, `is_green`: empty in some rows, each in others."""
    empty = [number % every == 0 for every in HOLES]
    cells = [known[0], known[2], known[3], int(colour == 0), int(colour == 1)]
    return ["" if hole else cell for hole, cell in zip((*empty, *empty[1:]), cells, strict=True)]


def source_of(table: Path, field: str) -> dict[str, Any]:
    """What reads a label field."""
    if field == BOXES:
        return {"kind": "csv_boxes", "path": str(table.with_name(OBJECTS))}
    if field == TRACKS:
        return {"kind": "template_pairs", "sources": [source_of(table, BOXES)], "side": 22, "pairs": 1, "absent": 0.0}
    return {"kind": "table", "path": str(table), **COLUMNS_OF[field]}


def data_settings(table: Path, field: str) -> dict[str, Any]:
    """`data` of a configuration that reads a label field from the table."""
    return {"source": source_of(table, field), "splits": {"validation": 0.2, "test": 0.2}}


def data_with_holes(table: Path, field: str) -> dict[str, Any]:
    """The same with labels of which some are not known."""
    source = {"kind": "table", "path": str(table), **WITH_HOLES[field]}
    return {"source": source, "splits": {"validation": 0.2, "test": 0.2}, "missing_labels": "mask"}
