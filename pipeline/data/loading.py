"""One example made ready for its record: the picture read, checked and normalised, its objects and masks in place."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from pipeline.data.example import CLASSES, ID, IMAGE, MASK, TEXT, RawExample, content_of
from pipeline.data.missing import MissingRegions
from pipeline.data.objects import LeftOut, placed
from pipeline.data.pictures import BadPicture, StoredPicture, stored_picture, why_unreadable
from pipeline.data.records import serialized
from pipeline.data.side_columns import SideColumns
from pipeline.data.targets import Target


@dataclass(frozen=True)
class Loaded:
    """A picture that can be stored.

    Args:
        picture: as it is stored.
        example: what belongs to it, objects and masks `placed`.
        left_out: its objects that are not stored.
    """

    picture: StoredPicture
    example: RawExample
    left_out: tuple[LeftOut, ...] = ()


def load(example: RawExample, fields: Collection[str], regions: MissingRegions) -> Loaded | BadPicture:
    """The example with its picture, or why that cannot be used.

    Args:
        example: as the source gives it.
        fields: what every example of the store holds.
        regions: what to do where parts of the picture are missing.
    """
    if example.unusable:
        return BadPicture(example.unusable)
    try:
        source = content_of(example.image)
        picture = regions.filled(stored_picture(source), source, example.missing)
        if CLASSES not in fields and MASK not in fields:
            return Loaded(picture, example)
        return Loaded(picture, *placed(example, picture, fields))
    except (BadPicture, OSError) as error:
        return BadPicture(why_unreadable(error))


def record(loaded: Loaded, target: Target, side: SideColumns, fields: Collection[str]) -> bytes:
    """The serialized tf.train.Example of a picture."""
    example = loaded.example
    text = {TEXT: (example.text or "").encode()} if TEXT in fields else {}
    mask = {MASK: cast(bytes, example.mask)} if MASK in fields else {}
    head = {ID: example.id.encode(), IMAGE: loaded.picture.data}
    return serialized({**head, **target.encode(example), **side.encode(example), **text, **mask})
