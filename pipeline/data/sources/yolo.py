"""YOLO: `data.yaml`, a folder of pictures for each split, and beside each `images` folder one called `labels`.

A line of a label file is `class x_centre y_centre width height` in shares of the picture, or the class and the corners
of an outline: `class x y x y x y ...`.

Ultralytics, "Object Detection Datasets Overview" and "Instance Segmentation Datasets Overview".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.data.example import RawExample, RawObject
from pipeline.data.outlines import BadOutline, Polygons
from pipeline.data.sources.base import (
    existing_folder,
    files_below,
    fingerprint_of,
    is_picture,
    located,
    text_of,
)
from pipeline.data.sources.boxes import (
    LabelFiles,
    count_of,
    lines_of,
    number_box,
    of_classes,
    require_pictures,
    unique_ids,
    unusable_object,
)
from pipeline.errors import DataError

SPLIT_KEYS = {"train": "train", "val": "validation", "test": "test"}
"""What `data.yaml` calls the splits -> what Convoy calls them."""
BOX_NUMBERS = 4
LEAST_OUTLINE = 6
"""Numbers in a line behind the class."""
IMAGES = "images"


class Listed(NamedTuple):
    """One picture: its id, file, the file of its labels (which may be missing), and its split."""

    id: str
    picture: Path
    labels: Path
    split: str


class Yolo(LabelFiles):
    """Pictures with boxes or outlines in YOLO's text files."""

    kind: Literal["yolo"] = "yolo"
    """YOLO, as Ultralytics reads it."""
    path: Path
    """The `data.yaml`, or the folder that it is in."""
    labels: str = "labels"
    """The folder that takes the place of `images` in the path of a picture's labels, such as `labels_segment`."""
    without_labels: Literal["leave_out", "background"] = "background"
    """What a picture without a file of labels is: `background`, as the format has it: one that shows no object; or
    `leave_out`: one that nobody labelled."""

    def check(self) -> None:
        self.own_classes()
        require_pictures((listed.picture for listed in self._listed()), "path")

    def never_holds(self) -> frozenset[str]:
        return frozenset()

    def own_classes(self) -> tuple[str, ...]:
        names = self._content().get("names")
        if isinstance(names, dict) and all(isinstance(number, int) and number >= 0 for number in names):
            return tuple(str(names.get(number, number)) for number in range(max(names, default=-1) + 1))
        if not isinstance(names, list):
            raise DataError(f"{self._file()}: `names` is {names!r}, expected a list of the classes or number: name.")
        return tuple(map(str, names))

    def examples(self) -> Iterator[RawExample]:
        names, chosen = self.own_classes(), self.chosen_classes()
        for one in self._listed():
            if not one.labels.is_file():
                yield self.unlabelled(one.id, one.picture, one.split, text_of(str(one.picture)))
                continue
            objects: list[RawObject] = []
            why = ""
            try:
                objects = of_classes(_objects(one.labels, names), chosen)
            except DataError as error:
                why = str(error)
            where = text_of(str(one.labels))
            yield RawExample(id=one.id, image=one.picture, split=one.split, objects=objects, where=where, unusable=why)

    def fingerprint(self) -> str:
        listed = self._listed()
        return fingerprint_of([self._file(), *(file for one in listed for file in (one.picture, one.labels))])

    def warnings(self) -> list[str]:
        """Pictures without labels, labels without pictures, pictures that are in two splits."""
        listed, twice = self._listed(), self._in_two_splits()
        without = [text_of(str(one.picture)) for one in listed if not one.labels.is_file()]
        known = {one.labels for one in listed}
        folders = sorted({file.parent for file in known})
        files = (file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.txt")))
        homeless = [text_of(str(file)) for file in files if file not in known and file.name != "classes.txt"]
        taken = "taken for background" if self.without_labels == "background" else "left out"
        return [
            *count_of(
                without,
                f"picture without a file of labels was {taken}",
                f"pictures without a file of labels were {taken}",
            ),
            *count_of(
                homeless,
                "file of labels was passed over, since no picture has its name",
                "files of labels were passed over, since no picture has their name",
            ),
            *count_of(
                twice, "picture is in two splits; the first counts", "pictures are in two splits; the first counts"
            ),
        ]

    def _file(self) -> Path:
        path = located(self.path)
        if path.is_file():
            return path
        folder = existing_folder(self.path, "data.source.path")
        files = [folder / "data.yaml", *sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise DataError(f"data.source.path: {folder} holds no data.yaml. Expected one that names the classes.")
        return found

    def _content(self) -> Mapping[str, Any]:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        file = self._file()
        try:
            content = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8-sig"))
        except (YAMLError, UnicodeDecodeError, OSError) as error:
            first = " ".join(str(error).split())
            raise DataError(f"{file} cannot be read as YAML: {first}") from error
        if not isinstance(content, dict):
            raise DataError(f"{file}: expected `names`, `train` and `val`.")
        return content

    def _folders(self) -> list[tuple[str, Path]]:
        """(split, a folder of pictures or a list of them) as `data.yaml` gives them."""
        content, file = self._content(), self._file()
        given = [Path(str(content["path"]))] if content.get("path") else []
        roots = [*(file.parent / root for root in given), file.parent]
        found: list[tuple[str, Path]] = []
        for key, split in SPLIT_KEYS.items():
            entries = content.get(key) or []
            listed = [entries] if isinstance(entries, str) else entries
            if not isinstance(listed, list):
                raise DataError(f"{file}: `{key}` is {entries!r}, expected a folder, or a list of them.")
            found += [(split, _place(roots, str(entry), f"{file}: {key}")) for entry in listed]
        if not found:
            raise DataError(
                f"{file} names no folder of pictures. Expected `train: images/train` and `val: images/val`."
            )
        return found

    def _every(self) -> list[tuple[str, Path, Path]]:
        """(split, folder, picture) of all, those in two splits twice."""
        return [(split, place, file) for split, place in self._folders() for file in _pictures_of(place)]

    def _in_two_splits(self) -> list[str]:
        splits: dict[Path, set[str]] = {}
        for split, _, file in self._every():
            splits.setdefault(file, set()).add(split)
        return [text_of(str(file)) for file, held in splits.items() if len(held) > 1]

    def _listed(self) -> list[Listed]:
        """Every picture once, in the split that names it first."""
        first = {file: (split, place) for split, place, file in reversed(self._every())}
        files = sorted(first)
        root = self._file().resolve().parent
        if not all(file.is_relative_to(root) for file in files):  # `path` leads elsewhere
            root = Path(os.path.commonpath([file.parent for file in files]))
        ids = unique_ids([_below(file, first[file][1]) for file in files], [_below(file, root) for file in files])
        return [
            Listed(identity, file, labels_of(file, self.labels), first[file][0])
            for identity, file in zip(ids, files, strict=True)
        ]


def _place(roots: Sequence[Path], entry: str, setting: str) -> Path:
    """Where a folder or list is; exporters write `../train/images` and mean `train/images`."""
    names = [entry, entry.removeprefix("../")]
    candidates = [root / name for root in roots for name in names]
    found = next((place for place in candidates if place.exists()), None)
    if found is None:
        raise DataError(f"{setting}: {candidates[0]} does not exist. Correct the path, or `path`, in this file.")
    return found.resolve()


def _pictures_of(place: Path) -> list[Path]:
    if place.is_dir():
        return [file for file in files_below(place) if is_picture(file)]
    lines = (line.strip() for line in lines_of(place))
    return [(place.parent / line).resolve() for line in lines if line]


def _below(file: Path, folder: Path) -> str:
    name = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name
    return text_of(name)


def labels_of(picture: Path, labels: str) -> Path:
    """The last `images` of the path becomes `labels`; without one, the labels lie beside the picture."""
    parts = list(picture.with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == IMAGES:
            parts[place] = labels
            break
    return Path(*parts)


def _objects(file: Path, names: Sequence[str]) -> list[RawObject]:
    lines = enumerate(lines_of(file), 1)
    return [_object(line.split(), f"{text_of(str(file))}:{number}", names) for number, line in lines if line.strip()]


def _object(cells: Sequence[str], where: str, names: Sequence[str]) -> RawObject:
    label = _label(cells[0], names)
    if label is None:
        return unusable_object(where, f"expected the number of a class first, found {cells[0]!r}")
    if len(cells) - 1 == BOX_NUMBERS:
        box = number_box(cells[1:])
        if box is None:
            return unusable_object(where, f"expected four numbers behind the class, found {' '.join(cells[1:])!r}")
        x, y, half_width, half_height = box[0], box[1], box[2] / 2, box[3] / 2
        edges = (x - half_width, y - half_height, x + half_width, y + half_height)
        return RawObject(label=label, box=edges, where=where, unit="picture")
    if len(cells) - 1 < LEAST_OUTLINE or len(cells) % 2 == 0:
        return unusable_object(where, f"expected 4 numbers or pairs of 3 corners and more, found {len(cells) - 1}")
    try:
        values = [float(cell) for cell in cells[1:]]
        outline = Polygons.of([list(zip(values[::2], values[1::2], strict=True))])
    except (ValueError, BadOutline) as error:
        return unusable_object(where, f"its outline cannot be used: {error}")
    return RawObject(label=label, mask=outline, where=where, unit="picture")


def _label(cell: str, names: Sequence[str]) -> str | None:
    """The name of a class's number; the number itself where no class has it, which `other_classes` decides about."""
    try:
        number = float(cell)
    except ValueError:
        return None
    if not number.is_integer():
        return None
    return names[int(number)] if 0 <= number < len(names) else f"number {int(number)}"
