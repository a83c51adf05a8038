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
import math
import operator
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.data.example import RawExample, RawObject
from pipeline.data.outlines import BadOutline, Outline, Polygons, RunLengths
from pipeline.data.sources.base import existing_folder, fingerprint_of, located, split_named, text_of
from pipeline.data.sources.boxes import (
    PICTURES_TRIED,
    Box,
    BoxSource,
    count_of,
    number_box,
    of_classes,
    repeated,
    require_pictures,
    unique_ids,
    unusable_object,
)
from pipeline.errors import DataError

Record = Mapping[str, Any]

LONGEST_PATH, LONGEST_NAME = 2048, 255
"""Bytes of a picture's path and of each of its parts: file systems refuse longer ones."""


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
        homeless: annotations whose picture is not listed, or not for certain.
        broken: entries that are no picture or category.
        doubtful: pictures and categories of which others have the id.
    """

    file: Path
    split: str | None
    folder: Path
    pictures: tuple[Record, ...]
    categories: Mapping[Any, str]
    objects: Mapping[Any, Sequence[Record]]
    homeless: tuple[str, ...]
    broken: tuple[str, ...]
    doubtful: tuple[str, ...]


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

    def never_holds(self) -> frozenset[str]:
        return frozenset() if self.masks else super().never_holds()

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
                where = text_of(f"{held.file}, picture {one['id']}")
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
        doubtful = [one for held in files for one in held.doubtful]
        return [
            *count_of(
                homeless,
                "annotation was passed over, since no picture of the file, or more than one, has its image_id",
                "annotations were passed over, since no picture of the file, or more than one, has their image_id",
            ),
            *count_of(
                broken,
                "entry was passed over, since it lacks an id, a file name or a name that can be used",
                "entries were passed over, since they lack an id, a file name or a name that can be used",
            ),
            *count_of(
                doubtful,
                "entry was passed over, since others of the file have its id",
                "entries were passed over, since others of the file have their id",
            ),
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
        pictures = _entries(content["images"], "file_name", _names_a_file, f"{file}: images")
        categories = _entries(content["categories"], "name", _is_a_name, f"{file}: categories")
        known, homeless = {one["id"] for one in pictures.good}, list[str]()
        objects: dict[Any, list[Record]] = {}
        for number, one in enumerate(content["annotations"]):
            picture = one.get("image_id") if isinstance(one, dict) else None
            if isinstance(picture, int | str) and picture in known:
                objects.setdefault(picture, []).append(one)
            else:
                homeless.append(f"{file}: annotations[{number}]")
        return Instances(
            file=file,
            split=listed.split,
            folder=self._pictures_folder(listed, pictures.good),
            pictures=pictures.good,
            categories={one["id"]: str(one["name"]) for one in categories.good},
            objects=objects,
            homeless=tuple(homeless),
            broken=(*pictures.broken, *categories.broken),
            doubtful=(*pictures.doubtful, *categories.doubtful),
        )

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
        where = text_of(f"{held.file}, annotation {one.get('id')}")
        if why := _why_unusable(one, held.categories):
            return unusable_object(where, why)
        box, area = _edges(one.get("bbox")), one.get("area")
        try:
            mask = outline_of(one.get("segmentation")) if self.masks or box is None else None
            box = mask.bounds() if box is None and mask is not None else box
        except BadOutline as error:
            return unusable_object(where, str(error))
        return RawObject(
            label=held.categories[one["category_id"]],
            box=box,
            mask=mask if self.masks else None,
            where=where,
            crowd=_flag(one) == 1.0,
            area=None if area is None else _number(area),
        )


def _why_unusable(one: Record, categories: Mapping[Any, str]) -> str:
    """What is wrong with an annotation's values besides its outlines; empty where nothing is."""
    category, area = one.get("category_id"), one.get("area")
    if not isinstance(category, int | str) or category not in categories:
        return f"no category, or more than one, has the id {category!r}"
    if one.get("bbox") and _edges(one["bbox"]) is None:
        return f"expected a bbox of four numbers, found {one['bbox']!r}"
    if _flag(one) not in (0.0, 1.0):
        return f"expected an iscrowd of 0 or 1, found {one['iscrowd']!r}"
    if area is not None and _number(area) is None:
        return "its area is no finite number"
    return ""


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


def _flag(one: Record) -> float | None:
    """An annotation's `iscrowd` as a number, which some tools write as text; 0 where there is none."""
    return _number(one.get("iscrowd") or 0)


def _number(value: Any) -> float | None:
    """A finite number, or None where it is something else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _json(file: Path) -> Mapping[str, list[Any]]:
    try:
        content = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}:{error.lineno}: not JSON: {error.msg} (column {error.colno}). Export or copy the file again."
        ) from error
    except RecursionError as error:
        raise DataError(
            f"{file}: its lists and objects lie too deep in each other. Export or copy it again."
        ) from error
    except (OSError, ValueError) as error:  # no text, or a number of thousands of digits
        raise DataError(f"{file} cannot be read: {error}.") from error
    lists = ("images", "annotations", "categories")
    missing = [name for name in lists if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if missing:
        raise DataError(
            f"{file} is not COCO's JSON of instances: it has no list `{missing[0]}`. Expected {', '.join(lists)}."
        )
    return content


class Entries(NamedTuple):
    """The pictures or categories of a file.

    Args:
        good: each id once.
        broken: names those that lack something.
        doubtful: names those whose id others have as well, so that nobody knows which of them is meant.
    """

    good: tuple[Record, ...]
    broken: tuple[str, ...]
    doubtful: tuple[str, ...]


def _entries(entries: Sequence[Any], name: str, is_good: Callable[[Any], bool], what: str) -> Entries:
    """Sorts entries by their ids and by what `name` holds; one that is there twice without a difference is one."""
    usable, broken = dict[tuple[Any, Any], int](), list[str]()
    for number, one in enumerate(entries):
        if isinstance(one, dict) and isinstance(one.get("id"), int | str) and is_good(one.get(name)):
            usable.setdefault((one["id"], one[name]), number)
        else:
            broken.append(f"{what}[{number}]")
    several = set(repeated(identity for identity, _ in usable))
    good = tuple(entries[number] for (identity, _), number in usable.items() if identity not in several)
    doubtful = tuple(f"{what}[{number}]" for (identity, _), number in usable.items() if identity in several)
    return Entries(good, tuple(broken), doubtful)


def _is_a_name(value: Any) -> bool:
    """Whether it can name a class: a number, or text that can be written."""
    return isinstance(value, int) or (isinstance(value, str) and text_of(value) == value)


def _names_a_file(value: Any) -> bool:
    """Whether it can be the name of a file."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        encoded = os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return len(encoded) <= LONGEST_PATH and all(len(part) <= LONGEST_NAME for part in encoded.split(b"/"))


def _split_of(file: Path, folder: Path) -> str | None:
    """By a word of the file's name, else by the folder that it is in."""
    words = re.findall(r"[a-z]+", file.stem.lower())
    inner = [] if file.parent == folder else [file.parent.name]
    return next((split for word in (*words, *inner) if (split := split_named(word))), None)


def _identities(files: Sequence[Instances]) -> Iterator[Sequence[str]]:
    """The ids of each file's pictures: their file names, with the split or folder before them where two are alike."""
    short = [text_of(one["file_name"]) for held in files for one in held.pictures]
    long = [text_of(f"{held.split or held.file.stem}/{one['file_name']}") for held in files for one in held.pictures]
    chosen = iter(unique_ids(short, long))
    for held in files:
        yield [next(chosen) for _ in held.pictures]
