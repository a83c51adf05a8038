"""What is learned from a picture: one class, any number of classes, numbers, or nothing. One class of this
file each; numbers and objects have files of their own.

A Target goes through all examples twice: `collect` while they are surveyed, `encode` while they are written.
n = examples, K = classes or numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from pipeline.data.example import LABEL, LABELS, LABELS_UNKNOWN, SPLITS, TRAIN, RawExample
from pipeline.data.sources.base import natural_order, shortened
from pipeline.errors import DataError, nearest
from pipeline.wording import quantity

MissingClasses = Literal["auto", "refuse", "warn"]
MissingLabels = Literal["refuse", "mask"]
UNKNOWN = -1
"""In place of a class that is not known."""
ADVICE = "Fill it in, remove the row, or set data.missing_labels=mask to learn from what is known."


class Target(ABC):
    """Keeps the targets of all examples (a few bytes each), in the order they came."""

    field: str | None
    """The Example's field that it becomes."""

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields of the Example that it becomes."""
        return () if self.field is None else (self.field,)

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

    def light(self) -> Self:
        """A copy that can `encode` and has forgotten what it collected: small enough to be sent to other machines."""
        light = copy(self)
        vars(light).update({name: array(held.typecode) for name, held in vars(self).items() if isinstance(held, array)})
        return light

    def require_maskable(self) -> None:
        """Raises ConfigError where what is not known of it cannot be told from what is not there."""
        return

    def leave_out(self, index: int, number: int) -> None:
        """No longer counts one of an example's objects, for targets that count objects."""
        return

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
        missing_labels: what to do where a label is not known.
    """

    def __init__(self, names: Sequence[str] | None, missing_labels: MissingLabels = "refuse"):
        self._given = names
        self._refuses = missing_labels == "refuse"
        self._first_seen: dict[str, int] = {name: index for index, name in enumerate(names or ())}
        self._seen = array("i")

    def _see(self, name: str, where: str) -> None:
        self._seen.append(self._number(name, where))

    def _number(self, name: str, where: str) -> int:
        """In which order the class was first seen."""
        if self._given is not None and name not in self._first_seen:
            raise DataError(f"{where}: the class {name!r} is not one of the source's. {nearest(name, self._given)}")
        return self._first_seen.setdefault(name, len(self._first_seen))

    def class_names(self) -> tuple[str, ...]:
        """The classes in index order."""
        return tuple(self._given or sorted(self._first_seen, key=natural_order))

    @cached_property
    def index(self) -> dict[str, int]:
        """Class name -> index; to be asked for when all examples are collected."""
        return {name: place for place, name in enumerate(self.class_names())}

    def indices(self) -> np.ndarray:
        """int64: the index of every class name collected, in the order they came; UNKNOWN where it is not known."""
        final = np.array([*(self.index[name] for name in self._first_seen), UNKNOWN], np.int64)
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
        if example.label:
            self._see(example.label, example.where)
        elif self._refuses:
            raise DataError(f"{example.where}: the label is empty. {ADVICE}")
        else:
            self._seen.append(UNKNOWN)

    def strata(self) -> np.ndarray:
        return self.indices()

    def unknown(self) -> np.ndarray:
        """bool [n]: whether the class is not known."""
        return self.indices() == UNKNOWN

    def counts(self, chosen: np.ndarray) -> np.ndarray:
        return np.bincount(self.indices()[chosen & ~self.unknown()], minlength=len(self.class_names()))

    def description(self, codes: np.ndarray) -> dict[str, Any]:
        return {**super().description(codes), **unknown_counts(self.unknown(), codes)}

    def check(self, codes: np.ndarray, missing: MissingClasses) -> list[str]:
        require_known(~self.unknown(), codes, "label")
        shown = np.flatnonzero(self.counts(codes == SPLITS.index(TRAIN)))
        if len(shown) < 2:
            names = [self.class_names()[index] for index in shown]
            raise DataError(
                f"The training pictures show {quantity(len(shown), 'class', 'classes')} ({shortened(names)}), "
                "expected at least 2. Add pictures of another class, or point data.source.path one folder higher."
            )
        return [*self._answer_to_absent(codes, refuse=missing != "warn"), *unknown_warnings(self.unknown(), codes)]

    def encode(self, example: RawExample) -> dict[str, list[int] | np.ndarray]:
        return {LABEL: [self.index[example.label] if example.label else UNKNOWN]}

    def features(self) -> dict[str, Any]:
        import tensorflow_datasets as tfds

        return {LABEL: tfds.features.ClassLabel(names=self.class_names())}


class AnyClasses(ClassTarget):
    """Any number of classes a picture. Rare classes are usual here, so a split without one is a warning by default."""

    field = LABELS

    def __init__(self, names: Sequence[str] | None, missing_labels: MissingLabels = "refuse"):
        super().__init__(names, missing_labels)
        self._lengths = array("i")
        self._incomplete = array("i")  # numbers of the examples of which some class is not known
        self._has_unknown = False

    @property
    def fields(self) -> tuple[str, ...]:
        """`labels`, and which of them are not known where there are any."""
        return (LABELS, LABELS_UNKNOWN) if self._has_unknown else (LABELS,)

    def collect(self, example: RawExample) -> None:
        if example.labels is None:
            raise DataError(f"{example.where}: no list of labels, but other examples have one. An empty list is valid.")
        if example.labels_unknown:
            self._note_unknown(example)
        names = sorted(set(example.labels))
        self._lengths.append(len(names))
        for name in names:
            self._see(name, example.where)

    def _note_unknown(self, example: RawExample) -> None:
        names = list(example.labels_unknown)
        if self._refuses:
            raise DataError(f"{example.where}: it is not known whether the picture shows {shortened(names)}. {ADVICE}")
        for name in names:
            self._number(name, example.where)
        self._incomplete.append(len(self._lengths))
        self._has_unknown = True

    def unknown(self) -> np.ndarray:
        """bool [n]: whether any class is not known."""
        unknown = np.zeros(len(self._lengths), bool)
        unknown[np.array(self._incomplete, np.int64)] = True
        return unknown

    def _owners(self) -> np.ndarray:
        """int64: the example that each collected class name belongs to."""
        return np.repeat(np.arange(len(self._lengths)), np.frombuffer(self._lengths, np.int32))

    def strata(self) -> np.ndarray:
        """Each picture's rarest class; -1 where it has none. Rare classes are then shared out as evenly as can be."""
        indices, owners = self.indices(), self._owners()
        indices, owners = indices[indices != UNKNOWN], owners[indices != UNKNOWN]
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
        return [*self._answer_to_absent(codes, refuse=missing == "refuse"), *unknown_warnings(self.unknown(), codes)]

    def description(self, codes: np.ndarray) -> dict[str, Any]:
        return {**super().description(codes), **unknown_counts(self.unknown(), codes)}

    def encode(self, example: RawExample) -> dict[str, list[int] | np.ndarray]:
        columns = {LABELS: example.labels or (), LABELS_UNKNOWN: example.labels_unknown}
        return {field: sorted({self.index[name] for name in columns[field]}) for field in self.fields}

    def features(self) -> dict[str, Any]:
        import tensorflow_datasets as tfds

        classes = tfds.features.Sequence(tfds.features.ClassLabel(names=self.class_names()))
        return dict.fromkeys(self.fields, classes)


def require_known(known: np.ndarray, codes: np.ndarray, what: str) -> None:
    """Raises DataError where a split has no example of which something is known, bool [n]."""
    for split, chosen in members(codes).items():
        if not known[chosen].any():
            raise DataError(
                f"No example of the split {split!r} has a {what}. Label some, or leave the split out with "
                f"data.exclude_splits=[{split}]."
            )


def unknown_counts(unknown: np.ndarray, codes: np.ndarray) -> dict[str, dict[str, int]]:
    """`labels_unknown`: split -> how many of its examples lack a label, bool [n]; nothing where none does."""
    counts = {split: int(np.count_nonzero(unknown[chosen])) for split, chosen in members(codes).items()}
    return {LABELS_UNKNOWN: counts} if any(counts.values()) else {}


def unknown_warnings(unknown: np.ndarray, codes: np.ndarray) -> list[str]:
    """A warning where examples lack a label."""
    counted = unknown_counts(unknown, codes).get(LABELS_UNKNOWN, {})
    named = ", ".join(
        f"{count} of {np.count_nonzero(codes == SPLITS.index(split))} {split}" for split, count in counted.items()
    )
    return (
        [f"Labels are missing in {named} examples; what is not known is left out of loss and metrics."] if named else []
    )


def members(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Split -> bool [n], for the splits that have examples, given each example's place in SPLITS, int8 [n]."""
    return {split: codes == code for code, split in enumerate(SPLITS) if np.any(codes == code)}
