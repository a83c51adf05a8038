"""What is learned where pictures have numbers.

n = examples, K = numbers of one.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.data.example import SPLITS, TRAIN, VALUE, RawExample
from pipeline.data.sources.base import shortened
from pipeline.data.targets import (
    UNKNOWN,
    MissingClasses,
    MissingLabels,
    Target,
    members,
    require_known,
    unknown_counts,
    unknown_warnings,
)
from pipeline.errors import DataError
from pipeline.wording import quantity

MOST_STRATA = 10
LEAST_IN_STRATUM = 10
LARGEST = float(np.finfo(np.float32).max)
REFUSED = "Fill in the cells or remove the rows, or set data.missing_labels=mask to learn from what is known."


class Numbers(Target):
    """K numbers a picture.

    Args:
        names: what they are called.
        missing_labels: what to do where a number is not known, NaN.
    """

    field = VALUE

    def __init__(self, names: Sequence[str], missing_labels: MissingLabels = "refuse"):
        self._names = tuple(names)
        self._refuses = missing_labels == "refuse"
        self._values = array("d")
        self._bad: list[str] = []

    def collect(self, example: RawExample) -> None:
        values = example.value
        if values is None or len(values) != len(self._names):
            raise DataError(f"{example.where}: expected {quantity(len(self._names), 'number')}, got {values}.")
        if not all(abs(value) <= LARGEST or (np.isnan(value) and not self._refuses) for value in values):
            self._bad.append(f"{example.where} ({', '.join(map(str, values))})")
        self._values.extend(values)

    def values(self) -> np.ndarray:
        """float64 [n, K], NaN where not known."""
        return np.frombuffer(self._values, np.float64).reshape(-1, len(self._names))

    def strata(self) -> np.ndarray:
        """The tenth of all examples that the first number falls into, 0..9; fewer parts if there are few examples.
        Those whose first number is not known are a part of their own."""
        self._require_finite()
        first = self.values()[:, 0]
        known = first[~np.isnan(first)]
        parts = min(max(len(known) // LEAST_IN_STRATUM, 1), MOST_STRATA)
        borders = np.quantile(known, np.arange(1, parts) / parts) if len(known) else []
        return np.where(np.isnan(first), UNKNOWN, np.searchsorted(borders, first, side="right"))

    def unknown(self) -> np.ndarray:
        """bool [n]: whether any number is not known."""
        return np.isnan(self.values()).any(axis=1)

    def check(self, codes: np.ndarray, missing: MissingClasses) -> list[str]:
        for name, column in zip(self._names, self.values().T, strict=True):
            require_known(~np.isnan(column), codes, f"value of {name!r}")
        return unknown_warnings(self.unknown(), codes)

    def _require_finite(self) -> None:
        if not self._bad:
            return
        advice = REFUSED if self._refuses else "Correct the cells; leave those empty that are not known."
        raise DataError(
            f"{quantity(len(self._bad), 'example has', 'examples have')} a target that is not a finite number: "
            f"{shortened(self._bad)}. {advice}"
        )

    def encode(self, example: RawExample) -> dict[str, list[int] | np.ndarray]:
        return {VALUE: np.array(example.value, np.float32)}

    def features(self) -> dict[str, Any]:
        import tensorflow_datasets as tfds

        return {VALUE: tfds.features.Tensor(shape=(len(self._names),), dtype=np.float32)}

    def statistics(self, codes: np.ndarray) -> dict[str, Any]:
        training = self.values()[codes == SPLITS.index(TRAIN)]
        deviation = np.nanstd(training, axis=0)
        return {
            "value_names": self._names,
            "value_mean": tuple(np.nanmean(training, axis=0).tolist()),
            "value_std": tuple(np.where(deviation > 0, deviation, 1.0).tolist()),
        }

    def description(self, codes: np.ndarray) -> dict[str, Any]:
        columns = {split: self.values()[chosen].T for split, chosen in members(codes).items()}
        spreads = {split: dict(zip(self._names, map(_spread, rows), strict=True)) for split, rows in columns.items()}
        return {"values": spreads, **unknown_counts(self.unknown(), codes)}


def _spread(values: np.ndarray) -> dict[str, float]:
    known = values[~np.isnan(values)]
    figures = {"mean": known.mean(), "std": known.std(), "min": known.min(), "max": known.max()}
    return {name: float(figure) for name, figure in figures.items()}
