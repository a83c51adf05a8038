"""What takes the place of a cell that is empty in a column that goes into the model beside the picture.

Always by the training examples alone, so that validation and test stay unseen; that the cell was empty is kept beside
it (`numbers_known`, `categories_known`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, FiniteFloat

from models.settings import Settings, names_as_text


class NumberImputation(Settings):
    """A number in place of one that is not known."""

    @abstractmethod
    def number(self, known: np.ndarray) -> float:
        """From the numbers of the training examples that are known, float64 [m], m >= 1."""


class MeanNumber(NumberImputation):
    """The mean of the training examples."""

    kind: Literal["mean"] = "mean"
    """For numbers that spread evenly around their middle."""

    def number(self, known: np.ndarray) -> float:
        return float(known.mean())


class MedianNumber(NumberImputation):
    """The median of the training examples."""

    kind: Literal["median"] = "median"
    """For numbers with outliers, such as incomes."""

    def number(self, known: np.ndarray) -> float:
        return float(np.median(known))


class MostFrequentNumber(NumberImputation):
    """The number that most training examples have."""

    kind: Literal["most_frequent"] = "most_frequent"
    """For counts and codes; of several equally frequent, the smallest."""

    def number(self, known: np.ndarray) -> float:
        values, counts = np.unique(known, return_counts=True)
        return float(values[counts.argmax()])


class ConstantNumber(NumberImputation):
    """A number of your own."""

    kind: Literal["constant"] = "constant"
    """Such as 0 for a count that is left empty where there is nothing."""
    value: FiniteFloat
    """The number."""

    def number(self, known: np.ndarray) -> float:
        return self.value


class CategoryImputation(Settings):
    """A category in place of one that is not known."""

    @abstractmethod
    def category(self, known: Sequence[str]) -> str:
        """From the categories of the training examples that are known."""


class MostFrequentCategory(CategoryImputation):
    """The category that most training examples have."""

    kind: Literal["most_frequent"] = "most_frequent"
    """Of several equally frequent, the first by name."""

    def category(self, known: Sequence[str]) -> str:
        counts = Counter(known)
        return min(counts, key=lambda name: (-counts[name], name))


class ConstantCategory(CategoryImputation):
    """A category of your own, which may be one that no example has."""

    kind: Literal["constant"] = "constant"
    """Such as `unknown`, so that what is not known is a category by itself."""
    value: str = Field(min_length=1)
    """The category."""

    def category(self, known: Sequence[str]) -> str:
        return self.value


AnyNumberImputation = Annotated[
    MeanNumber | MedianNumber | MostFrequentNumber | ConstantNumber, Field(discriminator="kind")
]
AnyCategoryImputation = Annotated[MostFrequentCategory | ConstantCategory, Field(discriminator="kind")]


class MissingColumns(Settings):
    """What takes the place of empty cells in `number_columns` and `category_columns` of a table."""

    numbers: AnyNumberImputation = MeanNumber()
    """In all number columns that are not named below."""
    categories: AnyCategoryImputation = MostFrequentCategory()
    """In all category columns that are not named below."""
    number_columns: Annotated[dict[str, AnyNumberImputation], BeforeValidator(names_as_text)] = Field(
        default_factory=dict
    )
    """Number column -> what takes the place of its empty cells, such as `{weight: median}`."""
    category_columns: Annotated[dict[str, AnyCategoryImputation], BeforeValidator(names_as_text)] = Field(
        default_factory=dict
    )
    """Category column -> the same, such as `{site: {kind: constant, value: unknown}}`."""
