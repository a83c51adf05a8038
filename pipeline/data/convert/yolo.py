"""YOLO: `data.yaml`, `images/SPLIT/`, `labels/SPLIT/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data.convert.base import IMAGES, SPLIT_FILES, Picture, Writer, number
from pipeline.data.convert.masks import largest_ring
from pipeline.data.example import TRAIN, RawObject
from pipeline.data.sources.yolo import labels_of

SHARE_DECIMALS = 9
"""A millionth of a pixel in a picture of a thousand."""


class YoloWriter(Writer):
    """A text file for each picture: boxes, or outlines where they are wanted and there."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._splits: set[str] = set()

    def place(self, picture: Picture) -> str:
        return f"{IMAGES}/{_folder(picture)}/{picture.file}"

    def add(self, picture: Picture) -> None:
        self._splits.add(_folder(picture))
        file = self.folder / labels_of(Path(self.place(picture)), "labels")  # the reader's rule: the last `images`
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{self._line(one, picture)}\n" for one in picture.objects), encoding="utf-8")

    def finish(self) -> None:
        splits = [f"{name}: {IMAGES}/{name}" for name in SPLIT_FILES.values() if name in self._splits]
        names = [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(self.class_names)]
        text = "\n".join(["path: .", *splits, "names:" if names else "names: []", *names, ""])
        (self.folder / "data.yaml").write_text(text, encoding="utf-8")

    def source(self, folder: Path) -> Mapping[str, Any]:
        return {"kind": "yolo", "path": str(folder)}

    def lacks(self, one: RawObject) -> list[str]:
        lacking = super().lacks(one)
        return [name for name in lacking if name != "outline or mask"] if self.outlines else lacking

    def _line(self, one: RawObject, picture: Picture) -> str:
        ring = largest_ring(one.mask, picture)[0] if self.outlines and one.mask is not None else None
        if ring is not None:
            values = [value for x, y in ring for value in (x / picture.width, y / picture.height)]
            inside = [min(max(value, 0.0), 1.0) for value in values]
            return " ".join([str(self.index[one.label]), *(number(value, SHARE_DECIMALS) for value in inside)])
        x_min, y_min, x_max, y_max = one.box or (0.0, 0.0, 0.0, 0.0)
        centre = ((x_min + x_max) / 2 / picture.width, (y_min + y_max) / 2 / picture.height)
        size = ((x_max - x_min) / picture.width, (y_max - y_min) / picture.height)
        return " ".join([str(self.index[one.label]), *(number(value, SHARE_DECIMALS) for value in (*centre, *size))])


def _folder(picture: Picture) -> str:
    """A picture without a split is for training: the format has a folder for nothing else."""
    return SPLIT_FILES[picture.split or TRAIN]
