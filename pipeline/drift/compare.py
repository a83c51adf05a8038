"""Measures of production beside those of the reference, and what to make of the difference.

n, m = examples of the reference and of production, K = classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from pipeline.answers import Said
from pipeline.data.example import SPLITS, TEST, TRAIN, RawExample
from pipeline.diagnosis.distribution import ClassTally
from pipeline.diagnosis.drift import SHUFFLES, class_distance, number_distance
from pipeline.drift import statistics
from pipeline.drift.settings import DriftSettings

Verdict = Literal["alike", "slightly different", "drifted", "too few"]
Group = Literal["pictures", "answers", "features"]
NOTICED = 0.1
"""Population stability index from which a difference is worth a word. 0.1 and 0.25 are customs of credit scoring (N.
Siddiqi, "Credit Risk Scorecards", 2006), without a derivation: `max_psi` is to be set by what the user can bear."""
CLASSES = "class"
MOST_MEASURES = 12
"""That p is corrected for where there are classes: SIZES, Appearance, answers, novelty."""
LEAST_TOLD_APART = 0.5
"""Share of the answers that have to name classes with a bin of their own before classes are called alike."""


@dataclass(frozen=True)
class Measured:
    """One measure of production against the reference.

    Args:
        measure: such as `brightness` or `class`.
        group: what it is measured of.
        reference, production: medians; of classes, the most frequent one with its share.
        reference_count, count: n, m.
        bins: that the index is summed over, which are those with any picture.
        psi, by_chance: see `statistics.Stability`; of classes, psi is no less than `statistics.stability_at_least`.
        distance: Kolmogorov-Smirnov; of classes, total variation of their shares.
        moved: Wasserstein distance in standard deviations of the reference; of classes, their Jensen-Shannon distance.
        p_value: of the distance; corrected once all measures are known.
        told_apart: share of the answers in classes with a bin of their own.
    """

    measure: str
    group: Group
    reference: float | str
    production: float | str
    reference_count: int
    count: int
    bins: int
    psi: float
    by_chance: float
    distance: float
    moved: float | None
    p_value: float
    verdict: Verdict = "alike"
    told_apart: float = 1.0

    @property
    def is_told_apart(self) -> bool:
        """Whether the index is of most classes, not of those that are put together for being rare."""
        return self.told_apart >= LEAST_TOLD_APART

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def numbers(
    measure: str, group: Group, reference: np.ndarray, production: np.ndarray, settings: DriftSettings
) -> Measured | None:
    """A measure that is a number, float64 [n] and [m]; NaN is passed over. None where nothing else is left."""
    first, second = (values[np.isfinite(values)] for values in (reference, production))
    if not len(first) or not len(second):
        return None
    ends = statistics.bins_of(first, min(len(first), len(second)))
    counts = [statistics.binned(values, ends) for values in (first, second)]
    stability = statistics.stability(counts[0], counts[1], settings.p_value)
    distance, p_value = number_distance(first, second)
    return Measured(
        measure=measure,
        group=group,
        reference=float(np.median(first)),
        production=float(np.median(second)),
        reference_count=len(first),
        count=len(second),
        bins=int(np.count_nonzero(counts[0] + counts[1])),
        psi=stability.psi,
        by_chance=stability.by_chance,
        distance=distance,
        moved=statistics.moved(first, second),
        p_value=p_value,
    )


def classes(reference: Sequence[Said], production: Sequence[Said], settings: DriftSettings) -> Measured | None:
    """The classes that are answered; None where no answer names one."""
    tally = ClassTally(None)
    for one in (*reference, *production):
        tally.add(RawExample(id="", image=b"", labels=one.labels))
    if not len(tally.classes) or not reference or not production:
        return None
    codes = np.repeat([SPLITS.index(TRAIN), SPLITS.index(TEST)], [len(reference), len(production)]).astype(np.int8)
    counts = tally.counts(codes)
    first, second = statistics.pooled(counts[TRAIN], counts[TEST])
    stability = statistics.stability(first, second, settings.p_value)
    # So many that one measure can drift alone: its p-value is corrected for all of them.
    shuffles = max(SHUFFLES, math.ceil(MOST_MEASURES / settings.p_value))
    distance, p_value = class_distance(tally, codes, TEST, shuffles)
    return Measured(
        measure=CLASSES,
        group="answers",
        reference=_most_frequent(tally.names, counts[TRAIN]),
        production=_most_frequent(tally.names, counts[TEST]),
        reference_count=len(reference),
        count=len(production),
        bins=len(first),
        psi=max(stability.psi, statistics.stability_at_least(counts[TRAIN], counts[TEST])),
        by_chance=stability.by_chance,
        distance=distance,
        moved=_divergence(counts[TRAIN], counts[TEST]),
        p_value=p_value,
        told_apart=statistics.told_apart(counts[TRAIN], counts[TEST]),
    )


def class_counts(sides: Sequence[Sequence[Said]]) -> dict[str, list[int]]:
    """Class -> how often each side's answers name it."""
    names = sorted({label for side in sides for one in side for label in one.labels})
    return {name: [sum(one.labels.count(name) for one in side) for side in sides] for name in names}


def answers(said: Sequence[Said]) -> dict[str, np.ndarray]:
    """What numbers there are in answers, float64 [n] by name; NaN where an answer has none."""
    found: dict[str, np.ndarray] = {}
    if any(one.scores for one in said):
        # Of several classes the one that it is least sure of: scores of one picture belong together.
        found["score"] = np.array([min(one.scores, default=np.nan) for one in said])
    if any(one.is_list for one in said):
        found["classes in an answer"] = np.array([float(len(one.labels)) for one in said])
    for name in dict.fromkeys(name for one in said for name in one.numbers):
        # Told apart from what is measured of pictures: a target may be called height, too.
        found[f"answer: {name}"] = np.array([one.numbers.get(name, np.nan) for one in said])
    return found


def judged(measured: Sequence[Measured], settings: DriftSettings) -> list[Measured]:
    """The measures with corrected p-values and verdicts, in their order."""
    p_values = statistics.corrected([one.p_value for one in measured])
    return [
        replace(one, p_value=p_value, verdict=_verdict(one, p_value, settings))
        for one, p_value in zip(measured, p_values, strict=True)
    ]


def _verdict(one: Measured, p_value: float, settings: DriftSettings) -> Verdict:
    """Large and no chance: drifted. Where chance alone can exceed the limit, or most classes are too rare to be told
    apart, nothing was found because of too few."""
    if p_value < settings.p_value and one.psi > settings.max_psi:
        return "drifted"
    if one.by_chance > settings.max_psi or not one.is_told_apart:
        return "too few"
    return "slightly different" if p_value < settings.p_value and one.psi >= NOTICED else "alike"


def _most_frequent(names: Sequence[str], counts: np.ndarray) -> str:
    if not counts.sum():
        return "none"
    return f"{names[int(counts.argmax())]} {counts.max() / counts.sum():.0%}"


def _divergence(reference: np.ndarray, production: np.ndarray) -> float | None:
    if not reference.sum() or not production.sum():
        return None
    return statistics.class_divergence(reference, production)


def documents(measured: Sequence[Measured]) -> list[Mapping[str, Any]]:
    """Plain JSON values of all measures."""
    return [one.as_document() for one in measured]
