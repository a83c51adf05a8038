"""One shard of a store: its pictures are loaded in the order of their keys and written as records.

Here in this process, shard after shard (`data.writing`), or on any worker of a cluster (`data.beam`): a shard is the
same whoever wrote it. Memory holds a few pictures at a time.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from models.stack import tf
from pipeline.data.example import SPLITS, MadePicture, RawExample
from pipeline.data.loading import Loaded, load, record
from pipeline.data.making import drawn
from pipeline.data.missing import MissingRegions
from pipeline.data.pictures import BadPicture
from pipeline.data.pool import in_order
from pipeline.data.records import Shard, shard_file, shard_of
from pipeline.data.side_columns import SideColumns
from pipeline.data.survey import Survey
from pipeline.data.tally import Tally
from pipeline.data.targets import Target, members
from pipeline.files import new_file
from pipeline.locations import size_of

if TYPE_CHECKING:
    from pipeline.data.prepare import DataSettings

MOST_FILES = 500
"""Shards of one store: as many files are open at once while the examples are shared out, and systems allow 1024."""
MIB = 2**20
BUFFER = 2**16  # bytes per open file


class Place(NamedTuple):
    """A shard: its split, and its number among those of the split."""

    split: str
    number: int


class Work(NamedTuple):
    """One example to be stored: its place in its shard, its number in the source, itself."""

    key: int
    number: int
    example: RawExample


@dataclass(frozen=True)
class Job:
    """What is known wherever a shard is written.

    Args:
        folder: where the store is made.
        counts: split -> number of its shards, those without an example included.
        filled: split -> numbers of the shards that have examples.
        target: encodes what is learned.
        side: encodes what goes into the model beside the picture.
        fields: what every example holds.
        regions: what to do where parts of pictures are missing.
    """

    folder: Path
    counts: dict[str, int]
    filled: dict[str, list[int]]
    target: Target
    side: SideColumns
    fields: tuple[str, ...]
    regions: MissingRegions

    def places(self) -> list[Place]:
        """Every shard that has examples."""
        return [Place(split, number) for split, numbers in self.filled.items() for number in numbers]

    def place_of(self, code: int, key: int) -> Place:
        """The shard that an example belongs to."""
        split = SPLITS[code]
        return Place(split, shard_of(key, self.counts[split]))

    def file(self, place: Place) -> Path:
        """Where a shard goes."""
        numbers = self.filled[place.split]
        return self.folder / shard_file(place.split, numbers.index(place.number), len(numbers))


def plan(settings: DataSettings, folder: Path, surveyed: Survey, codes: np.ndarray) -> Job:
    """The shards of a store: how many of each split, from the pictures' sizes as they come."""
    counts = shard_counts(surveyed, codes, settings.shard_mib)
    keys = {split: surveyed.keys[chosen].tolist() for split, chosen in members(codes).items()}
    filled = {split: sorted({shard_of(key, counts[split]) for key in keys[split]}) for split in counts}
    encoders = surveyed.target.light(), surveyed.side.light()
    return Job(folder, counts, filled, *encoders, surveyed.fields, settings.missing_regions)


def shard_counts(surveyed: Survey, codes: np.ndarray, shard_mib: int) -> dict[str, int]:
    """Split -> number of its shards."""
    sizes = {split: int(surveyed.sizes[chosen].sum()) for split, chosen in members(codes).items()}
    shard_bytes = max(shard_mib * MIB, sum(sizes.values()) // MOST_FILES)
    return {split: size // shard_bytes + 1 for split, size in sizes.items()}


def write_shard(
    job: Job, place: Place, work: Iterable[Work], processes: int | None = None, done: Callable[[], None] = lambda: None
) -> tuple[Shard, Tally]:
    """Writes one shard, whole or not at all, and tells what became of its pictures.

    Args:
        job, place, work: what is written where, in any order.
        processes: how many may draw what is drawn; None for one on each processor.
        done: called after each picture.
    """
    tally, file = Tally(), job.file(place)
    ready = with_drawn(sorted(work, key=lambda one: one.key), processes)
    loads = in_order(partial(_load, job), ready, is_worth_a_thread)
    with new_file(file) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for (_, index, example), loaded in loads:
            if isinstance(loaded, BadPicture):
                tally.bad(index, example, str(loaded))
            else:
                tally.good(index, place.split, loaded)
                writer.write(record(loaded, job.target, job.side, job.fields))
            done()
    return Shard(file.name, place.split, tally.stored, size_of(file)), tally


def _load(job: Job, work: Work) -> Loaded | BadPicture:
    return load(work.example, job.fields, job.regions)


def with_drawn(work: Sequence[Work], processes: int | None) -> Iterator[Work]:
    """The same with pictures that are drawn as their bytes; those that wait are made where they are loaded."""
    images = [one.example.image for one in work]
    pictures = drawn([image for image in images if is_drawn(image)], processes)
    for one, image in zip(work, images, strict=True):
        yield one._replace(example=replace(one.example, image=next(pictures))) if is_drawn(image) else one


def is_drawn(image: Any) -> bool:
    """Whether an example's `image` is yet to be made, under the interpreter's lock."""
    return isinstance(image, MadePicture) and not image.waits


def is_worth_a_thread(work: Work) -> bool:
    """Whether loading is. Pixels are not: Pillow compresses PNG under the interpreter's lock."""
    return not isinstance(work.example.image, np.ndarray)


def without_empty(folder: Path, shards: list[Shard]) -> list[Shard]:
    """Removes shards whose pictures were all bad, and numbers the others anew; hardly ever there is one."""
    kept = []
    for split in dict.fromkeys(shard.split for shard in shards):
        members = [shard for shard in shards if shard.split == split]
        filled = [shard for shard in members if shard.examples]
        for shard in members:
            if not shard.examples:
                (folder / shard.file).unlink()
        for place, shard in enumerate(filled):
            name = shard_file(split, place, len(filled))
            if name != shard.file:
                (folder / shard.file).replace(folder / name)
            kept.append(Shard(name, split, shard.examples, shard.bytes))
    return kept


class Spool:
    """Examples on their way to their shards: one file each, in the order they come. A context manager.

    A picture that is a file of its own stays where it is; only its path is kept here.

    Args:
        folder: of this machine.
        places: all shards that will come.
    """

    def __init__(self, folder: Path, places: Iterable[Place]):
        self._files = {place: folder / f"{place.split}-{place.number}.spool" for place in places}
        self._stack = ExitStack()
        self._streams: dict[Place, BinaryIO] = {}

    def __enter__(self) -> Spool:
        for place, file in self._files.items():
            self._streams[place] = self._stack.enter_context(file.open("wb", BUFFER))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add(self, place: Place, work: Work) -> None:
        """Takes one example."""
        pickle.dump(work, self._streams[place], pickle.HIGHEST_PROTOCOL)

    def of(self, place: Place) -> Iterator[Work]:
        """The examples of a shard, after all came; their file is removed then."""
        self._streams[place].close()
        with self._files[place].open("rb") as stream:
            while stream.peek(1):
                yield pickle.load(stream)
        self._files[place].unlink()
