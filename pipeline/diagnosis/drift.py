"""Whether two splits could have been drawn from the same data: how far apart they are, and whether that is chance.

n = examples, K = classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from pipeline.data.example import SPLITS, TRAIN
from pipeline.data.targets import members
from pipeline.diagnosis.distribution import ClassTally
from pipeline.diagnosis.findings import Finding
from pipeline.diagnosis.settings import DoctorSettings

SHUFFLES = 1999
"""Times that the examples are dealt to the splits anew; the least p-value is then 0.0005."""
FEWEST = 5
"""Examples of a split below which nothing can be said."""

Verdict = Literal["alike", "slightly different", "different"]


@dataclass(frozen=True)
class Drift:
    """One measure of one split against train.

    Args:
        measure: such as `classes` or `brightness`.
        split: the other split.
        distance: 0 (the same) to 1: of class shares, half the sum of their differences (total variation); of numbers,
            the largest difference of their distribution functions (Kolmogorov-Smirnov).
        p_value: probability of so large a distance by chance.
        verdict: `different` where the distance is neither chance nor small.
    """

    measure: str
    split: str
    distance: float
    p_value: float
    verdict: Verdict

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def drifts(
    tally: ClassTally, measures: Mapping[str, np.ndarray], splits: np.ndarray, settings: DoctorSettings
) -> list[Drift]:
    """Every split against train, in class shares and in each measure.

    Args:
        measures: name -> float64 [n]; NaN is passed over.
        splits: int8 [n], places in SPLITS.
    """
    held = members(splits)
    others = [name for name, chosen in held.items() if name != TRAIN and np.count_nonzero(chosen) >= FEWEST]
    if TRAIN not in held or np.count_nonzero(held[TRAIN]) < FEWEST:
        return []
    found = []
    for other in others:
        if len(tally.names) > 1:
            found.append(_judged("classes", other, *class_distance(tally, splits, other), settings))
        for name, values in measures.items():
            first, second = (values[held[split] & np.isfinite(values)] for split in (TRAIN, other))
            if min(len(first), len(second)) >= FEWEST:
                found.append(_judged(name, other, *number_distance(first, second), settings))
    return found


def drift_findings(found: Sequence[Drift]) -> Iterator[Finding]:
    """A warning for each measure in which a split differs."""
    for one in found:
        if one.verdict == "different":
            how = "total variation" if one.measure == "classes" else "Kolmogorov-Smirnov distance"
            yield Finding(
                kind="drift",
                severity="warning",
                what=f"{one.measure}: {one.split} differs from train, {how} {one.distance:.2f}, p = {one.p_value:.2g}",
                fix="Draw the splits from the same pictures, or know that figures are about another kind of picture.",
                numbers={"distance": one.distance, "p_value": one.p_value},
            )


def class_distance(tally: ClassTally, splits: np.ndarray, other: str, shuffles: int = SHUFFLES) -> tuple[float, float]:
    """Total variation of the class shares of train and another split, and its p-value.

    The examples, with all that each shows, are dealt anew to splits of the same sizes; the p-value is the share of the
    deals with a distance as large. (P. Good, "Permutation Tests", 2000; objects of one picture belong together, so a
    chi-square test over objects would find a difference too easily.) The least p-value is 1 / (1 + shuffles).
    """
    pooled = np.isin(splits, [SPLITS.index(TRAIN), SPLITS.index(other)])
    kept = pooled[tally.owners]
    owners, classes = (np.cumsum(pooled) - 1)[tally.owners[kept]], tally.classes[kept]
    dealt, many = splits[pooled] == SPLITS.index(other), len(tally.names)
    generator = np.random.default_rng(0)
    real = _variation(classes, dealt[owners], many)
    by_chance = (_variation(classes, generator.permutation(dealt)[owners], many) for _ in range(shuffles))
    as_large = sum(distance >= real - 1e-12 for distance in by_chance)
    return real, (1 + as_large) / (1 + shuffles)


def number_distance(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of two samples, and its p-value."""
    from scipy.stats import ks_2samp

    result = ks_2samp(first, second)
    return float(result.statistic), float(result.pvalue)


def _variation(classes: np.ndarray, in_other: np.ndarray, many: int) -> float:
    """Half the sum of the differences of two splits' class shares."""
    all_counts = np.bincount(classes, minlength=many)
    other = np.bincount(classes[in_other], minlength=many)
    train = all_counts - other
    return float(np.abs(train / max(train.sum(), 1) - other / max(other.sum(), 1)).sum() / 2)


def _judged(measure: str, split: str, distance: float, p_value: float, settings: DoctorSettings) -> Drift:
    verdict: Verdict = "alike"
    if p_value < settings.drift_p_value:
        verdict = "different" if distance >= settings.drift_distance else "slightly different"
    return Drift(measure, split, distance, p_value, verdict)
