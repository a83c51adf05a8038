"""Which of the formats with boxes a folder or file is in."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.mot_sequences import sequences_in
from pipeline.data.sources.base import files_below
from pipeline.data.sources.boxes import number_box
from pipeline.errors import DataError, nearest

BOX_KINDS = ("pascal_voc", "coco", "yolo", "csv_boxes", "mot_challenge")
YAML, JSON, CSV = (".yaml", ".yml"), ".json", ".csv"
NAMES = re.compile(r"""^["']?names["']?\s*:""", re.MULTILINE)
"""What a YOLO's data.yaml has and other YAML has not."""
COLUMNS: Mapping[str, Sequence[str]] = {
    "image_column": ("image", "filename", "file_name", "path", "image_path"),
    "class_column": ("class", "label", "class_name", "name"),
    "x_min": ("x_min", "xmin", "x1", "left"),
    "y_min": ("y_min", "ymin", "y1", "top"),
    "x_max": ("x_max", "xmax", "x2", "right"),
    "y_max": ("y_max", "ymax", "y2", "bottom"),
    "split_column": ("split", "set", "subset"),
    "difficult_column": ("difficult",),
    "crowd_column": ("crowd", "iscrowd"),
}
"""What columns of a CSV of boxes are called; the first six have to be there."""
NEEDED = 6


def recognised(path: Path) -> dict[str, Any]:
    """The `data.source` that reads a folder or file with boxes.

    Raises:
        DataError: it is in none of the formats.
    """
    if not path.exists():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"There is no {path}. {nearest(path.name, beside) if beside else ''}".strip())
    found = next(candidates(path), None)
    if found is None:
        raise DataError(
            f"{path} is in none of the formats {', '.join(BOX_KINDS)}: expected Annotations/*.xml, COCO's JSON, a "
            "data.yaml with `names`, a CSV with columns for picture, edges and class, or sequences with gt/gt.txt. "
            "Give the format by --from."
        )
    return found


def candidates(path: Path) -> Iterator[dict[str, Any]]:
    """Each `data.source` that a folder or file may be by its names, the likeliest first; only YAML and the heads of
    tables are looked into."""
    yield from _of_file(path) if path.is_file() else _of_folder(path)


def _of_folder(folder: Path) -> Iterator[dict[str, Any]]:
    if any(one.truth.is_file() for one in sequences_in(folder)):
        yield {"kind": "mot_challenge", "path": str(folder)}
    annotations = (folder / "Annotations").is_dir()
    files = [folder / "data.yaml", *sorted(file for suffix in YAML for file in folder.glob(f"*{suffix}"))]
    if named := next(filter(_names_classes, files), None):
        yield {"kind": "yolo", "path": str(folder if named == files[0] else named)}
    if annotations:
        yield {"kind": "pascal_voc", "path": str(folder)}
    if [*folder.glob("*.json"), *folder.glob("*/*.json")]:
        yield {"kind": "coco", "path": str(folder)}
    yield from (found for file in sorted(folder.glob("*.csv")) if (found := _of_table(file)))
    if not annotations and any(file.suffix.lower() == ".xml" for file in files_below(folder)):
        yield {"kind": "pascal_voc", "path": str(folder)}


def _of_file(file: Path) -> Iterator[dict[str, Any]]:
    suffix = file.suffix.lower()
    if suffix in YAML and _names_classes(file):
        yield {"kind": "yolo", "path": str(file)}
    if suffix == JSON:
        yield {"kind": "coco", "path": str(file)}
    if suffix == CSV and (found := _of_table(file)):
        yield found


def _names_classes(file: Path) -> bool:
    return file.is_file() and NAMES.search(file.read_text(encoding="utf-8-sig", errors="replace")) is not None


def _of_table(file: Path) -> dict[str, Any] | None:
    """By the names of the columns."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            header, first = next(rows, []), next(rows, [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    columns = {wanted: next((name for name in names if name in header), None) for wanted, names in COLUMNS.items()}
    if None in list(columns.values())[:NEEDED]:
        return None
    edges = [columns.pop(name) for name in ("x_min", "y_min", "x_max", "y_max")]
    found = {name: column for name, column in columns.items() if column is not None}
    cells = dict(zip(header, first, strict=False))
    picture, box = cells.get(str(found["image_column"]), ""), number_box([cells.get(str(name)) for name in edges])
    unit = {"unit": "picture"} if box is not None and 0 < max(box) <= 1 else {}  # a box of a pixel is none
    inner = file.parent / "images"
    root = {"image_root": str(inner)} if (inner / picture).is_file() else {}
    return {"kind": "csv_boxes", "path": str(file), "box_columns": edges, **found, **unit, **root}
