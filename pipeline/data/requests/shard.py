"""One shard of a request log: open, under a hidden name; then a whole store; or what a killed server left of it."""

from __future__ import annotations

import csv
import fcntl
import json
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from models.stack import tf
from pipeline import console
from pipeline.data.example import ID, IMAGE, TEST, DataInfo
from pipeline.data.records import Shard, shard_file, write_tfds_metadata
from pipeline.data.requests.picture import LoggedPicture
from pipeline.data.requests.record import Head, Kind, decode, encode
from pipeline.data.store import CONTENT, QUARANTINE, SPLIT_FILE
from pipeline.errors import StorageError
from pipeline.files import PARTIAL, flush, flush_tree, write_file
from pipeline.locations import text_stream

SPLIT = TEST
"""What is asked of production is what a model is judged on; nobody trains on it before it is labelled."""
RECORDS = shard_file(SPLIT, 0, 1)
KIND = "kind.json"
LOCK = "lock"
REQUESTS = "requests"
"""The entry of convoy.json that only a logged store has."""
FORMAT = 1
FRAME = 16
"""Bytes of a TFRecord around its content: its length, and the checksums of both."""


@dataclass
class Tally:
    """What is known of the pictures of a shard without reading them."""

    rows: list[tuple[str, float, int]] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    image_bytes: int = 0

    def add(self, picture: LoggedPicture, head: Head) -> None:
        """Counts a picture that was written."""
        self.rows.append((picture.id, picture.seconds, picture.version))
        self.heads.append(head)
        self.image_bytes += len(picture.image)

    @property
    def channels(self) -> int:
        """Of all pictures: 3 as soon as one has colour."""
        return max(head.channels for head in self.heads)

    def info(self) -> DataInfo:
        """As a Store knows it."""
        heights, widths = zip(*((head.height, head.width) for head in self.heads), strict=True)
        sizes = (min(heights), min(widths), max(heights), max(widths))
        return DataInfo(
            fields=(ID, IMAGE),
            num_examples={SPLIT: len(self.rows)},
            picture_sizes={SPLIT: sizes},
            image_bytes={SPLIT: self.image_bytes},
        )

    def statistics(self) -> dict[str, Any]:
        """As `Store.statistics` gives them."""
        info = self.info()
        return {
            "examples": info.num_examples,
            "image_bytes": info.image_bytes,
            "picture_sizes": info.picture_sizes,
            "channels": self.channels,
            "changes": {"kept": len(self.rows)},
            "quarantine": 0,
            "warnings": [],
        }


class OpenShard:
    """A shard that is being written; `finish` makes it visible.

    Args:
        folder: of the log.
        kind: of its pictures.

    Raises:
        StorageError, OSError: it cannot be written.
    """

    def __init__(self, folder: Path, kind: Kind):
        self.kind, self.tally, self.bytes = kind, Tally(), 0
        self.begun = time.monotonic()
        # To the microsecond: names are in the order of time, in which shards are read and removed.
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._target = folder / f"{stamp}-{secrets.token_hex(4)}"
        self._folder = folder / f".{self._target.name}{PARTIAL}"
        self._lock = _begun(self._folder, kind)
        self._writer = tf.io.TFRecordWriter(str(self._folder / RECORDS))

    def add(self, picture: LoggedPicture, head: Head) -> None:
        """Writes a picture; it outlives a kill of this process from the next `flush` on."""
        record = encode(picture)
        self._writer.write(record)
        self.bytes += len(record) + FRAME
        self.tally.add(picture, head)

    def flush(self) -> None:
        """Gives what was written to the system; StorageError where the shard has been removed meanwhile."""
        self._writer.flush()
        if not (self._folder / RECORDS).exists():
            raise StorageError(f"{self._folder} has vanished.")

    def finish(self) -> Path:
        """The whole shard, under the name by which readers find it."""
        self.flush()
        self._writer.close()
        return _publish(self._folder, self._target, self.kind, self.tally, self._lock)

    def abandon(self) -> None:
        """Lets go of a shard that cannot be written; what can be read of it is recovered at the next start."""
        with suppress(Exception):  # the disk is full, which is why it is abandoned
            self._writer.close()
        self._lock.close()


def recover(folder: Path) -> int:
    """Finishes the shards that killed servers left in the log, as far as they had been written; how many there were.

    Those of servers that live are left alone. What was being removed is removed.
    """
    recovered = 0
    for partial in sorted(folder.glob(f".*{PARTIAL}")):
        try:
            lock = _locked(partial)
        except OSError:  # another server writes it, or has just finished it
            continue
        try:
            recovered += _recover(folder, partial, lock)
        except tf.errors.OpError as error:  # a disk that cannot be read now may be another time: nothing is removed
            lock.close()
            console.warn(f"request log: {partial} cannot be read, and is left as it is: {error.message}")
    return recovered


def _recover(folder: Path, partial: Path, lock: IO[str]) -> bool:
    try:
        kind = Kind.from_document(json.loads((partial / KIND).read_text(encoding="utf-8")))
        tally = _read_again(partial / RECORDS, kind)
    except (OSError, tf.errors.NotFoundError, ValueError, KeyError, TypeError):  # killed before there was anything
        tally = Tally()
    if not tally.rows:
        lock.close()
        shutil.rmtree(partial, ignore_errors=True)
        return False
    _publish(partial, folder / partial.name.removeprefix(".").removesuffix(PARTIAL), kind, tally, lock)
    return True


def _read_again(file: Path, kind: Kind) -> Tally:
    """Counts the whole records of a file, and cuts off what is behind them."""
    tally, length = Tally(), 0
    for record in whole_records(file):
        picture = decode(record, kind)
        tally.add(picture, Head.of(picture.image))
        length += len(record) + FRAME
    with file.open("r+b") as stream:
        stream.truncate(length)
    return tally


def whole_records(file: Path) -> Iterator[bytes]:
    """The records of a file up to its end, or to the first that is cut short or damaged."""
    records = tf.compat.v1.io.tf_record_iterator(str(file))
    while True:
        try:
            record = next(records, None)
        except tf.errors.DataLossError:
            return
        if record is None:
            return
        yield record


def remove(shard: Path) -> None:
    """Removes a whole shard so that no reader finds half of it."""
    hidden = shard.with_name(f".{shard.name}{PARTIAL}")
    try:
        shard.rename(hidden)
        (hidden / KIND).unlink(missing_ok=True)
    except FileNotFoundError:  # another server was quicker
        return
    shutil.rmtree(hidden, ignore_errors=True)


def _begun(folder: Path, kind: Kind) -> IO[str]:
    """Makes the folder of an open shard; it has its name only once it is locked."""
    opening = folder.with_suffix("")
    opening.mkdir()
    write_file(opening / KIND, json.dumps(kind.as_document()))
    lock = _locked(opening)
    opening.rename(folder)
    return lock


def _locked(folder: Path) -> IO[str]:
    """Held while a shard is written, so that nobody takes it for one that was left behind; OSError where it is."""
    stream = (folder / LOCK).open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise
    return stream


def _publish(folder: Path, target: Path, kind: Kind, tally: Tally, lock: IO[str]) -> Path:
    """Writes what makes a store of the records, and renames it."""
    shard = Shard(RECORDS, SPLIT, len(tally.rows), (folder / RECORDS).stat().st_size)
    write_tfds_metadata(folder, kind.features(tally.channels), [shard])
    with text_stream(folder / SPLIT_FILE, "w") as stream:
        rows = csv.writer(stream)
        rows.writerow(("id", "split", "time", "version"))
        rows.writerows((name, SPLIT, f"{seconds:.6f}", version) for name, seconds, version in tally.rows)
    with text_stream(folder / QUARANTINE, "w") as stream:
        csv.writer(stream).writerow(("id", "where", "reason"))
    (folder / CONTENT).write_text(json.dumps(_content(kind, tally, shard), indent=1), encoding="utf-8")
    flush_tree(folder)
    folder.rename(target)
    # Not before: without them a shard whose rename failed could not be recovered.
    for file in (KIND, LOCK):
        (target / file).unlink(missing_ok=True)
    lock.close()
    flush(target.parent)
    return target


def _content(kind: Kind, tally: Tally, shard: Shard) -> dict[str, Any]:
    times = [seconds for _, seconds, _ in tally.rows]
    versions = Counter(str(version) for _, _, version in tally.rows)
    return {
        "format": FORMAT,
        "info": asdict(tally.info()),
        "shards": [asdict(shard)],
        "warnings": [],
        "statistics": tally.statistics(),
        REQUESTS: {**kind.as_document(), "first": min(times), "last": max(times), "versions": dict(versions)},
    }
