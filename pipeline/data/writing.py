"""The second pass over a source, in this process: examples are shared out among shards, and each shard is written."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.example import SPLITS, RawExample
from pipeline.data.records import Shard
from pipeline.data.shards import Spool, Work, plan, without_empty, write_shard
from pipeline.data.sources import DataSource
from pipeline.data.splits import UNNAMED, key_of
from pipeline.data.store import SPLIT_FILE
from pipeline.data.survey import Progress, Survey
from pipeline.data.tally import Tally, merged
from pipeline.errors import DataError
from pipeline.locations import is_remote, text_stream

if TYPE_CHECKING:
    from pipeline.data.prepare import DataSettings

Indexed = tuple[int, RawExample]


def write_pictures(
    settings: DataSettings, surveyed: Survey, codes: np.ndarray, folder: Path, progress: Progress
) -> tuple[list[Shard], Tally]:
    """Writes the shards and the split file.

    Args:
        codes: int8 [n], each example's place in SPLITS, or UNNAMED to leave it out.

    Raises:
        DataError: too many pictures cannot be read, or the source changed since it was surveyed.
    """
    total = int(np.count_nonzero(codes != UNNAMED))
    job = plan(settings, folder, surveyed, codes)
    shards, tallies, done = [], [], Counted(progress, total)
    with _scratch(folder) as scratch, Spool(scratch, job.places()) as spool:
        with split_file(folder) as rows:
            for index, example in chosen(settings.source, surveyed, codes):
                key = int(surveyed.keys[index])
                spool.add(job.place_of(codes[index], key), Work(key, index, example))
                rows.writerow((example.id, SPLITS[codes[index]]))
        for place in job.places():
            shard, tally = write_shard(job, place, spool.of(place), done=done)
            shards.append(shard)
            tallies.append(tally)
            merged(tallies).require_few(total, settings.max_bad_pictures)
    tally = merged(tallies)
    if tally.quarantine:
        write_split_file(settings.source, surveyed, tally.codes(codes), folder)
    return without_empty(folder, shards), tally


class Counted:
    """Tells a progress display how many pictures are done."""

    def __init__(self, progress: Progress, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        self.progress(self.done, self.total)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Where the examples wait: beside the shards, or in a temporary folder here where those are in a bucket."""
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="convoy-") as temporary:
        yield Path(temporary)


def chosen(source: DataSource, surveyed: Survey, codes: np.ndarray) -> Iterator[Indexed]:
    """The examples that have a split, with their index; DataError where they are not those that were surveyed."""
    index = -1
    for index, example in enumerate(source.examples()):
        if index >= len(codes) or surveyed.keys[index] != key_of(example.id):
            raise DataError(f"The data changed while it was read, at {example.where}. Run the command again.")
        if codes[index] != UNNAMED:
            yield index, example
    if index + 1 != len(codes):
        raise DataError("The data changed while it was read: examples went missing. Run the command again.")


@contextmanager
def split_file(folder: Path) -> Iterator[Any]:
    """A `csv` writer for id and split of every example of the store, in the source's order."""
    with text_stream(folder / SPLIT_FILE, "w") as stream:
        rows = csv.writer(stream)
        rows.writerow(("id", "split"))
        yield rows


def write_split_file(source: DataSource, surveyed: Survey, codes: np.ndarray, folder: Path) -> None:
    """Writes the split file by another pass over the source, for `codes` of which bad pictures are no part."""
    with split_file(folder) as rows:
        rows.writerows((example.id, SPLITS[codes[index]]) for index, example in chosen(source, surveyed, codes))
