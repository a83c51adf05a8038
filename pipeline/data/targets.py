"""What is learned from a picture: one class, any number of classes, numbers, or nothing. One class of this file each.

A Target goes through all examples twice: `collect` while they are surveyed, `encode` while they are written.
n = examples, K = classes or numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from pipeline.data.example import LABEL, LABELS, SPLITS, TRAIN, VALUE, RawExample
from pipeline.data.sources.base import natural_order, shortened
from pipeline.errors import DataError, nearest

MissingClasses = Literal["auto", "refuse", "warn"]
MOST_STRATA = 10
LEAST_IN_STRATUM = 10
LARGEST = float(np.finfo(np.float32).max)


class Target(ABC):
    """Keeps the targets of all examples (a few bytes each), in the order they came."""

    field: str | None
    """The Example's field that it becomes."""

    @abstractmethod
    def collect(self, example: RawExample) -> None:
        """Takes the next example's target; DataError where it has none."""

    @abstractmethod
    def strata(self) -> np.ndarray:
        """int64 [n]: examples with the same number are alike, for stratified splits."""

    @abstractmethod
    def encode(self, example: RawExample) -> dict[str, list[int] | np.ndarray]:
        """The target as it is stored, by field name: integers, or float32 numbers."""

    @abstractmethod
    def features(self) -> dict[str, Any]:
        """The same as TFDS features, by field name."""

    def check(self, codes: np.ndarray, missing: MissingClasses) -> list[str]:
        """Looks whether all can be learned, given each example's place in SPLITS, int8 [n].

        Returns:
            Warnings.

        Raises:
            DataError: it cannot.
        """
        return []

    def statistics(self, codes: np.ndarray) -> dict[str, Any]:
        """The fields of DataInfo that are about targets."""
        return {}

    def description(self, codes: np.ndarray) -> dict[str, Any]:
        """The entries of `Store.statistics` that are about targets."""
        return {}


class NoTarget(Target):
    """Pictures alone."""

    field = None

    def __init__(self) -> None:
        self._count = 0

    def collect(self, example: RawExample) -> None:
        self._count += 1

    def strata(self) -> np.ndarray:
        return np.zeros(self._count, np.int64)

    def encode(self, example: RawExample) -> dict[str, list[int] | np.ndarray]:
        return {}

    def features(self) -> dict[str, Any]:
        return {}


class ClassTarget(Target):
    """Class names; the base of one and of any number a picture.

    Args:
        names: the classes in index order where the source knows them, else None: those that occur, sorted.
    """

    def __init__(self, names: Sequence[str] | None):
        self._given = names
        self._first_seen: dict[str, int] = {name: index for index, name in enumerate(names or ())}
        self._seen = array("i")

    def _see(self, name: str, where: str) -> None:
        if self._given is not None and name not in self._first_seen:
            raise DataError(f"{where}: the class {name!r} is not one of the source's. {nearest(name, self._given)}")
        self._seen.append(self._first_seen.setdefault(name, len(self._first_seen)))

    def class_names(self) -> tuple[str, ...]:
        """The classes in index order."""
        return tuple(self._given or sorted(self._first_seen, key=natural_order))

    @cached_property
    def index(self) -> dict[str, int]:
        """Class name -> index; to be asked for when all examples are collected."""
        return {name: place for place, name in enumerate(self.class_names())}

    def indices(self) -> np.ndarray:
        """int64: the index of every class name collected, in the order they came."""
        final = np.array([self.index[name] for name in self._first_seen], np.int64)
        return final[np.frombuffer(self._seen, np.int32)] if self._seen else np.zeros(0, np.int64)

    @abstractmethod
    def counts(self, chosen: np.ndarray) -> np.ndarray:
        """int64 [K]: how many of the chosen examples, bool [n], show each class."""

    def statistics(self, codes: np.ndarray) -> dict[str, Any]:
        counts = {split: self.counts(chosen).tolist() for split, chosen in members(codes).items()}
        return {"class_names": self.class_names(), "class_counts": counts}

    def description(self, codes: np.ndarray) -> dict[str, Any]:
        counts = self.statistics(codes)["class_counts"]
        named = {split: dict(zip(self.class_names(), row, strict=True)) for split, row in counts.items()}
        return {"class_counts": named}

    def absent(self, codes: np.ndarray) -> list[str]:
        """A sentence for each split that lacks classes."""
        names = self.class_names()
        sentences = []
        for split, counts in self.statistics(codes)["class_counts"].items():
            if lacking := [name for name, count in zip(names, counts, strict=True) if count == 0]:
                sentences.append(f"The split `{split}` has no picture of: {shortened(lacking)}.")
        return sentences

    def _answer_to_absent(self, codes: np.ndarray, refuse: bool) -> list[str]:
        sentences = self.absent(codes)
        if sentences and refuse:
            raise DataError(
                f"{' '.join(sentences)} Add pictures, change data.splits (a larger share, stratified, another file), "
                "or set data.missing_classes=warn to go on without them."
            )
        return sentences


class OneClass(ClassTarget):
    """One class a picture."""

    field = LABEL

    def collect(self, example: RawExample) -> None:
        if example.label is None:
            raise DataError(f"{example.where}: no label, but other examples have one. Label it or remove it.")
        self._see(example.label, example.where)

    def strata(self) -> np.ndarray:
        return self.indices()

    def counts(self, chosen: np.ndarray) -> np.ndarray:
        return np.bincount(self.indices()[chosen], minlength=len(self.class_names()))

    def check(self, codes: np.ndarray, missing: MissingClasses) -> list[str]:
        shown = np.flatnonzero(self.counts(codes == SPLITS.index(TRAIN)))
        if len(shown) < 2:
            names = [self.class_names()[index] for index in shown]
            raise DataError(
                f"The training pictures show {len(shown)} class{'' if len(shown) == 1 else 'es'} ({shortened(names)}), "
                "expected at least 2. Add pictures of another class, or point data.source.path one folder higher."
            )
        return self._answer_to_absent(codes, refuse=missing != "warn")

    def encode(self, example: RawExample) -> dict[str, list[int] | np.ndarray]:
        return {LABEL: [self.index[example.label or ""]]}

    def features(self) -> dict[str, Any]:
        import tensorflow_datasets as tfds

        return {LABEL: tfds.features.ClassLabel(names=self.class_names())}


class AnyClasses(ClassTarget):
    """Any number of classes a picture. Rare classes are usual here, so a split without one is a warning by default."""

    field = LABELS

    def __init__(self, names: Sequence[str] | None):
        super().__init__(names)
        self._lengths = array("i")

    def collect(self, example: RawExample) -> None:
        if example.labels is None:
            raise DataError(f"{example.where}: no list of labels, but other examples have one. An empty list is valid.")
        names = sorted(set(example.labels))
        self._lengths.append(len(names))
        for name in names:
            self._see(name, example.where)

    def _owners(self) -> np.ndarray:
        """int64: the example that each collected class name belongs to."""
        return np.repeat(np.arange(len(self._lengths)), np.frombuffer(self._lengths, np.int32))

    def strata(self) -> np.ndarray:
        """Each picture's rarest class; -1 where it has none. Rare classes are then shared out as evenly as can be."""
        indices, owners = self.indices(), self._owners()
        frequency = np.bincount(indices, minlength=len(self.class_names()))
        by_rarity = np.lexsort((indices, -frequency[indices]))  # the rarest last, so that it is written last
        strata = np.full(len(self._lengths), -1, np.int64)
        strata[owners[by_rarity]] = indices[by_rarity]
        return strata

    def counts(self, chosen: np.ndarray) -> np.ndarray:
        return np.bincount(self.indices()[chosen[self._owners()]], minlength=len(self.class_names()))

    def check(self, codes: np.ndarray, missing: MissingClasses) -> list[str]:
        if not self.class_names():
            raise DataError("No picture has any label. Check data.source: is it the right column, the right separator?")
        return self._answer_to_absent(codes, refuse=missing == "refuse")

    def encode(self, example: RawExample) -> dict[str, list[int] | np.ndarray]:
        return {LABELS: sorted({self.index[name] for name in example.labels or ()})}

    def features(self) -> dict[str, Any]:
        import tensorflow_datasets as tfds

        return {LABELS: tfds.features.Sequence(tfds.features.ClassLabel(names=self.class_names()))}


class Numbers(Target):
    """K numbers a picture.

    Args:
        names: what they are called.
    """

    field = VALUE

    def __init__(self, names: Sequence[str]):
        self._names = tuple(names)
        self._values = array("d")
        self._bad: list[str] = []

    def collect(self, example: RawExample) -> None:
        values = example.value
        if values is None or len(values) != len(self._names):
            raise DataError(f"{example.where}: expected {len(self._names)} numbers, got {values}.")
        if not all(abs(value) <= LARGEST for value in values):  # false for NaN
            self._bad.append(f"{example.where} ({', '.join(map(str, values))})")
        self._values.extend(values)

    def values(self) -> np.ndarray:
        """float64 [n, K]."""
        return np.frombuffer(self._values, np.float64).reshape(-1, len(self._names))

    def strata(self) -> np.ndarray:
        """The tenth of all examples that the first number falls into, 0..9; fewer parts if there are few examples."""
        self._require_finite()
        first = self.values()[:, 0]
        parts = min(max(len(first) // LEAST_IN_STRATUM, 1), MOST_STRATA)
        borders = np.quantile(first, np.arange(1, parts) / parts)
        return np.searchsorted(borders, first, side="right").astype(np.int64)

    def _require_finite(self) -> None:
        if self._bad:
            raise DataError(
                f"{len(self._bad)} examples have a target that is not a finite number: {shortened(self._bad)}. "
                "Fill in the cells or remove the rows."
            )

    def encode(self, example: RawExample) -> dict[str, list[int] | np.ndarray]:
        return {VALUE: np.array(example.value, np.float32)}

    def features(self) -> dict[str, Any]:
        import tensorflow_datasets as tfds

        return {VALUE: tfds.features.Tensor(shape=(len(self._names),), dtype=np.float32)}

    def statistics(self, codes: np.ndarray) -> dict[str, Any]:
        training = self.values()[codes == SPLITS.index(TRAIN)]
        deviation = training.std(axis=0)
        return {
            "value_names": self._names,
            "value_mean": tuple(training.mean(axis=0).tolist()),
            "value_std": tuple(np.where(deviation > 0, deviation, 1.0).tolist()),
        }

    def description(self, codes: np.ndarray) -> dict[str, Any]:
        columns = {split: self.values()[chosen].T for split, chosen in members(codes).items()}
        spreads = {split: dict(zip(self._names, map(_spread, rows), strict=True)) for split, rows in columns.items()}
        return {"values": spreads}


def _spread(values: np.ndarray) -> dict[str, float]:
    figures = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
    return {name: float(figure) for name, figure in figures.items()}


def members(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Split -> bool [n], for the splits that have examples, given each example's place in SPLITS, int8 [n]."""
    return {split: codes == code for code, split in enumerate(SPLITS) if np.any(codes == code)}


def target_for(example: RawExample, class_names: Sequence[str] | None, value_names: Sequence[str]) -> Target:
    """The Target of a source, known by what its first example holds."""
    if example.label is not None:
        return OneClass(class_names)
    if example.labels is not None:
        return AnyClasses(class_names)
    return NoTarget() if example.value is None else Numbers(value_names)
