"""Writes logged pictures into shards that roll by size and age, and keeps the log below its limit."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

from pydantic import Field

from models.settings import Settings
from pipeline import console
from pipeline.data.requests.picture import LoggedPicture
from pipeline.data.requests.record import Head, Kind
from pipeline.data.requests.shard import RECORDS, OpenShard, recover, remove
from pipeline.errors import ConfigError
from pipeline.files import storage_errors
from pipeline.locations import is_remote
from pipeline.wording import quantity

GIB, MIB = 2**30, 2**20
MOST_OPEN = 8
"""Shards that are open at once, one for each model and signature; the one that was written to longest ago is closed."""
LEAST_SHARDS = 4
"""That fit the limit: a shard is no larger than this part of it, or the log would be all or nothing."""

LIBRARIES = ("PIL.Image", "tensorflow_datasets")
"""That finishing a shard needs."""


class LogLimits(Settings):
    """How much a request log keeps."""

    limit_gib: float = Field(default=10.0, gt=0)
    """Of all shards in the folder, in GiB; the oldest are removed."""
    shard_mib: float = Field(default=64.0, gt=0)
    """Of one shard, in MiB; then it is finished, and can be read."""
    shard_minutes: float = Field(default=60.0, gt=0)
    """After which a shard is finished however small it is."""

    @property
    def shard_bytes(self) -> float:
        """Of the largest shard."""
        return min(self.shard_mib * MIB, self.limit_gib * GIB / LEAST_SHARDS)


class RequestWriter:
    """Writes one log; used by one thread. Shards that killed servers left behind are finished first.

    Args:
        folder: of the log; made where it is missing.
        limits: of its shards.

    Raises:
        ConfigError: the folder is in a bucket.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path, limits: LogLimits):
        if is_remote(folder):
            raise ConfigError(
                f"A request log cannot be written to {folder}: buckets know no appending. Copy whole shards."
            )
        # Now, not while requests are answered: it takes seconds, and holds the interpreter.
        for library in LIBRARIES:
            importlib.import_module(library)
        self._folder, self._limits = folder, limits
        self._open: dict[Kind, OpenShard] = {}
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            recovered = recover(folder)
        if recovered:
            console.say(f"request log: {quantity(recovered, 'unfinished shard')} in {folder} finished")

    def write(self, picture: LoggedPicture) -> None:
        """Adds a picture to the shard of its kind.

        Raises:
            BadPicture: its file cannot be read.
            StorageError: the disk is full, or the folder has vanished; nothing half-written is visible.
        """
        head, kind = Head.of(picture.image), Kind.of(picture)
        with storage_errors(self._folder):
            shard = self._open.pop(kind, None) or self._new(kind)
            self._open[kind] = shard  # behind the others: those come first that were written to longest ago
            shard.add(picture, head)
            if shard.bytes >= self._limits.shard_bytes:
                self._finish(kind)

    def tend(self) -> None:
        """Flushes, finishes old shards, removes the oldest beyond the limit; to be called every second or so.

        Raises:
            StorageError: as `write`.
        """
        with storage_errors(self._folder):
            for kind, shard in list(self._open.items()):
                shard.flush()
                if time.monotonic() - shard.begun >= 60 * self._limits.shard_minutes:
                    self._finish(kind)
            self._keep_limit()

    def close(self) -> None:
        """Finishes all shards."""
        with storage_errors(self._folder):
            for kind in list(self._open):
                self._finish(kind)
            self._keep_limit()

    def abandon(self) -> None:
        """Lets go of everything after an error; whole shards stay."""
        for shard in self._open.values():
            shard.abandon()
        self._open.clear()

    def _new(self, kind: Kind) -> OpenShard:
        if len(self._open) >= MOST_OPEN:
            self._finish(next(iter(self._open)))
        return OpenShard(self._folder, kind)

    def _finish(self, kind: Kind) -> None:
        self._open[kind].finish()
        del self._open[kind]

    def _keep_limit(self) -> None:
        sizes = {shard: _size(shard) for shard in whole_shards(self._folder)}
        total = sum(sizes.values()) + sum(shard.bytes for shard in self._open.values())
        for shard, size in sizes.items():
            if total <= self._limits.limit_gib * GIB:
                return
            remove(shard)
            total -= size


def whole_shards(folder: Path) -> list[Path]:
    """The shards of a log that can be read, the oldest first."""
    return sorted(file.parent for file in folder.glob(f"*/{RECORDS}") if not file.parent.name.startswith("."))


def _size(shard: Path) -> int:
    try:
        return (shard / RECORDS).stat().st_size
    except FileNotFoundError:  # removed by another server
        return 0
