"""What became of the pictures while a store was written: counted where they are written, and merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.data.example import SPLITS, RawExample
from pipeline.data.loading import Loaded
from pipeline.data.sources.base import shortened
from pipeline.data.splits import UNNAMED
from pipeline.data.targets import members
from pipeline.errors import DataError

Sizes = tuple[int, int, int, int]
"""Least height, least width, largest height, largest width."""


@dataclass(frozen=True, order=True)
class Rejected:
    """A picture, or one object of a picture, that was left out: the index and the id of its example, and why."""

    index: int
    number: int
    id: str
    where: str
    reason: str


@dataclass
class Tally:
    """Counts of what was written, of one shard or of all. Its size grows with what is wrong, not with the data."""

    channels: int = 1
    quarantine: list[Rejected] = field(default_factory=list)
    objects_left_out: list[Rejected] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, Sizes] = field(default_factory=dict)
    image_bytes: Counter[str] = field(default_factory=Counter)

    @property
    def stored(self) -> int:
        """How many pictures were stored."""
        return self.changes.total()

    def good(self, index: int, split: str, loaded: Loaded) -> None:
        """Counts a picture that is stored."""
        picture, example = loaded.picture, loaded.example
        self._measure(split, (picture.height, picture.width, picture.height, picture.width))
        self.channels = max(self.channels, picture.channels)
        self.changes[picture.change] += 1
        self.image_bytes[split] += len(picture.data)
        self.objects_left_out += [
            Rejected(index, one.number, example.id, one.where, one.reason) for one in loaded.left_out
        ]

    def bad(self, index: int, example: RawExample, reason: str) -> None:
        """Counts a picture that is left out."""
        self.quarantine.append(Rejected(index, 0, example.id, example.where, reason))

    def _measure(self, split: str, size: Sizes) -> None:
        least_height, least_width, height, width = self.sizes.get(split, size)
        self.sizes[split] = (
            min(least_height, size[0]),
            min(least_width, size[1]),
            max(height, size[2]),
            max(width, size[3]),
        )

    def codes(self, codes: np.ndarray) -> np.ndarray:
        """Each example's place in SPLITS, int8 [n], UNNAMED also where its picture turned out bad."""
        remaining = codes.copy()
        remaining[np.array([one.index for one in self.quarantine], np.int64)] = UNNAMED
        return remaining

    def statistics(self, codes: np.ndarray) -> dict[str, Any]:
        """The fields of DataInfo that are about pictures, given what `codes` returned."""
        return {
            "num_examples": {split: int(np.count_nonzero(chosen)) for split, chosen in members(codes).items()},
            "picture_sizes": {split: self.sizes[split] for split in SPLITS if split in self.sizes},
            "image_bytes": {split: self.image_bytes[split] for split in SPLITS if split in self.image_bytes},
        }

    def description(self, codes: np.ndarray) -> dict[str, Any]:
        """The entries of `Store.statistics` that are about pictures."""
        statistics = self.statistics(codes)
        return {
            "examples": statistics["num_examples"],
            "image_bytes": statistics["image_bytes"],
            "picture_sizes": statistics["picture_sizes"],
            "channels": self.channels,
            "changes": dict(sorted(self.changes.items(), key=lambda change: (-change[1], change[0]))),
            "quarantine": len(self.quarantine),
        }

    def require_few(self, total: int, setting: float) -> None:
        """Raises DataError where more pictures are bad than `data.max_bad_pictures` allows."""
        most = setting * (total if setting < 1 else 1)
        if len(self.quarantine) <= most:
            return
        reasons = [f"{one.where} ({one.reason})" for one in self.quarantine]
        raise DataError(
            f"Too many pictures cannot be used: {len(reasons)} of {total} so far, data.max_bad_pictures={setting:g} "
            f"allows {int(most)}. {shortened(reasons)}. Repair or remove them, or raise data.max_bad_pictures."
        )


def merged(tallies: Iterable[Tally]) -> Tally:
    """One Tally of all, the same in whatever order they come."""
    total = Tally()
    for tally in tallies:
        total.channels = max(total.channels, tally.channels)
        total.quarantine += tally.quarantine
        total.objects_left_out += tally.objects_left_out
        total.changes += tally.changes
        total.image_bytes += tally.image_bytes
        for split, size in tally.sizes.items():
            total._measure(split, size)
    total.quarantine.sort()
    total.objects_left_out.sort()
    return total
