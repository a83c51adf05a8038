"""`prepare`: any source -> a Store, once.

Two passes: the first surveys ids and targets and finds what cannot work before anything is written; the second reads,
checks and writes the pictures. Everything goes to a temporary folder that is renamed at the end.
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
from pipeline.data.example import ID, IMAGE, SPLITS, TEST, TEXT, TRAIN, VALIDATION, DataInfo
from pipeline.data.records import Shard, write_tfds_metadata
from pipeline.data.sources import Source
from pipeline.data.sources.base import located
from pipeline.data.splits import UNNAMED, Splits, read_split_file
from pipeline.data.store import CONTENT, QUARANTINE, Store
from pipeline.data.survey import Progress, Survey, assigned, survey
from pipeline.data.targets import MissingClasses
from pipeline.data.writing import Tally, write_pictures
from pipeline.errors import DataError
from pipeline.files import new_folder, storage_errors

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
    max_bad_pictures: float = Field(default=0.05, ge=0)
    """How many unreadable pictures are left out before it is an error: a share of all if below 1, else a number."""
    shard_mib: int = Field(default=64, ge=1, le=4096)
    """About how large a file of records is, in MiB; `prepare` holds one in memory."""
    store: Path | None = None
    """A folder that keeps prepared data for many Runs; by default `store` beside the Run folder."""


def prepare(settings: DataSettings, folder: Path, progress: Progress = lambda done, total: None) -> Store:
    """The store for these settings, made where it is not there yet.

    Args:
        settings: what to prepare.
        folder: keeps stores by key, unless `settings.store` names another.
        progress: called after every example: with no total in the first pass, with one in the second.

    Raises:
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
    """The name of the store's folder: a digest of the source's content and of all settings but `store`."""
    parts = {
        "format": FORMAT,
        "settings": settings.model_dump(mode="json", exclude={"store"}),
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
    """Waits until no other process makes the same store, then removes what a killed one left behind."""
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
    surveyed = survey(settings.source, progress)
    codes, warnings = assigned(surveyed, settings.splits)
    codes[np.isin(codes, [SPLITS.index(split) for split in settings.exclude_splits])] = UNNAMED
    _check(surveyed, codes, settings)
    with new_folder(path) as temporary:
        shards, tally = write_pictures(settings, surveyed, codes, temporary, progress)
        # Again, for the pictures that turned out bad.
        warnings += [*settings.source.warnings(), *_check(surveyed, tally.codes, settings)]
        _write_features(temporary, surveyed, tally, shards)
        _write_quarantine(temporary, tally)
        _write_content(temporary, surveyed, tally, shards, warnings)
    return Store.open(path)


def _check(surveyed: Survey, codes: np.ndarray, settings: DataSettings) -> list[str]:
    """Warnings, or DataError where a split that is needed is empty or a class cannot be learned."""
    counts = {split: int(np.count_nonzero(codes == code)) for code, split in enumerate(SPLITS)}
    if not counts[TRAIN]:
        raise DataError(f"The split `train` is empty: {counts}. Check the source's splits and data.exclude_splits.")
    if not counts[VALIDATION] and not counts[TEST]:
        raise DataError(f"There is nothing to evaluate on: {counts}. Raise data.splits.validation, or add pictures.")
    return surveyed.target.check(codes, settings.missing_classes)


def _write_features(folder: Path, surveyed: Survey, tally: Tally, shards: list[Shard]) -> None:
    import tensorflow_datasets as tfds

    features = {ID: tfds.features.Text(), IMAGE: tfds.features.Image(shape=(None, None, tally.channels))}
    text = {TEXT: tfds.features.Text()} if surveyed.has_text else {}
    write_tfds_metadata(folder, features | surveyed.target.features() | text, shards)


def _write_quarantine(folder: Path, tally: Tally) -> None:
    with (folder / QUARANTINE).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "where", "reason"))
        writer.writerows(tally.quarantine)


def _write_content(folder: Path, surveyed: Survey, tally: Tally, shards: list[Shard], warnings: list[str]) -> None:
    target = surveyed.target
    fields = (ID, IMAGE, *([target.field] if target.field else []), *([TEXT] if surveyed.has_text else []))
    info = asdict(DataInfo(fields=fields, **tally.statistics(), **target.statistics(tally.codes)))
    content: dict[str, Any] = {
        "format": FORMAT,
        "info": info,
        "shards": [asdict(shard) for shard in shards],
        "warnings": warnings,
        "statistics": {**tally.description(), **target.description(tally.codes), "warnings": warnings},
    }
    (folder / CONTENT).write_text(json.dumps(content, indent=1), encoding="utf-8")
