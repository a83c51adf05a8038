"""Pascal VOC: `JPEGImages/`, `Annotations/`, `classes.txt`, and, where there are splits, `ImageSets/Main/`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pipeline.data.convert.base import SPLIT_FILES, Picture, Writer, number
from pipeline.data.example import TRAIN, RawObject

EDGES = ("xmin", "ymin", "xmax", "ymax")


class VocWriter(Writer):
    """An XML file for each picture; the first pixel is 0, as most tools count."""

    holds = frozenset({"difficult"})

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._splits: list[tuple[str | None, str]] = []

    def place(self, picture: Picture) -> str:
        return f"JPEGImages/{picture.file}"

    def add(self, picture: Picture) -> None:
        self._splits.append((picture.split, picture.name))
        root = Element("annotation")
        SubElement(root, "filename").text = picture.file
        size = SubElement(root, "size")
        for name, value in (("width", picture.width), ("height", picture.height), ("depth", 3)):
            SubElement(size, name).text = str(value)
        for one in picture.objects:
            _add_object(root, one)
        indent(root)
        file = self.folder / "Annotations" / f"{picture.name}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(tostring(root, encoding="utf-8") + b"\n")

    def finish(self) -> None:
        """Sets are written only where the source has splits; a picture without one is then for training."""
        self.write_classes()
        if not any(split for split, _ in self._splits):
            return
        folder = self.folder / "ImageSets" / "Main"
        folder.mkdir(parents=True)
        for split, file in SPLIT_FILES.items():
            names = [name for given, name in self._splits if (given or TRAIN) == split]
            if names:
                (folder / f"{file}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")

    def source(self, folder: Path) -> Mapping[str, Any]:
        return {"kind": "pascal_voc", "path": str(folder)}


def _add_object(root: Element, one: RawObject) -> None:
    element = SubElement(root, "object")
    SubElement(element, "name").text = one.label
    SubElement(element, "difficult").text = str(int(one.difficult))
    box = SubElement(element, "bndbox")
    for name, value in zip(EDGES, one.box or (), strict=True):
        SubElement(box, name).text = number(value)
