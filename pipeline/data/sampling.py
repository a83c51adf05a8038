"""How often each training example comes in a pass: the answer to classes of unequal size, at the source.

A Sampling gives every example a factor, the number of times that it is expected in a pass. `order.Resampled` draws a
pass from the factors: always the same number of examples, each of them its factor's floor or ceiling times.

n = examples of the training split, K = classes, m = pairs of an example and a class that it shows.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from models.settings import Settings, names_as_text
from pipeline.data import cache
from pipeline.data.example import CLASSES, LABEL, LABELS, TRAIN
from pipeline.data.order import EachOnce, Pass, Resampled
from pipeline.errors import ConfigError, nearest
from pipeline.wording import quantity

if TYPE_CHECKING:
    from pipeline.data.example import Example
    from pipeline.data.store import Store

CHUNK = 1024
"""Records whose labels are read at a time."""
ROUNDING = 1e-6
"""A sum of factors that is this little above a whole number is that number."""
MOST_LISTED = 6
"""Classes whose shares are printed."""


@dataclass(frozen=True)
class Shown:
    """Which classes each of n examples shows, without repeats. Where nothing is known of an example, it shows none.

    Args:
        num_examples: n.
        class_names: [K].
        examples, classes: int64 [m]: the example `examples[j]` shows the class `classes[j]`.
    """

    num_examples: int
    class_names: tuple[str, ...]
    examples: np.ndarray
    classes: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        """int64 [K]: how many examples show each class."""
        return np.bincount(self.classes, minlength=len(self.class_names))

    @cached_property
    def labelled(self) -> np.ndarray:
        """bool [n]: whether the example shows any class."""
        return np.bincount(self.examples, minlength=self.num_examples) > 0

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Values of the classes, [K] -> for each example the sum over its classes, [n]; 0 where it shows none."""
        return np.bincount(self.examples, values[self.classes], self.num_examples)

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Values of the classes, [K] -> for each example the largest of its classes, [n]; 1 where it shows none."""
        found = np.where(self.labelled, -np.inf, 1.0)
        np.maximum.at(found, self.examples, values[self.classes])
        return found

    def shares(self, factors: np.ndarray) -> np.ndarray:
        """Share of the n examples, each counted `factors` [n] times, that show each class: float64 [K]."""
        return np.bincount(self.classes, factors[self.examples], len(self.class_names)) / factors.sum()


class Sampling(Settings):
    """How often the examples of each class come."""

    @abstractmethod
    def factors(self, shown: Shown) -> np.ndarray:
        """How often each example is expected in a pass, float64 [n], 0 and above.

        Raises:
            ConfigError: the settings name classes that the data does not hold, or cannot be reached.
        """


class Natural(Sampling):
    """Every example once a pass, as the data is."""

    kind: Literal["natural"] = "natural"
    """The data's own distribution."""

    def factors(self, shown: Shown) -> np.ndarray:
        return np.ones(shown.num_examples)


class Shares(Sampling):
    """The base of those that aim at a share for each class: a pass is as long as without them.

    A class is drawn by its share, then one of its examples (class-aware sampling: Shen, Lin and Huang
    2016). With one class a picture the shares are met exactly. A picture of several classes comes by each of them and
    brings the others with it. A picture that shows no class comes once a pass.
    """

    @abstractmethod
    def class_shares(self, shown: Shown) -> np.ndarray:
        """The share of each class, float64 [K], with sum 1; 0 for a class that no example shows."""

    def factors(self, shown: Shown) -> np.ndarray:
        each = self.class_shares(shown) * np.count_nonzero(shown.labelled) / np.maximum(shown.counts, 1)
        return np.where(shown.labelled, shown.summed(each), 1.0)


class Balanced(Shares):
    """Every class equally often, in a pass of the same length: rare ones are repeated, frequent ones thinned."""

    kind: Literal["balanced"] = "balanced"
    """Class-balanced."""

    def class_shares(self, shown: Shown) -> np.ndarray:
        return proportional((shown.counts > 0).astype(np.float64))


class Power(Shares):
    """Classes by a power of their number of examples: between `balanced` and `natural`."""

    kind: Literal["power"] = "power"
    """Tempered (square root and the like)."""
    exponent: float = Field(default=0.5, ge=0.0, le=1.0)
    """0 is balanced, 1 as the data is, 0.5 the square root (Mahajan et al. 2018)."""

    def class_shares(self, shown: Shown) -> np.ndarray:
        return proportional(np.where(shown.counts > 0, np.maximum(shown.counts, 1.0) ** self.exponent, 0.0))


class TargetShares(Shares):
    """Classes by shares that are given, such as those expected in use."""

    kind: Literal["target"] = "target"
    """A distribution by name."""
    shares: Annotated[dict[str, float], BeforeValidator(names_as_text)] = Field(min_length=1)
    """Class name with its share of a pass, 0..1. Classes that are not named have the rest in their own proportions; a
    share of 0 leaves a class out."""

    def class_shares(self, shown: Shown) -> np.ndarray:
        named = self._named(shown)
        others = np.where(np.isnan(named), shown.counts, 0).astype(np.float64)
        total = float(np.nansum(named))
        self._require_sum(total, bool(others.any()))
        return np.where(np.isnan(named), (1.0 - total) * proportional(others), named)

    def _named(self, shown: Shown) -> np.ndarray:
        """The given shares, float64 [K], NaN for a class that has none."""
        named = np.full(len(shown.class_names), np.nan)
        for name, share in self.shares.items():
            if name not in shown.class_names:
                raise ConfigError(
                    f"input.sampling.shares: there is no class {name!r}. {nearest(name, shown.class_names)}",
                    ("input", "sampling", "shares", name),
                )
            index = shown.class_names.index(name)
            if share < 0 or (share > 0 and not shown.counts[index]):
                why = "is negative" if share < 0 else "cannot be reached: no training example shows the class"
                raise ConfigError(
                    f"input.sampling.shares: the share {share:g} of {name!r} {why}.",
                    ("input", "sampling", "shares", name),
                )
            named[index] = share
        return named

    def _require_sum(self, total: float, others: bool) -> None:
        if others and total < 1.0 - ROUNDING:
            return
        if others or abs(total - 1.0) > ROUNDING:
            expected = "less than 1, so that the classes that are not named have some (or give them 0)"
            raise ConfigError(
                f"input.sampling.shares: the shares add up to {total:g}; expected {expected if others else '1'}.",
                ("input", "sampling", "shares"),
            )


class Over(Sampling):
    """Rare classes are repeated until they are as large as the largest, so that a pass grows. A picture of several
    classes follows its rarest; one that shows none comes once."""

    kind: Literal["over"] = "over"
    """Over-sampling."""
    limit: float | None = Field(default=None, ge=1.0)
    """How often an example may come in a pass on average; left out, as often as it takes."""

    def factors(self, shown: Shown) -> np.ndarray:
        repeats = shown.counts.max(initial=0) / np.maximum(shown.counts, 1)
        return shown.largest(np.minimum(repeats, self.limit or np.inf))


class Under(Sampling):
    """Frequent classes are thinned to the size of the rarest, so that a pass shrinks; every pass draws others. A
    picture of several classes follows its rarest; one that shows none comes once."""

    kind: Literal["under"] = "under"
    """Under-sampling."""
    ratio: float = Field(default=1.0, ge=1.0)
    """How many times the examples of the rarest class any class may have in a pass."""

    def factors(self, shown: Shown) -> np.ndarray:
        rarest = min(shown.counts[shown.counts > 0], default=0)
        return shown.largest(np.minimum(self.ratio * rarest / np.maximum(shown.counts, 1), 1.0))


class RepeatFactor(Sampling):
    """Pictures with rare classes are repeated by the square root of how rare they are: for objects and for several
    classes a picture (Gupta, Dollár and Girshick 2019, LVIS, after Mahajan et al. 2018).

    With f the share of all pictures that show a class, the class's factor is max(1, sqrt(threshold / f)), a picture's
    the largest of its classes', and 1 where it shows none.
    """

    kind: Literal["repeat_factor"] = "repeat_factor"
    """As is usual for detection."""
    threshold: float = Field(default=0.001, gt=0.0, le=1.0)
    """Share of the pictures below which a class is rare: 0.001 for LVIS with its 1,203 classes, more where there are
    few."""

    def factors(self, shown: Shown) -> np.ndarray:
        frequency = np.maximum(shown.counts, 1) / shown.num_examples
        return shown.largest(np.maximum(1.0, np.sqrt(self.threshold / frequency)))


AnySampling = Annotated[
    Natural | Balanced | Power | TargetShares | Over | Under | RepeatFactor, Field(discriminator="kind")
]


def proportional(values: np.ndarray) -> np.ndarray:
    """Values divided by their sum; zeros where all are 0."""
    return values / (values.sum() or 1.0)


def whole_pass(factors: np.ndarray) -> np.ndarray:
    """Factors whose sum is a whole number, so that every pass has as many examples: raised by the same small part.

    Raises:
        ConfigError: no example would ever come.
    """
    total = factors.sum()
    if not total > 0:
        raise ConfigError(
            "input.sampling leaves no training example. Give some class a share above 0.", ("input", "sampling")
        )
    return factors * (max(1, math.ceil(total - ROUNDING)) / total)


def factors_of(store: Store, sampling: Sampling) -> np.ndarray | None:
    """How often each training example comes, in the store's order, float64 [n]; None where all come once a pass.

    Raises:
        ConfigError: the data holds no classes, or not those that the settings name.
    """
    return None if isinstance(sampling, Natural) else sampling.factors(shown_classes(store))


def pass_of(store: Store, sampling: Sampling, shards: slice = slice(None)) -> Pass:
    """What a pass over some of the shards of the training split holds.

    Raises:
        ConfigError: as `factors_of`, or no example would ever come.
    """
    lengths = np.array(store.shard_lengths(TRAIN))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return pass_over(store, sampling, np.flatnonzero(np.isin(owner, np.arange(len(lengths))[shards])))


def pass_over(store: Store, sampling: Sampling, members: np.ndarray) -> Pass:
    """What a pass over some of the training examples holds, by their numbers int64 [m]; ConfigError as `pass_of`."""
    factors = factors_of(store, sampling)
    return EachOnce(len(members)) if factors is None else Resampled(whole_pass(factors[members]))


def described(store: Store, sampling: Sampling) -> str | None:
    """What training will see: the length of a pass and the share of each class before and after; None where it is the
    data as it is."""
    if isinstance(sampling, Natural):
        return None
    shown = shown_classes(store)
    factors = whole_pass(sampling.factors(shown))
    before, after = shown.shares(np.ones(shown.num_examples)), shown.shares(factors)
    places = np.argsort(-before, kind="stable")
    listed = places if len(places) <= MOST_LISTED else [*places[: MOST_LISTED // 2], *places[-(MOST_LISTED // 2) :]]
    shares = ", ".join(f"{shown.class_names[k]} {before[k]:.1%} -> {after[k]:.1%}" for k in listed)
    more = f" (the {MOST_LISTED // 2} largest and smallest of {len(places)})" if len(places) > MOST_LISTED else ""
    return (
        f"{quantity(round(factors.sum()), 'example')} a pass instead of {shown.num_examples}, each "
        f"{factors.min():.2f} to {factors.max():.2f} times; share of the pictures that show a class: {shares}{more}"
    )


@functools.lru_cache(maxsize=1)
def shown_classes(store: Store) -> Shown:
    """Which classes every training example shows, in the store's order. All records are read once, none is decoded.

    Raises:
        ConfigError: the data holds no classes.
    """
    field = next((name for name in (LABEL, LABELS, CLASSES) if name in store.info.fields), None)
    if field is None:
        raise ConfigError(
            f"`input.sampling` goes by classes, but the data holds {', '.join(store.info.fields)}. "
            "Leave input.sampling out.",
            ("input", "sampling"),
        )
    examples, classes, first = [], [], 0
    for values in _label_chunks(store, field):
        rows, columns = PAIRS[field](values)
        pairs = np.unique(np.stack([rows + first, columns]), axis=1)
        examples.append(pairs[0])
        classes.append(pairs[1])
        first += len(values)
    return Shown(first, store.info.class_names, np.concatenate(examples), np.concatenate(classes))


def _label_chunks(store: Store, field: str) -> Iterator[np.ndarray]:
    def labels(records: Example) -> Example:
        return store.parse(records)[field]

    yield from cache.records(store, TRAIN).batch(CHUNK).map(labels).as_numpy_iterator()


def pairs_of_indices(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class indices [b] or [b, N], -1 where there is none -> (row, class) of every one."""
    by_row = indices.reshape(len(indices), -1)
    rows, columns = np.nonzero(by_row >= 0)
    return rows, by_row[rows, columns]


def _pairs_of_indicators(present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [b, K], 1 where present, NaN where not known -> (row, class) of every one."""
    rows, classes = np.nonzero(present > 0)
    return rows, classes


PAIRS: Mapping[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    LABEL: pairs_of_indices,
    LABELS: _pairs_of_indicators,
    CLASSES: pairs_of_indices,
}
"""Label field -> what it says of the classes."""
