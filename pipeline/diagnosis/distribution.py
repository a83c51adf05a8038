"""What each split holds: how many of each class, how large and how bright the pictures are.

n = examples, K = classes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.data.example import TRAIN, RawExample
from pipeline.data.sources.base import natural_order
from pipeline.data.targets import MissingClasses, members
from pipeline.diagnosis.facts import Collected
from pipeline.diagnosis.findings import Finding, Severity
from pipeline.diagnosis.settings import DoctorSettings
from pipeline.wording import quantity

QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "largest": 1.0}
NAMED = 8
"""Classes that a sentence names."""


class ClassTally:
    """Which classes every example shows; an object counts as often as it is there. Of what is left out of the store
    nothing counts, as `prepare` has it.

    Args:
        names: the source's own classes, where it has them; others that occur come behind them.
    """

    def __init__(self, names: tuple[str, ...] | None):
        self._known = tuple(names or ())
        self._index = {name: place for place, name in enumerate(self._known)}
        self._owners = array("i")
        self._classes = array("i")
        self._count = 0
        self.one_each = True

    def add(self, example: RawExample) -> None:
        """Takes the next example."""
        for place in self._places(example):
            self._classes.append(place)
            self._owners.append(self._count)
        self._count += 1

    def add_unusable(self, example: RawExample) -> None:
        """Takes one whose picture is left out: that there are its classes is known, but it shows none."""
        self._places(example)
        self._count += 1

    def _places(self, example: RawExample) -> list[int]:
        """The classes of an example by the order in which they were first seen."""
        self.one_each = self.one_each and example.labels is None and example.objects is None
        names = [example.label] if example.label else list(example.labels or ())
        names += [one.label for one in example.usable_objects]
        return [self._index.setdefault(name, len(self._index)) for name in names]

    @property
    def names(self) -> tuple[str, ...]:
        """The source's classes in its order, then others; sorted where the source names none."""
        extra = sorted(self._index.keys() - set(self._known), key=natural_order)
        return (*self._known, *extra)

    @property
    def owners(self) -> np.ndarray:
        """int32: the example that shows each class."""
        return np.array(self._owners, np.int32)

    @property
    def classes(self) -> np.ndarray:
        """int32: places in `names`, one for each of `owners`."""
        place = {name: index for index, name in enumerate(self.names)}
        final = np.array([place[name] for name in self._index], np.int32)
        return final[np.array(self._classes, np.int32)] if self._classes else np.zeros(0, np.int32)

    def counts(self, splits: np.ndarray) -> dict[str, np.ndarray]:
        """Split -> int64 [K], given each example's place in SPLITS, int8 [n]."""
        owners, classes, many = self.owners, self.classes, len(self.names)
        return {name: np.bincount(classes[held[owners]], minlength=many) for name, held in members(splits).items()}


def distribution_findings(
    tally: ClassTally, splits: np.ndarray, missing: MissingClasses, settings: DoctorSettings
) -> Iterator[Finding]:
    """Classes that a split lacks, and classes with many more examples than others."""
    counts = tally.counts(splits)
    severity: Severity = "error" if missing == "refuse" or (tally.one_each and missing == "auto") else "warning"
    for split, row in counts.items():
        if absent := [name for name, count in zip(tally.names, row, strict=True) if not count]:
            yield Finding(
                kind="absent_class",
                severity=severity,
                what=f"{split} shows nothing of {_named(absent)}",
                fix="Add pictures, or change data.splits (a larger share, stratified, another file); "
                "data.missing_classes=warn goes on without.",
                numbers={"split": split, "classes": len(absent)},
            )
    if TRAIN in counts:
        yield from _imbalance(tally.names, counts[TRAIN], settings)


def statistics(collected: Collected, tally: ClassTally) -> dict[str, Any]:
    """Plain values: pictures, classes, sizes and greys of every split."""
    held = members(collected.splits)
    return {
        "pictures": {split: int(np.count_nonzero(chosen)) for split, chosen in held.items()},
        "unusable": int(np.count_nonzero(~collected.usable)),
        "classes": {split: _classes(tally.names, row) for split, row in tally.counts(collected.splits).items()},
        "measures": {split: _spreads(collected, chosen) for split, chosen in held.items()},
    }


def picture_measures(collected: Collected) -> dict[str, np.ndarray]:
    """What is measured of each picture, float64 [n]; NaN where it cannot be used."""
    height, width = np.where(collected.usable, collected.sizes.T.astype(np.float64), np.nan)
    looks = {
        name: np.where(collected.usable, values.astype(np.float64), np.nan)
        for name, values in collected.appearances.items()
    }
    return {"height": height, "width": width, "aspect": width / height, **looks}


def imbalance_ratio(counts: np.ndarray) -> float | None:
    """The most frequent class by the rarest that occurs; None where fewer than two occur."""
    shown = counts[counts > 0]
    return float(shown.max() / shown.min()) if len(shown) > 1 else None


def _imbalance(names: tuple[str, ...], counts: np.ndarray, settings: DoctorSettings) -> Iterator[Finding]:
    ratio = imbalance_ratio(counts)
    if ratio is None or ratio <= settings.imbalance:
        return
    least = int(np.where(counts > 0, counts, counts.max()).argmin())
    most = int(counts.argmax())
    yield Finding(
        kind="imbalance",
        severity="warning",
        what=f"train shows {names[most]!r} {counts[most]:,} times and {names[least]!r} {counts[least]:,} times: "
        f"{ratio:.0f} to 1",
        fix="Sample or weight the classes (docs/imbalance.md), and judge by a measure of every class.",
        numbers={"ratio": ratio},
    )


def _classes(names: tuple[str, ...], row: np.ndarray) -> Mapping[str, Any]:
    total = int(row.sum())
    rows = {
        name: {"count": int(count), "share": float(count / total) if total else 0.0}
        for name, count in zip(names, row, strict=True)
    }
    return {"classes": rows, "imbalance": imbalance_ratio(row)}


def _spreads(collected: Collected, chosen: np.ndarray) -> dict[str, dict[str, float]]:
    spreads = {}
    for name, values in picture_measures(collected).items():
        known = values[chosen & collected.usable]
        if len(known):
            figures = np.quantile(known, list(QUANTILES.values()))
            spreads[name] = dict(zip(QUANTILES, figures.tolist(), strict=True))
    return spreads


def _named(names: list[str]) -> str:
    more = f" and {quantity(len(names) - NAMED, 'more class', 'more classes')}" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
