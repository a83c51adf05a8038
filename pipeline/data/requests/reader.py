"""Reads a request log: what it holds, and the pictures of a choice of it."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models.stack import tf
from pipeline import console
from pipeline.data.requests.picture import LoggedPicture
from pipeline.data.requests.record import Kind, decode
from pipeline.data.requests.shard import RECORDS, REQUESTS
from pipeline.data.requests.writer import whole_shards
from pipeline.data.splits import key_of
from pipeline.data.store import CONTENT, SPLIT_FILE
from pipeline.errors import ConfigError, DataError, nearest
from pipeline.locations import text_stream


@dataclass(frozen=True)
class Choice:
    """Which requests are meant; what is None is not asked for.

    Args:
        model: its name; needed where the log holds several.
        version: of the model.
        since, until: seconds since 1970, UTC; from `since` on, before `until`.
    """

    model: str | None = None
    version: int | None = None
    since: float | None = None
    until: float | None = None

    def holds(self, seconds: float, version: int) -> bool:
        """Whether a request of that time and version is meant."""
        asked = self.version is None or version == self.version
        late = self.since is None or seconds >= self.since
        return asked and late and (self.until is None or seconds < self.until)


@dataclass(frozen=True)
class LoggedShard:
    """A whole shard.

    Args:
        first, last: times of its requests, seconds since 1970, UTC.
        versions: version -> pictures.
    """

    path: Path
    kind: Kind
    first: float
    last: float
    versions: dict[int, int]
    bytes: int

    @property
    def count(self) -> int:
        """Pictures."""
        return sum(self.versions.values())

    def ids(self, choice: Choice) -> list[str]:
        """The pictures of a choice; none where the shard was removed meanwhile."""
        try:
            rows = self._rows()
        except FileNotFoundError:
            return []
        return [row["id"] for row in rows if choice.holds(float(row["time"]), int(row["version"]))]

    def pictures(self, wanted: set[str]) -> Iterator[LoggedPicture]:
        """Those of the `wanted` ids that it holds; reads no further than the last of them.

        Raises:
            DataError: a record is damaged.
            FileNotFoundError, tf.errors.NotFoundError: the shard was removed meanwhile.
        """
        missing = wanted.intersection(row["id"] for row in self._rows())
        if not missing:
            return
        try:
            for record in tf.data.TFRecordDataset(str(self.path / RECORDS)).as_numpy_iterator():
                picture = decode(record, self.kind)
                if picture.id in missing:
                    yield picture
                    missing.remove(picture.id)
                if not missing:
                    return
        except tf.errors.DataLossError as error:
            raise DataError(
                f"{self.path} is damaged: {error.message}. Remove it; the other shards are whole."
            ) from error

    def _rows(self) -> list[dict[str, str]]:
        with text_stream(self.path / SPLIT_FILE, "r") as stream:
            return list(csv.DictReader(stream))


class RequestLog:
    """The whole shards of a log, the oldest first.

    Args:
        folder: of the log, or one shard of it.

    Raises:
        DataError: it holds no whole shard, or one cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        paths = [folder] if (folder / RECORDS).is_file() else whole_shards(folder) if folder.is_dir() else []
        self.shards = [shard for path in paths if (shard := _opened(path)) is not None]
        if not self.shards:
            what = "holds no whole shard yet" if folder.is_dir() else "does not exist"
            raise DataError(
                f"{folder} {what}. `convoy serve MODEL --request-log {folder}` writes a log; a shard is finished when "
                "it is large or old enough (--log-shard-mib, --log-shard-minutes), and when the server stops."
            )

    def models(self) -> dict[str, int]:
        """Model -> pictures."""
        counted: Counter[str] = Counter()
        for shard in self.shards:
            counted[shard.kind.model] += shard.count
        return dict(counted)

    def ids(self, choice: Choice) -> list[str]:
        """The pictures of a choice, in the order in which they were logged.

        Raises:
            ConfigError: the log holds several models, and none is chosen, or not the chosen one.
            DataError: nothing fits the choice.
        """
        found = [name for shard in self._of_model(choice) for name in shard.ids(choice)]
        if not found:
            raise DataError(f"No request in {self.folder} fits. {self._held()}")
        return found

    def pictures(self, ids: Sequence[str]) -> Iterator[LoggedPicture]:
        """The pictures of these ids, in the order in which they were logged."""
        wanted = set(ids)
        for shard in self.shards:
            try:
                yield from shard.pictures(wanted)
            except (FileNotFoundError, tf.errors.NotFoundError):
                console.warn(f"{shard.path} was removed while it was read (the log is full): it is passed over")

    def _of_model(self, choice: Choice) -> list[LoggedShard]:
        models = self.models()
        if choice.model is None and len(models) > 1:
            raise ConfigError(
                f"{self.folder} holds requests of several models: choose with --model. {nearest('', models)}"
            )
        if choice.model is not None and choice.model not in models:
            raise ConfigError(f"{self.folder} holds no request of {choice.model!r}. {nearest(choice.model, models)}")
        return [shard for shard in self.shards if choice.model in (None, shard.kind.model)]

    def _held(self) -> str:
        first, last = min(shard.first for shard in self.shards), max(shard.last for shard in self.shards)
        versions = sorted({str(version) for shard in self.shards for version in shard.versions})
        return f"It holds those from {as_time(first)} to {as_time(last)}, of the versions {', '.join(versions)}."


def drawn(ids: Sequence[str], most: int) -> list[str]:
    """At most `most` of the ids: by a hash, so that they are a fair draw and the same every time."""
    return sorted(ids, key=key_of)[:most]


def different(pictures: Iterable[LoggedPicture]) -> Iterator[LoggedPicture]:
    """The pictures without files that came before: clients ask again."""
    seen: set[bytes] = set()
    for picture in pictures:
        digest = digest_of(picture)
        if digest not in seen:
            seen.add(digest)
            yield picture


def digest_of(picture: LoggedPicture) -> bytes:
    """What two pictures have in common only if their files are the same."""
    return hashlib.blake2b(picture.image, digest_size=16).digest()


def as_time(seconds: float) -> str:
    """Such as 2026-10-01T12:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_time(text: str) -> float:
    """Seconds since 1970 of an ISO date or time; UTC where it names no other zone.

    Raises:
        ConfigError: it is none.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no time. Expected such as 2026-10-01 or 2026-10-01T12:00:00Z.") from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _opened(path: Path) -> LoggedShard | None:
    """None where it was removed since it was listed."""
    file = path / CONTENT
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        held = content[REQUESTS]
        kind = Kind.from_document({name: held[name] for name in ("model", "signature", "came_as", "outputs")})
        versions = {int(version): count for version, count in held["versions"].items()}
        return LoggedShard(path, kind, held["first"], held["last"], versions, content["shards"][0]["bytes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not path.exists():
            return None
        raise DataError(f"{path} is no shard of a request log, or damaged ({error!r}). Remove it.") from error
