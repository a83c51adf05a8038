"""Numbers and categories that go into a model beside the picture, such as a patient's age and the ward.

Records hold them as they came: NaN and -1 where a cell is empty. What takes its place is worked out from the training
examples, stands in DataInfo, and is put in when a record is read (`Store.parse`), with what was known beside it.

n = examples.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import Any, Self

import numpy as np

from pipeline.data.example import CATEGORIES, NUMBERS, SPLITS, TRAIN, RawExample
from pipeline.data.imputation import CategoryImputation, ConstantNumber, MissingColumns, NumberImputation
from pipeline.data.sources.base import DataSource, natural_order, shortened
from pipeline.data.targets import UNKNOWN, members
from pipeline.errors import ConfigError, DataError, nearest

LARGEST = float(np.finfo(np.float32).max)


class NumberColumn:
    """One column of numbers, of all examples in the order they came.

    Args:
        name: of the column.
        imputation: what takes the place of empty cells.
    """

    def __init__(self, name: str, imputation: NumberImputation):
        self.name = name
        self._imputation = imputation
        self._values = array("d")

    def collect(self, value: float, where: str) -> None:
        """Takes the next example's; NaN is not known. DataError where it is infinite."""
        if abs(value) > LARGEST:
            raise DataError(
                f"{where}: the column {self.name!r} holds {value}, which is not a finite number. Correct the cell, or "
                "leave it empty where it is not known."
            )
        self._values.append(value)

    def light(self) -> Self:
        """A copy that has forgotten what it collected."""
        light = copy(self)
        light._values = array("d")
        return light

    def unknown(self) -> np.ndarray:
        """bool [n]: whether it is not known."""
        return np.isnan(np.frombuffer(self._values, np.float64))

    def known(self, codes: np.ndarray) -> np.ndarray:
        """float64 [m]: those of the training examples that are known."""
        values = np.frombuffer(self._values, np.float64)[codes == SPLITS.index(TRAIN)]
        return values[~np.isnan(values)]

    def fill(self, codes: np.ndarray) -> float:
        """What takes the place of an empty cell; DataError where nothing says."""
        known = self.known(codes)
        if not len(known) and not isinstance(self._imputation, ConstantNumber):
            raise DataError(
                f"No training example has a number in the column {self.name!r} (data.source.number_columns). Fill it "
                "in, leave it out, or give data.missing_columns a constant for it."
            )
        return self._imputation.number(known)

    def spread(self, codes: np.ndarray) -> tuple[float, float]:
        """Mean and deviation of the training examples; a deviation of 0 is given as 1."""
        known = self.known(codes)
        return (float(known.mean()), float(known.std()) or 1.0) if len(known) else (self.fill(codes), 1.0)


class CategoryColumn:
    """One column of categories, of all examples in the order they came.

    Args:
        name: of the column.
        imputation: what takes the place of empty cells.
    """

    def __init__(self, name: str, imputation: CategoryImputation):
        self.name = name
        self._imputation = imputation
        self._seen: dict[str, int] = {}
        self._numbers = array("i")
        self.index: dict[str, int] = {}
        """Category -> its number, once it is `settle`d."""

    def collect(self, category: str) -> None:
        """Takes the next example's; empty where not known."""
        self._numbers.append(self._seen.setdefault(category, len(self._seen)) if category else UNKNOWN)

    def light(self) -> Self:
        """A copy that has forgotten what it collected."""
        light = copy(self)
        light._numbers = array("i")
        return light

    def settle(self, codes: np.ndarray) -> None:
        """Fixes the categories: those of the training examples and what takes the place of empty cells, by name."""
        names = {*self._known(codes), self.fill(codes)}
        self.index = {name: number for number, name in enumerate(sorted(names, key=natural_order))}

    def fill(self, codes: np.ndarray) -> str:
        """What takes the place of an empty cell; DataError where no training example has anything."""
        known = self._known(codes)
        if not known:
            raise DataError(
                f"No training example has anything in the column {self.name!r} (data.source.category_columns). Fill it "
                "in or leave it out."
            )
        return self._imputation.category(known)

    def _known(self, codes: np.ndarray) -> list[str]:
        numbers = np.frombuffer(self._numbers, np.int32)[codes == SPLITS.index(TRAIN)]
        names = list(self._seen)
        return [names[number] for number in numbers[numbers != UNKNOWN].tolist()]

    def stored(self, category: str) -> int:
        """The number of a category, -1 where it is not known, or none of the training examples'."""
        return self.index.get(category, UNKNOWN)

    def unknown(self) -> np.ndarray:
        """bool [n]: whether it is stored as not known."""
        stored = np.array([*map(self.stored, self._seen), UNKNOWN], np.int64)
        return stored[np.frombuffer(self._numbers, np.int32)] == UNKNOWN

    def new(self) -> list[str]:
        """The categories that no training example has."""
        return sorted(self._seen.keys() - self.index.keys(), key=natural_order)


class SideColumns:
    """All columns that go beside the picture. As a Target, it goes through all examples twice: `collect` while they are
    surveyed, `encode` while they are written; in between, `settle` fixes the categories."""

    def __init__(self, numbers: Iterable[NumberColumn] = (), categories: Iterable[CategoryColumn] = ()):
        self._numbers, self._categories = tuple(numbers), tuple(categories)

    @classmethod
    def of(cls, source: DataSource, settings: MissingColumns) -> Self:
        """Those of a source.

        Raises:
            ConfigError: the settings name a column that there is not.
        """
        numbers, categories = source.number_names(), source.category_names()
        _require_named("number_columns", settings.number_columns, numbers)
        _require_named("category_columns", settings.category_columns, categories)
        return cls(
            [NumberColumn(name, settings.number_columns.get(name, settings.numbers)) for name in numbers],
            [CategoryColumn(name, settings.category_columns.get(name, settings.categories)) for name in categories],
        )

    @property
    def _columns(self) -> tuple[NumberColumn | CategoryColumn, ...]:
        return (*self._numbers, *self._categories)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the Example that are stored."""
        return (*([NUMBERS] if self._numbers else []), *([CATEGORIES] if self._categories else []))

    def collect(self, example: RawExample) -> None:
        """Takes the next example's numbers and categories."""
        for number, value in zip(self._numbers, example.numbers, strict=True):
            number.collect(value, example.where)
        for category, name in zip(self._categories, example.categories, strict=True):
            category.collect(name)

    def settle(self, codes: np.ndarray) -> None:
        """Fixes the categories, given each example's place in SPLITS, int8 [n].

        Raises:
            DataError: no training example has anything in a column.
        """
        for category in self._categories:
            category.settle(codes)
        for number in self._numbers:
            number.fill(codes)

    def encode(self, example: RawExample) -> dict[str, list[int] | np.ndarray]:
        """As they are stored: float32 [F], NaN where not known; numbers of categories [G], -1 where not known."""
        stored = [column.stored(name) for column, name in zip(self._categories, example.categories, strict=True)]
        encoded: dict[str, list[int] | np.ndarray] = {
            NUMBERS: np.array(example.numbers, np.float32),
            CATEGORIES: stored,
        }
        return {name: encoded[name] for name in self.fields}

    def features(self) -> dict[str, Any]:
        """The same as TFDS features."""
        import tensorflow_datasets as tfds

        features = {
            NUMBERS: tfds.features.Tensor(shape=(len(self._numbers),), dtype=np.float32),
            CATEGORIES: tfds.features.Tensor(shape=(len(self._categories),), dtype=np.int64),
        }
        return {name: features[name] for name in self.fields}

    def light(self) -> SideColumns:
        """A copy that can `encode` and has forgotten what it collected: small enough to be sent to other machines."""
        return SideColumns([one.light() for one in self._numbers], [one.light() for one in self._categories])

    def statistics(self, codes: np.ndarray) -> dict[str, Any]:
        """The fields of DataInfo that are about them."""
        spreads = [column.spread(codes) for column in self._numbers]
        return {
            "number_names": tuple(column.name for column in self._numbers),
            "number_mean": tuple(mean for mean, _ in spreads),
            "number_std": tuple(deviation for _, deviation in spreads),
            "number_fill": tuple(column.fill(codes) for column in self._numbers),
            "category_names": tuple(column.name for column in self._categories),
            "category_values": tuple(tuple(column.index) for column in self._categories),
            "category_fill": tuple(column.index[column.fill(codes)] for column in self._categories),
        }

    def description(self, codes: np.ndarray) -> dict[str, Any]:
        """`columns_unknown`: column -> split -> how many examples do not have it; nothing where all do."""
        counted = {
            column.name: {split: int(np.count_nonzero(empty[chosen])) for split, chosen in members(codes).items()}
            for column in self._columns
            if (empty := column.unknown())[codes >= 0].any()
        }
        return {"columns_unknown": counted} if counted else {}

    def warnings(self, codes: np.ndarray) -> list[str]:
        """What is not known of each column and what takes its place, and categories that training lacks."""
        unknown = self.description(codes).get("columns_unknown", {})
        return [*self._fill_warnings(unknown, codes), *self._new_warnings()]

    def _fill_warnings(self, unknown: Mapping[str, Mapping[str, int]], codes: np.ndarray) -> Iterator[str]:
        for column in self._columns:
            if column.name in unknown:
                counts = ", ".join(f"{count} {split}" for split, count in unknown[column.name].items() if count)
                fill = column.fill(codes)
                shown = f"{fill:.6g}" if isinstance(fill, float) else repr(fill)
                yield f"The column {column.name!r} is not known in {counts} examples; {shown} takes its place."

    def _new_warnings(self) -> Iterator[str]:
        for column in self._categories:
            if new := column.new():
                yield (
                    f"The column {column.name!r} holds what no training example has: {shortened(new)}. "
                    "It counts as not known."
                )


def _require_named(setting: str, named: Mapping[str, Any], columns: tuple[str, ...]) -> None:
    for name in named:
        if name not in columns:
            raise ConfigError(
                f"data.missing_columns.{setting} names {name!r}, which is none of data.source.{setting}. "
                f"{nearest(name, columns)}",
                ("data", "missing_columns", setting, name),
            )
