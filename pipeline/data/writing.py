"""The second pass over a source: pictures are read, checked, normalised where needed, and written as records."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.example import ID, IMAGE, SPLITS, TEXT, RawExample
from pipeline.data.pictures import BadPicture, StoredPicture, stored_picture
from pipeline.data.pool import in_order
from pipeline.data.records import RecordWriter, Shard, serialized
from pipeline.data.sources import DataSource
from pipeline.data.sources.base import shortened
from pipeline.data.splits import UNNAMED, key_of
from pipeline.data.store import SPLIT_FILE
from pipeline.data.survey import Progress, Survey
from pipeline.data.targets import members
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.data.prepare import DataSettings

MOST_FILES = 500
"""Shards of one store: all are open at once, and systems allow 1024 files."""
MIB = 2**20

Indexed = tuple[int, RawExample]


@dataclass
class Tally:
    """What became of the pictures.

    Args:
        codes: int8 [n], each example's place in SPLITS, or UNNAMED where it was left out;
            bad pictures are, as they are met.
    """

    codes: np.ndarray
    channels: int = 1
    quarantine: list[tuple[str, str, str]] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    image_bytes: Counter[str] = field(default_factory=Counter)

    def good(self, split: str, picture: StoredPicture) -> None:
        """Counts a picture that is stored."""
        least_height, least_width, height, width = self.sizes.get(split, (picture.height, picture.width, 0, 0))
        self.sizes[split] = (
            min(least_height, picture.height),
            min(least_width, picture.width),
            max(height, picture.height),
            max(width, picture.width),
        )
        self.channels = max(self.channels, picture.channels)
        self.changes[picture.change] += 1
        self.image_bytes[split] += len(picture.data)

    def bad(self, index: int, example: RawExample, reason: str) -> None:
        """Counts a picture that is left out."""
        self.codes[index] = UNNAMED
        self.quarantine.append((example.id, example.where, reason))

    def statistics(self) -> dict[str, Any]:
        """The fields of DataInfo that are about pictures."""
        return {
            "num_examples": {split: int(np.count_nonzero(chosen)) for split, chosen in members(self.codes).items()},
            "picture_sizes": self.sizes,
            "image_bytes": dict(self.image_bytes),
        }

    def description(self) -> dict[str, Any]:
        """The entries of `Store.statistics` that are about pictures."""
        statistics = self.statistics()
        return {
            "examples": statistics["num_examples"],
            "image_bytes": statistics["image_bytes"],
            "picture_sizes": statistics["picture_sizes"],
            "channels": self.channels,
            "changes": dict(self.changes.most_common()),
            "quarantine": len(self.quarantine),
        }


def write_pictures(
    settings: DataSettings, surveyed: Survey, codes: np.ndarray, folder: Path, progress: Progress
) -> tuple[list[Shard], Tally]:
    """Writes the shards and the split file.

    Args:
        codes: int8 [n], each example's place in SPLITS, or UNNAMED to leave it out.

    Raises:
        DataError: too many pictures cannot be read, or the source changed since it was surveyed.
    """
    tally = Tally(codes.copy())
    total = int(np.count_nonzero(codes != UNNAMED))
    most_bad = settings.max_bad_pictures * (total if settings.max_bad_pictures < 1 else 1)
    chosen = _chosen(settings.source, surveyed, codes)
    split_file = folder / SPLIT_FILE
    with (
        RecordWriter(folder, _shard_counts(surveyed, codes, settings.shard_mib)) as writer,
        split_file.open("w", encoding="utf-8", newline="") as stream,
    ):
        rows = csv.writer(stream)
        rows.writerow(("id", "split"))
        for done, ((index, example), picture) in enumerate(in_order(_load, chosen, _is_encoded), 1):
            if isinstance(picture, BadPicture):
                tally.bad(index, example, str(picture))
                _require_few(tally, most_bad, total, settings.max_bad_pictures)
            else:
                split = SPLITS[codes[index]]
                writer.add(split, int(surveyed.keys[index]), _record(example, picture, surveyed))
                rows.writerow((example.id, split))
                tally.good(split, picture)
            progress(done, total)
        return writer.finish(), tally


def _chosen(source: DataSource, surveyed: Survey, codes: np.ndarray) -> Iterator[Indexed]:
    """The examples that have a split, with their index; DataError where they are not those that were surveyed."""
    index = -1
    for index, example in enumerate(source.examples()):
        if index >= len(codes) or surveyed.keys[index] != key_of(example.id):
            raise DataError(f"The data changed while it was read, at {example.where}. Run the command again.")
        if codes[index] != UNNAMED:
            yield index, example
    if index + 1 != len(codes):
        raise DataError("The data changed while it was read: examples went missing. Run the command again.")


def _load(indexed: Indexed) -> StoredPicture | BadPicture:
    image = indexed[1].image
    try:
        return stored_picture(image.read_bytes() if isinstance(image, Path) else image)
    except FileNotFoundError:
        return BadPicture(f"the file {image} does not exist")
    except OSError as error:
        return BadPicture(f"the file cannot be read: {error.strerror}")
    except BadPicture as error:
        return error


def _is_encoded(indexed: Indexed) -> bool:
    """Pixels are not worth a thread: Pillow compresses PNG under the interpreter's lock."""
    return not isinstance(indexed[1].image, np.ndarray)


def _require_few(tally: Tally, most: float, total: int, setting: float) -> None:
    if len(tally.quarantine) <= most:
        return
    reasons = [f"{where} ({reason})" for _, where, reason in tally.quarantine]
    raise DataError(
        f"Too many pictures cannot be used: {len(reasons)} of {total} so far, data.max_bad_pictures={setting:g} allows "
        f"{int(most)}. {shortened(reasons)}. Repair or remove them, or raise data.max_bad_pictures."
    )


def _shard_counts(surveyed: Survey, codes: np.ndarray, shard_mib: int) -> dict[str, int]:
    sizes = {split: int(surveyed.sizes[chosen].sum()) for split, chosen in members(codes).items()}
    shard_bytes = max(shard_mib * MIB, sum(sizes.values()) // MOST_FILES)
    return {split: size // shard_bytes + 1 for split, size in sizes.items()}


def _record(example: RawExample, picture: StoredPicture, surveyed: Survey) -> bytes:
    text = {TEXT: (example.text or "").encode()} if surveyed.has_text else {}
    return serialized({ID: example.id.encode(), IMAGE: picture.data, **surveyed.target.encode(example), **text})
