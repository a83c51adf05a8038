"""COCO's JSON of instances: pictures, categories, and for each object a box, its outlines or runs of pixels, and flags.

| `path`                                                      | splits                                       |
|-------------------------------------------------------------|----------------------------------------------|
| one JSON file                                               | none                                         |
| a folder with `annotations/instances_train2017.json` ...    | by the files' names                          |
| a folder with `train/_annotations.coco.json` ...            | by the folders' names                        |

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; https://cocodataset.org, "Data format".
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.data.example import RawExample, RawObject
from pipeline.data.outlines import BadOutline, Outline, Polygons, RunLengths
from pipeline.data.sources.base import existing_folder, fingerprint_of, located, split_named
from pipeline.data.sources.boxes import (
    PICTURES_TRIED,
    Box,
    BoxSource,
    count_of,
    number_box,
    of_classes,
    require_pictures,
    unique_ids,
    unusable_object,
)
from pipeline.errors import DataError

Record = Mapping[str, Any]


class Listed(NamedTuple):
    """A JSON file, and the split that its name says."""

    file: Path
    split: str | None


@dataclass(frozen=True)
class Instances:
    """What one JSON file holds.

    Args:
        file: itself.
        split: of all its pictures, or None.
        folder: of its pictures.
        pictures: in the file's order.
        categories: id -> name.
        objects: id of a picture -> its annotations.
        homeless: annotations whose picture is not listed.
        broken: entries that are no picture, category or annotation.
    """

    file: Path
    split: str | None
    folder: Path
    pictures: tuple[Record, ...]
    categories: Mapping[Any, str]
    objects: Mapping[Any, Sequence[Record]]
    homeless: tuple[str, ...]
    broken: tuple[str, ...]


class Coco(BoxSource):
    """Pictures with boxes and masks in COCO's JSON, as most annotation tools export them."""

    kind: Literal["coco"] = "coco"
    """COCO instances."""
    path: Path
    """A JSON file, or the folder that holds one for each split."""
    pictures: Path | None = None
    """The folder that the file names are relative to; by default looked for beside the JSON file."""
    masks: bool = True
    """Whether outlines and runs of pixels become masks of the objects; without them the store is smaller and quicker to
    read."""
    crowd: Literal["keep", "drop"] = "keep"
    """Whether objects that stand for many (`iscrowd`) are kept, with their mark."""

    def check(self) -> None:
        for listed in self._files():
            held = self._read(listed)
            require_pictures((held.folder / one["file_name"] for one in held.pictures), "pictures")

    def own_classes(self) -> tuple[str, ...] | None:
        """The categories by their ids, which may have gaps; those of all files together."""
        found = {pair for listed in self._files() for pair in self._read(listed).categories.items()}
        by_id = sorted(found, key=lambda pair: (isinstance(pair[0], str), *pair))
        return tuple(dict.fromkeys(name for _, name in by_id))

    def examples(self) -> Iterator[RawExample]:
        names = self.chosen_classes()
        files = [self._read(listed) for listed in self._files()]
        for held, identities in zip(files, _identities(files), strict=True):
            for one, identity in zip(held.pictures, identities, strict=True):
                found = (self._object(annotation, held) for annotation in held.objects.get(one["id"], ()))
                kept = [one for one in found if not (one.crowd and self.crowd == "drop")]
                where = f"{held.file}, picture {one['id']}"
                image = held.folder / one["file_name"]
                objects = of_classes(kept, names)
                yield RawExample(id=identity, image=image, split=held.split, objects=objects, where=where)

    def fingerprint(self) -> str:
        files = [self._read(listed) for listed in self._files()]
        pictures = (held.folder / one["file_name"] for held in files for one in held.pictures)
        return fingerprint_of([*(held.file for held in files), *pictures])

    def warnings(self) -> list[str]:
        """Annotations of pictures that are not listed, and entries that cannot be used."""
        files = [self._read(listed) for listed in self._files()]
        homeless = [one for held in files for one in held.homeless]
        broken = [one for held in files for one in held.broken]
        return [
            *count_of(homeless, "annotations", "no picture of the file has their image_id"),
            *count_of(broken, "entries", "they lack an id, a file name or a name"),
        ]

    def _files(self) -> list[Listed]:
        path = located(self.path)
        if path.is_file():
            return [Listed(path, None)]
        folder = existing_folder(self.path, "data.source.path")
        files = sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
        chosen = [file for file in files if "instances" in file.name.lower()] or files
        if not chosen:
            raise DataError(
                f"data.source.path: {folder} holds no JSON file. Expected COCO's, such as "
                "annotations/instances_train2017.json, or give the file itself."
            )
        return [Listed(file, _split_of(file, folder)) for file in chosen]

    def _read(self, listed: Listed) -> Instances:
        file, content = listed.file, _json(listed.file)
        pictures, broken = _good(content["images"], {"id": int | str, "file_name": str}, f"{file}: images")
        categories, more = _good(content["categories"], {"id": int | str, "name": int | str}, f"{file}: categories")
        known, homeless = {one["id"] for one in pictures}, list[str]()
        objects: dict[Any, list[Record]] = {}
        for number, one in enumerate(content["annotations"]):
            picture = one.get("image_id") if isinstance(one, dict) else None
            if isinstance(picture, int | str) and picture in known:
                objects.setdefault(picture, []).append(one)
            else:
                homeless.append(f"{file}: annotations[{number}]")
        folder = self._pictures_folder(listed, pictures)
        names = {one["id"]: str(one["name"]) for one in categories}
        return Instances(file, listed.split, folder, tuple(pictures), names, objects, tuple(homeless), (*broken, *more))

    def _pictures_folder(self, listed: Listed, pictures: Sequence[Record]) -> Path:
        """Where one of the first pictures is, of the places where tools put them."""
        if self.pictures is not None:
            return existing_folder(self.pictures, "data.source.pictures")
        beside = listed.file.parent
        words = re.findall(r"[a-z]+\d*", listed.file.stem.lower())
        names = ("images", *words, *(f"images/{word}" for word in words), listed.split or "images")
        folders = [beside, beside.parent, *(base / name for base in (beside, beside.parent) for name in names)]
        tried = [one["file_name"] for one in pictures[:PICTURES_TRIED]]
        return next((folder for folder in folders if any((folder / name).is_file() for name in tried)), beside)

    def _object(self, one: Record, held: Instances) -> RawObject:
        where = f"{held.file}, annotation {one.get('id')}"
        category = one.get("category_id")
        if not isinstance(category, int | str) or category not in held.categories:
            return unusable_object(where, f"no category has the id {category!r}")
        box = _edges(one.get("bbox"))
        if one.get("bbox") and box is None:
            return unusable_object(where, f"expected a bbox of four numbers, found {one['bbox']!r}")
        try:
            mask = outline_of(one.get("segmentation")) if self.masks or box is None else None
            box = mask.bounds() if box is None and mask is not None else box
        except BadOutline as error:
            return unusable_object(where, str(error))
        area = one.get("area")
        return RawObject(
            label=held.categories[category],
            box=box,
            mask=mask if self.masks else None,
            where=where,
            crowd=bool(one.get("iscrowd")),
            area=float(area) if isinstance(area, int | float) else None,
        )


def outline_of(segmentation: Any) -> Outline | None:
    """COCO's `segmentation`: outlines as flat lists of x and y, or `{size, counts}`; None where there is none.

    Raises:
        BadOutline: it is neither.
    """
    if not segmentation:
        return None
    try:
        if isinstance(segmentation, dict):
            height, width = map(operator.index, segmentation["size"])
            return RunLengths.of(height, width, segmentation["counts"])
        rings = [[float(value) for value in ring] for ring in segmentation]
        return Polygons.of([list(zip(ring[::2], ring[1::2], strict=True)) for ring in rings])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        why = str(error) if isinstance(error, BadOutline) else "neither outlines nor runs of pixels"
        raise BadOutline(f"its segmentation cannot be used: {why}") from error


def _edges(bbox: Any) -> Box | None:
    """COCO's x, y, width, height -> edges."""
    values = number_box(bbox) if isinstance(bbox, list) else None
    return None if values is None else (values[0], values[1], values[0] + values[2], values[1] + values[3])


def _json(file: Path) -> Mapping[str, list[Any]]:
    try:
        content = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}:{error.lineno}: not JSON: {error.msg} (column {error.colno}). Export or copy the file again."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}.") from error
    lists = ("images", "annotations", "categories")
    missing = [name for name in lists if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if missing:
        raise DataError(
            f"{file} is not COCO's JSON of instances: it has no list `{missing[0]}`. Expected {', '.join(lists)}."
        )
    return content


def _good(entries: Sequence[Any], keys: Mapping[str, Any], what: str) -> tuple[list[Record], list[str]]:
    """The entries that have all keys, with values of their types, and what names the others."""
    held = [isinstance(one, dict) and all(isinstance(one.get(key), keys[key]) for key in keys) for one in entries]
    broken = [f"{what}[{number}]" for number, good in enumerate(held) if not good]
    return [one for one, good in zip(entries, held, strict=True) if good], broken


def _split_of(file: Path, folder: Path) -> str | None:
    """By a word of the file's name, else by the folder that it is in."""
    words = re.findall(r"[a-z]+", file.stem.lower())
    inner = [] if file.parent == folder else [file.parent.name]
    return next((split for word in (*words, *inner) if (split := split_named(word))), None)


def _identities(files: Sequence[Instances]) -> Iterator[Sequence[str]]:
    """The ids of each file's pictures: their file names, with the split or folder before them where two are alike."""
    short = [str(one["file_name"]) for held in files for one in held.pictures]
    long = [f"{held.split or held.file.stem}/{one['file_name']}" for held in files for one in held.pictures]
    chosen = iter(unique_ids(short, long))
    for held in files:
        yield [next(chosen) for _ in held.pictures]
