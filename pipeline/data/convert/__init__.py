"""`convoy convert`: annotations of one format written in another, pictures and all."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from pipeline.data.convert.base import Picture, Writer
from pipeline.data.convert.coco import CocoWriter
from pipeline.data.convert.csv_boxes import CsvWriter
from pipeline.data.convert.voc import VocWriter
from pipeline.data.convert.yolo import YoloWriter
from pipeline.data.example import RawExample, RawObject, content_of
from pipeline.data.objects import BadObject, clipped_box, in_pixels
from pipeline.data.outlines import BadOutline, Outline, Polygons
from pipeline.data.pictures import BadPicture, stored_picture, upright_size
from pipeline.data.sources.base import PICTURE_SUFFIXES, DataSource, natural_order
from pipeline.errors import ConfigError, DataError
from pipeline.files import new_folder
from pipeline.wording import quantity

FORMATS: dict[str, type[Writer]] = {
    "pascal_voc": VocWriter,
    "coco": CocoWriter,
    "yolo": YoloWriter,
    "csv_boxes": CsvWriter,
}
Pictures = Literal["copy", "link"]
ROUNDING = 0.01
"""Pixels that a box may reach out of its picture without a word: formats with shares round them."""


@dataclass
class Converted:
    """What became of the data.

    Args:
        source: the `data.source` that reads the result.
        pictures, objects: how many were written.
        clipped: boxes that reached out of their picture, cut at its edge.
        lost: what the format cannot hold -> of how many objects.
        left_out: (where, reason) of every picture and object that could not be used.
    """

    source: Mapping[str, Any] = field(default_factory=dict)
    pictures: int = 0
    objects: int = 0
    clipped: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def convert(
    source: DataSource,
    kind: str,
    target: Path,
    *,
    pictures: Pictures = "copy",
    outlines: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Converted:
    """Writes what a source gives in another format, whole or not at all.

    Args:
        kind: one of FORMATS.
        target: a folder that does not exist yet, or is empty.
        pictures: `link` points to the files where they are; what is no file is written all the same.
        outlines: as Writer has it.

    Raises:
        ConfigError: there is something in the target.
        DataError: the source holds no objects, or two pictures would have the same name.
        StorageError: it cannot be written; nothing half-written is left.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"{target} is there already, and nothing is written over. Give a folder that is not there yet."
        )
    source.check()
    result, names = Converted(), set[str]()
    with new_folder(target) as folder:
        writer = FORMATS[kind](folder, _class_names(source), outlines=outlines)
        for done, example in enumerate(source.examples(), 1):
            picture = _picture(example, writer, result)
            if picture is not None:
                _require_new(picture, example, names)
                _put(example.image, folder / writer.place(picture), pictures)
                writer.add(picture)
                _count(picture, writer, result)
            progress(done, None)
        if not result.pictures:
            raise DataError("The source holds no picture that can be used, so nothing was written.")
        writer.finish()
    result.source = writer.source(target.absolute())
    return result


def _class_names(source: DataSource) -> tuple[str, ...]:
    """The source's own classes, else those that occur, sorted."""
    names = source.class_names()
    if names is not None:
        return names
    found = {one.label for example in source.examples() for one in example.usable_objects}
    return tuple(sorted(found, key=natural_order))


def _picture(example: RawExample, writer: Writer, result: Converted) -> Picture | None:
    """The picture as it is written, or None where it cannot be used, which is noted."""
    if example.objects is None:
        raise DataError(f"{example.where}: the source gives no objects. `convoy convert` is for pictures with boxes.")
    try:
        if example.unusable:
            raise BadPicture(example.unusable)
        width, height, suffix = _size(example.image)
    except (BadPicture, OSError) as error:
        result.left_out.append((example.where, str(error)))
        return None
    picture = Picture(_name(example.id), suffix, example.split, width, height, ())
    objects = (_object(one, example, picture, writer, result) for one in example.objects)
    return replace(picture, objects=tuple(one for one in objects if one is not None))


def _object(
    given: RawObject, example: RawExample, picture: Picture, writer: Writer, result: Converted
) -> RawObject | None:
    """The object in pixels, its box inside the picture; None where it cannot be used, which is noted."""
    where = given.where or example.where
    try:
        if given.unusable:
            raise BadObject(given.unusable)
        if given.label not in writer.index:
            raise BadObject(f"its class {given.label!r} is not one of the source's")
        one = in_pixels(given, picture.width, picture.height)
        box = one.box or _box_of(one)
        inside = clipped_box(box, picture.width, picture.height)
        if isinstance(one.mask, Outline) and not isinstance(one.mask, Polygons):
            one.mask.pixels(picture.height, picture.width)
    except (BadObject, BadOutline) as error:
        result.left_out.append((where, str(error)))
        return None
    result.clipped += not np.allclose(inside, box, rtol=0, atol=ROUNDING)
    return replace(one, box=inside)


def _box_of(one: RawObject) -> tuple[float, float, float, float]:
    if isinstance(one.mask, Outline):
        return one.mask.bounds()
    if one.corners is None:
        raise BadObject("it has no box")
    xs, ys = zip(*one.corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _count(picture: Picture, writer: Writer, result: Converted) -> None:
    result.pictures += 1
    result.objects += len(picture.objects)
    result.lost.update(name for one in picture.objects for name in writer.lacks(one))


def _size(image: Any) -> tuple[int, int, str]:
    """Width, height and suffix of a picture; of a file only its head is read.

    Raises:
        BadPicture, OSError: it cannot be used.
    """
    if not isinstance(image, Path):
        stored = stored_picture(content_of(image))
        return stored.width, stored.height, ".jpg" if stored.is_jpeg else ".png"
    return (*upright_size(image), image.suffix)


def _name(identity: str) -> str:
    """A path below the new folder, without the picture's suffix."""
    path = PurePosixPath(identity.replace("\\", "/"))
    plain = path.with_suffix("") if path.suffix.lower() in PICTURE_SUFFIXES else path
    return "/".join(part for part in plain.parts if part.strip("/") not in ("", ".."))


def _require_new(picture: Picture, example: RawExample, names: set[str]) -> None:
    if picture.name in names:
        raise DataError(
            f"{example.where}: two pictures would be called {picture.name!r}. Rename one, so that they differ in more "
            "than their suffix."
        )
    names.add(picture.name)


def _put(image: Any, file: Path, pictures: Pictures) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(image, Path):
        file.write_bytes(stored_picture(content_of(image)).data)
    elif pictures == "link":
        file.symlink_to(image.absolute())
    else:
        shutil.copyfile(image, file)


def lost_in_words(lost: Iterable[tuple[str, int]], kind: str) -> list[str]:
    """A sentence for each thing that a format cannot hold."""
    return [f"{kind} cannot hold the {name} of {quantity(count, 'object')}; it is not written." for name, count in lost]
