"""Derives the table for configs/cell_count.yaml from bccd's Pascal VOC annotations.

    python -m benchmarks.cell_count_table OUTPUT.csv

One row a picture: `image` relative to the folder of bccd, `split` (train or val, from ImageSets), `red_blood_cells`.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import ROOT
from pipeline.files import write_file

SPLITS = ("train", "val")
RED_BLOOD_CELL = "RBC"
COLUMNS = ("image", "split", "red_blood_cells")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="OUTPUT.csv")
    output = parser.parse_args().output
    folder = Path(os.environ.get("CONVOY_DATA", ROOT.parent / "shared" / "data"), "bccd")
    if not folder.is_dir():
        sys.exit(f"{folder} is not there. Set CONVOY_DATA to the folder that holds bccd.")
    found = list(rows(folder))
    write_file(output, as_csv(found))
    print(f"{output}: {len(found)} pictures, {sum(count for *_, count in found)} red blood cells")


def rows(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Image, split and count of every picture that a split names."""
    for split in SPLITS:
        for stem in (folder / "ImageSets" / "Main" / f"{split}.txt").read_text(encoding="utf-8").split():
            image = Path("JPEGImages", f"{stem}.jpg")
            if not (folder / image).is_file():
                sys.exit(f"{split}.txt names {stem}, but {folder / image} is not there.")
            yield image.as_posix(), split, red_blood_cells(folder / "Annotations" / f"{stem}.xml")


def red_blood_cells(annotation: Path) -> int:
    """Boxes of red blood cells that enclose anything: a box without area is a slip of the mouse, not a cell."""
    objects = ElementTree.parse(annotation).iter("object")
    return sum(thing.findtext("name") == RED_BLOOD_CELL and has_area(thing) for thing in objects)


def has_area(thing: ElementTree.Element) -> bool:
    """Whether an object's box is wider and higher than nothing."""
    left, top, right, bottom = (
        float(thing.findtext(f"bndbox/{side}", "nan")) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return right > left and bottom > top


def as_csv(found: list[tuple[str, str, int]]) -> str:
    """The rows under a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(found)
    return text.getvalue()


if __name__ == "__main__":
    main()
