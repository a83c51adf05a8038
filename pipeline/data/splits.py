"""Which example is for training, which for validation, which for the test.

The rule, in this order:
1. A split file decides alone: what it does not name is left out.
2. Where the source gives splits, they stand; examples without one belong to `train`. If there is no `validation`, its
   share is drawn from `train`. No `test` is made: evaluation uses `test` where there is one, else `validation`.
3. Otherwise the shares for `validation` and `test` are drawn from all examples.

A group of examples, such as the pictures of one patient, is drawn as a whole and counts as one; those of its examples
that have no split go where the source put the others.

What is drawn depends on the ids of examples and groups and on the seed alone, not on their order.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from models.settings import Settings
from pipeline.data.example import SPLITS, TEST, TRAIN, VALIDATION
from pipeline.data.sources.base import existing_file, split_named
from pipeline.errors import DataError

UNNAMED = -1
"""The code of an example that has no split; 0, 1 and 2 are the places in SPLITS."""


class Splits(Settings):
    """How examples are shared out where the source does not say; splits that the source gives are respected."""

    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share (0..1) for validation: the choice of the best checkpoint and of thresholds."""
    test: float = Field(default=0.1, ge=0, lt=1)
    """Share (0..1) for the final evaluation; not used where the source gives any split."""
    seed: int = 0
    """Another seed draws other splits."""
    stratified: bool = True
    """Whether every class (for multi-label: every picture's rarest class; for regression: a tenth of the first target)
    is shared out on its own, so that all splits are alike."""
    file: Path | None = None
    """A CSV file with the columns `id` and `split`, such as the `splits.csv` of a prepared store; it decides alone."""

    @model_validator(mode="after")
    def _room_for_training(self) -> Splits:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation ({self.validation}) and test ({self.test}) leave nothing for training")
        return self


def assign(settings: Splits, given: np.ndarray, units: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """A split for each of n examples, by rules 2 and 3 above.

    Args:
        settings: the shares, the seed, whether to stratify.
        given: int8 [n], place in SPLITS of the split that the source gives, else UNNAMED.
        units: uint64 [n], `unit_of` the examples: those with the same number stay together.
        strata: int64 [n], which examples are alike; any numbers. A unit is what most of its examples are.

    Returns:
        int8 [n], places in SPLITS.
    """
    keys, owners = np.unique(units, return_inverse=True)
    codes = np.full(len(keys), SPLITS.index(TRAIN), np.int8)
    np.maximum.at(codes, owners, given)  # UNNAMED is below all splits, and `train` below the others
    free = codes[owners] == SPLITS.index(TRAIN)
    alike = _of_most(owners, strata) if settings.stratified else np.zeros(len(keys), np.int64)
    order = _mixed(keys, settings.seed)
    if np.all(given == UNNAMED):
        _draw(codes, order, alike, {TEST: settings.test, VALIDATION: settings.validation})
    elif not np.any(given == SPLITS.index(VALIDATION)):
        _draw(codes, order, alike, {VALIDATION: settings.validation})
    return np.where(free | (given == UNNAMED), codes[owners], given)


def _of_most(owners: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """The stratum of most examples of each owner 0, 1, ..., in the order of the owners."""
    kinds, places = np.unique(strata, return_inverse=True)
    pairs, counts = np.unique(owners * len(kinds) + places, return_counts=True)
    pairs = pairs[np.lexsort((counts, pairs // len(kinds)))]
    last_of_each = np.append(np.diff(pairs // len(kinds)) > 0, True)
    return kinds[pairs[last_of_each] % len(kinds)]


def _draw(codes: np.ndarray, order: np.ndarray, strata: np.ndarray, shares: Mapping[str, float]) -> None:
    """Gives `train` examples away, in place: from each stratum the first by `order`, as many as the shares say.

    A stratum's share is rounded against what its predecessors gave, so that many small strata give the right sum; but
    one with enough examples for each split gives at least one to each.
    """
    owed = dict.fromkeys(shares, 0.0)
    for stratum in np.unique(strata):
        members = np.flatnonzero((strata == stratum) & (codes == SPLITS.index(TRAIN)))
        members = members[np.argsort(order[members], kind="stable")]
        enough = len(members) > sum(share > 0 for share in shares.values())
        start = 0
        for split, share in shares.items():
            owed[split] += share * len(members)
            count = max(round(owed[split]), int(enough and share > 0), 0)
            count = min(count, max(len(members) - start - 1, 0))
            owed[split] -= count
            codes[members[start : start + count]] = SPLITS.index(split)
            start += count


def _mixed(keys: np.ndarray, seed: int) -> np.ndarray:
    """Another order of the same keys for each seed, uint64 [n], by the mixing function of splitmix64.

    G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; the variant of S. Vigna.
    """
    mixed = keys + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def key_of(identity: str) -> int:
    """A 64-bit hash of an example's id, the same on every machine; it also gives the order of the stored records."""
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest())


def unit_of(identity: str, group: str) -> int:
    """A 64-bit hash of what is drawn as a whole: the group, or the example where it is in none."""
    return key_of(f"group {group}") if group else key_of(identity)


def read_split_file(path: Path) -> dict[int, int]:
    """`key_of` id -> place in SPLITS, from a CSV file with the columns `id` and `split`.

    Raises:
        DataError: the file or a column is missing, a split is unknown, or an id is there twice.
    """
    file = existing_file(path, "data.splits.file")
    codes: dict[int, int] = {}
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"id", "split"} <= set(rows.fieldnames or ()):
            raise DataError(f"{file}: expected the columns `id` and `split`, found {rows.fieldnames}.")
        for row in rows:
            split = split_named(row["split"] or "")
            if split is None:
                raise DataError(
                    f"{file}:{rows.line_num}: the split {row['split']!r} is unknown. Valid: {', '.join(SPLITS)}."
                )
            if codes.setdefault(key_of(row["id"]), SPLITS.index(split)) != SPLITS.index(split):
                raise DataError(f"{file}:{rows.line_num}: {row['id']!r} is in two splits. Keep one of them.")
    return codes
