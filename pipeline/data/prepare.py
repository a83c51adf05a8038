"""`prepare`: any source -> a Store, once.

Two passes: the first surveys ids and targets and finds what cannot work before anything is written; the second shares
the examples out among shards, and reads, checks and writes the pictures shard by shard. Everything goes to a temporary
folder that is renamed at the end.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from models.settings import Settings
from pipeline.data.beam import BeamSettings, write_on_beam
from pipeline.data.example import CLASSES, ID, IMAGE, MASK, SPLITS, TEXT, DataInfo
from pipeline.data.imputation import MissingColumns
from pipeline.data.missing import MissingRegions
from pipeline.data.records import Shard, write_tfds_metadata
from pipeline.data.sources import Source
from pipeline.data.sources.base import located, shortened
from pipeline.data.splits import UNNAMED, Splits, read_split_file
from pipeline.data.store import CONTENT, OBJECTS_LEFT_OUT, QUARANTINE, Store
from pipeline.data.survey import Progress, Survey, assigned, check, survey
from pipeline.data.tally import Rejected, Tally
from pipeline.data.targets import MissingClasses, MissingLabels
from pipeline.data.writing import write_pictures
from pipeline.errors import DataError
from pipeline.files import new_folder, storage_errors
from pipeline.locations import Location, is_remote, text_stream
from pipeline.wording import quantity

FORMAT = 1
"""Counted up whenever the same settings would give another store, so that old ones are not reused."""


class DataSettings(Settings):
    """The data: where it comes from, how it is split, how it is stored."""

    source: Source
    """Where the examples come from."""
    splits: Splits = Splits()
    """Which examples are for training, validation and test."""
    exclude_splits: tuple[Literal["train", "validation", "test"], ...] = ()
    """Splits to leave out of the store, such as a `test` that is kept for later."""
    missing_classes: MissingClasses = "auto"
    """What to do where a split has no picture of a class: `refuse`, `warn`, or `auto`: refuse where a picture has one
    class, warn where it may have any number."""
    missing_labels: MissingLabels = "refuse"
    """What to do where the label of an example is not known (an empty cell of a table): `refuse`, or `mask`: keep the
    example and leave what is not known out of loss, statistics and metrics."""
    missing_columns: MissingColumns = MissingColumns()
    """What takes the place of empty cells in columns that go into the model beside the picture."""
    missing_regions: MissingRegions = MissingRegions()
    """Which parts of pictures are missing, and what is put in their place."""
    max_bad_pictures: float = Field(default=0.05, ge=0)
    """How many unreadable pictures are left out before it is an error: a share of all if below 1, else a number."""
    shard_mib: int = Field(default=64, ge=1, le=4096)
    """About how large a file of records is, in MiB."""
    beam: BeamSettings | None = None
    """Writes the pictures on Apache Beam, for data that is too much for one machine; null: in this process. The store
    is the same either way."""
    store: Location | None = None
    """A folder or a bucket's URL (`gs://BUCKET/FOLDER`) that keeps prepared data for many Runs; by default `store`
    beside the Run folder."""


def prepare(settings: DataSettings, folder: Path, progress: Progress = lambda done, total: None) -> Store:
    """The store for these settings, made where it is not there yet.

    Args:
        settings: what to prepare.
        folder: keeps stores by key, unless `settings.store` names another.
        progress: called after every example: with no total in the first pass, with one in the second.

    Raises:
        ConfigError: the settings do not fit what the source gives.
        DataError: the data is missing, cannot be read, or cannot be learned from.
        StorageError: the disk is full or cannot be written; nothing half-made is left.
    """
    settings.source.check()
    path = (located(settings.store) if settings.store else folder) / store_key(settings)
    if store := _whole(path):
        return store
    with _alone(path):
        return _whole(path) or _make(settings, path, progress)


def store_key(settings: DataSettings) -> str:
    """The name of the store's folder: a digest of the source's content and of all settings that change it."""
    parts = {
        "format": FORMAT,
        "settings": settings.model_dump(mode="json", exclude={"beam", "store"}),
        "content": settings.source.fingerprint(),
        "split_file": sorted(read_split_file(settings.splits.file).items()) if settings.splits.file else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _whole(path: Path) -> Store | None:
    """The store, or None where it is missing or damaged; a damaged one is made anew."""
    try:
        return Store.open(path)
    except DataError:
        return None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process makes the same store, then removes what a killed one left behind.

    A bucket has no locks: two at once write the same bytes to the same names.
    """
    if is_remote(path):
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w")
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        for leftover in path.parent.glob(f".{path.name}.*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _make(settings: DataSettings, path: Path, progress: Progress) -> Store:
    surveyed = survey(settings.source, progress, settings.missing_labels, settings.missing_columns)
    if settings.missing_labels == "mask":
        surveyed.target.require_maskable()
    codes, warnings = assigned(surveyed, settings.splits)
    codes[np.isin(codes, [SPLITS.index(split) for split in settings.exclude_splits])] = UNNAMED
    check(surveyed, codes, settings.missing_classes)
    surveyed.side.settle(codes)
    with new_folder(path) as temporary:
        write = write_pictures if settings.beam is None else write_on_beam
        shards, tally = write(settings, surveyed, codes, temporary, progress)
        codes = tally.codes(codes)
        for one in tally.objects_left_out:
            surveyed.target.leave_out(one.index, one.number)
        # Again, for the pictures that turned out bad.
        warnings += [
            *settings.source.warnings(),
            *check(surveyed, codes, settings.missing_classes),
            *surveyed.side.warnings(codes),
            *_left_out(tally),
            *_without_text(surveyed),
        ]
        _write_features(temporary, surveyed, tally, shards)
        _write_rejected(temporary / QUARANTINE, tally.quarantine)
        if CLASSES in surveyed.fields:
            _write_rejected(temporary / OBJECTS_LEFT_OUT, tally.objects_left_out)
        _write_content(temporary, surveyed, tally, codes, shards, warnings, settings.missing_regions.mark)
    return Store.open(path)


def _write_features(folder: Path, surveyed: Survey, tally: Tally, shards: list[Shard]) -> None:
    import tensorflow_datasets as tfds

    features = {ID: tfds.features.Text(), IMAGE: tfds.features.Image(shape=(None, None, tally.channels))}
    text = {TEXT: tfds.features.Text()} if surveyed.has_text else {}
    mask = {MASK: tfds.features.Image(shape=(None, None, 1), encoding_format="png")} if surveyed.has_mask else {}
    labels = surveyed.target.features() | surveyed.side.features()
    write_tfds_metadata(folder, features | labels | text | mask, shards)


def _without_text(surveyed: Survey) -> list[str]:
    """A warning where some examples have text and others do not."""
    if not surveyed.has_text or not surveyed.without_text:
        return []
    return [f"{surveyed.without_text} of {len(surveyed.keys)} examples have no text; they get the empty one."]


def _left_out(tally: Tally) -> list[str]:
    """A warning where objects were left out."""
    if not tally.objects_left_out:
        return []
    reasons = [f"{one.where} ({one.reason})" for one in tally.objects_left_out]
    left_out = quantity(len(reasons), "object was", "objects were")
    return [f"{left_out} left out, see {OBJECTS_LEFT_OUT}: {shortened(reasons)}."]


def _write_rejected(file: Path, rejected: list[Rejected]) -> None:
    with text_stream(file, "w") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "where", "reason"))
        writer.writerows((one.id, one.where, one.reason) for one in rejected)


def _write_content(
    folder: Path,
    surveyed: Survey,
    tally: Tally,
    codes: np.ndarray,
    shards: list[Shard],
    warnings: list[str],
    marks_missing: bool,
) -> None:
    target, side = surveyed.target, surveyed.side
    figures = {**tally.statistics(codes), **target.statistics(codes), **side.statistics(codes)}
    info = asdict(DataInfo(fields=surveyed.fields, marks_missing=marks_missing, **figures))
    content: dict[str, Any] = {
        "format": FORMAT,
        "info": info,
        "shards": [asdict(shard) for shard in shards],
        "warnings": warnings,
        "statistics": {
            **tally.description(codes),
            **target.description(codes),
            **side.description(codes),
            "warnings": warnings,
        },
    }
    (folder / CONTENT).write_text(json.dumps(content, indent=1), encoding="utf-8")
