"""COCO's JSON of instances: `images/`, and `annotations/instances_SPLIT.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data.convert.base import DECIMALS, IMAGES, SPLIT_FILES, Picture, Writer, box_area
from pipeline.data.convert.masks import pixels_of
from pipeline.data.example import TRAIN, RawObject
from pipeline.data.outlines import Polygons, run_lengths


class CocoWriter(Writer):
    """A JSON file for each split; categories count from 1."""

    holds = frozenset({"crowd", "outline or mask", "area"})

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._images: dict[str | None, list[dict[str, Any]]] = {}
        self._annotations: dict[str | None, list[dict[str, Any]]] = {}
        self._count = self._objects = 0

    def place(self, picture: Picture) -> str:
        return f"{IMAGES}/{picture.file}"

    def add(self, picture: Picture) -> None:
        self._count += 1
        entry = {"id": self._count, "file_name": picture.file, "width": picture.width, "height": picture.height}
        self._images.setdefault(picture.split, []).append(entry)
        annotations = self._annotations.setdefault(picture.split, [])
        for one in picture.objects:
            self._objects += 1
            annotations.append({"id": self._objects, "image_id": self._count, **self._annotation(one, picture)})

    def finish(self) -> None:
        folder = self.folder / "annotations"
        folder.mkdir(parents=True)
        if len(self._images) > 1 and None in self._images:  # of a set with splits: those without are for training
            for held in (self._images, self._annotations):
                held[TRAIN] = [*held.get(TRAIN, []), *held.pop(None)]
        categories = [{"id": place, "name": name} for place, name in enumerate(self.class_names, 1)]
        for split, images in self._images.items():
            file = folder / (f"instances_{SPLIT_FILES[split]}.json" if split else "instances.json")
            content = {"images": images, "annotations": self._annotations[split], "categories": categories}
            file.write_text(json.dumps(content), encoding="utf-8")

    def source(self, folder: Path) -> Mapping[str, Any]:
        return {"kind": "coco", "path": str(folder)}

    def _annotation(self, one: RawObject, picture: Picture) -> dict[str, Any]:
        x_min, y_min, x_max, y_max = one.box or (0.0, 0.0, 0.0, 0.0)
        segmentation, area = _segmentation(one, picture)
        return {
            "category_id": self.index[one.label] + 1,
            "bbox": [round(value, DECIMALS) for value in (x_min, y_min, x_max - x_min, y_max - y_min)],
            "area": round(box_area(one) if area is None else area, DECIMALS),
            "iscrowd": int(one.crowd),
            "segmentation": segmentation,
        }


def _segmentation(one: RawObject, picture: Picture) -> tuple[Any, float | None]:
    """Outlines as they are, any other mask as runs of pixels; and the area that is known."""
    if one.mask is None:
        return [], one.area
    pixels = pixels_of(one.mask, picture)
    area = float(pixels.sum()) if one.area is None else one.area
    if isinstance(one.mask, Polygons):
        rings = [[round(value, DECIMALS) for corner in ring for value in corner] for ring in one.mask.rings]
        return rings, area
    return {"size": [picture.height, picture.width], "counts": list(run_lengths(pixels).counts)}, area
