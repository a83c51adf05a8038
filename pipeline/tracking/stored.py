"""Sequences of prepared data: their frames, and the tracks that are known of them.

The ids of a sequence's pictures are SEQUENCE/PICTURE.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.stack import tf
from pipeline.data.example import BOXES, CLASSES, CROWD, DIFFICULT, ID, IMAGE, NO_OBJECT, TRACKS, VISIBLE
from pipeline.data.pictures import BadPicture
from pipeline.data.sources.base import natural_order, shortened
from pipeline.data.store import CONTENT, Store
from pipeline.errors import DataError, nearest
from pipeline.tracking.frames import Footage, Frame, pixels_of
from pipeline.tracking.mot import Objects

NO_TRACK = 0
"""The `tracks` of an object that belongs to none."""
SEEN = 0.8
"""Share of an object from which on a box around what is visible of it is much the same as one around all of it."""


def is_store(place: Path) -> bool:
    """Whether a folder holds prepared data."""
    return (place / CONTENT).is_file()


@dataclass(frozen=True)
class StoredSequence(Footage):
    """One sequence.

    Args:
        examples: of its pictures in order, numpy, the pictures still encoded.
        class_names: what their classes stand for.
    """

    examples: Sequence[dict[str, Any]]
    class_names: Sequence[str]

    @classmethod
    def open(cls, place: Path, name: str | None) -> StoredSequence:
        """A sequence of a store.

        Args:
            place: of the store.
            name: of the sequence, such as `test/0003`; may be left out where there is one only.

        Raises:
            DataError: there is no such store or sequence, or no name where there are several.
        """
        store = Store.open(place)
        chosen = _chosen(_ids(store), name, place)
        records = _records(store).filter(lambda example: tf.strings.regex_full_match(example[ID], _pattern(chosen)))
        examples = sorted(records.as_numpy_iterator(), key=lambda example: natural_order(_text(example[ID])))
        return cls(examples, store.info.class_names)

    def frames(self) -> Iterator[Frame]:
        for number, example in enumerate(self.examples, 1):
            name = _text(example[ID])
            try:
                yield Frame(number, name, pixels_of(example[IMAGE]))
            except BadPicture as error:
                yield Frame(number, name, None, str(error))

    @property
    def has_tracks(self) -> bool:
        """Whether it is known which object is which."""
        return TRACKS in self.examples[0]

    def truth(self, height: int, width: int, class_names: Sequence[str]) -> dict[int, Objects]:
        """The known tracks, in pixels of frames of this size.

        Args:
            class_names: of the model; classes that it does not have are not known.

        Raises:
            DataError: the store has no tracks.
        """
        if not self.has_tracks:
            raise DataError("The prepared data has no `tracks`, so there is nothing to score against.")
        numbers = {name: number for number, name in enumerate(class_names)}
        translated = np.array([numbers.get(name, NO_OBJECT) for name in self.class_names], np.int64)
        size = np.array([width, height, width, height])
        return {number: _objects(one, size, translated) for number, one in enumerate(self.examples, 1)}


def _objects(example: dict[str, Any], size: np.ndarray, translated: np.ndarray) -> Objects:
    there = example[CLASSES] != NO_OBJECT
    tracks = example[TRACKS][there]
    nowhere = np.zeros(len(tracks), bool)
    crowd, difficult = (example[flag][there] if flag in example else nowhere for flag in (CROWD, DIFFICULT))
    hidden = example[VISIBLE][there] < SEEN if VISIBLE in example else nowhere
    boxes, classes = example[BOXES][there] * size, translated[example[CLASSES][there]]
    return Objects(tracks, boxes, classes, (tracks == NO_TRACK) | crowd | difficult, in_parts=crowd | hidden)


def _records(store: Store) -> Any:
    files = [file for split in store.info.num_examples for file in store.files(split)]
    return tf.data.TFRecordDataset(files).map(store.parse)


def _ids(store: Store) -> list[str]:
    return [_text(name) for name in _records(store).map(lambda example: example[ID]).as_numpy_iterator()]


def _chosen(ids: Sequence[str], name: str | None, place: Path) -> str:
    names = sorted({one.rpartition("/")[0] for one in ids}, key=natural_order)
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise DataError(f"{place} holds {len(names)} sequences: {shortened(names)}. Choose one with --sequence NAME.")
    if name not in names:
        raise DataError(f"{place} has no sequence {name!r}. {nearest(name, names[:50])}")
    return name


def _pattern(name: str) -> str:
    """A regular expression of RE2 for the ids of a sequence's pictures."""
    return rf"\Q{name}/\E[^/]*" if name else "[^/]*"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
