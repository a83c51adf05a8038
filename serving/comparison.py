"""Two versions of a model, asked the same pictures in turns: same answers, as fast, as good?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from models.settings import Settings
from pipeline.errors import DataError, ServerError, VerificationError
from pipeline.wording import quantity

Arrays = Mapping[str, np.ndarray]
WARM_UP = 3
"""Pictures that are sent to both and not counted: a connection's first request takes longer."""


class ComparisonLimits(Settings):
    """What a canary has to keep beside the stable version."""

    min_agreement: float = Field(default=0.9, ge=0, le=1)
    """Least share of the pictures with the same answer. A better model answers some pictures otherwise."""
    max_latency_ratio: float = Field(default=1.5, gt=0)
    """Most that the median latency may be of the stable version's."""
    max_drop: float = Field(default=0.01, ge=0)
    """Most that the metric may be worse, in its own unit. Only where pictures are labelled."""
    max_failed: float = Field(default=0.0, ge=0, le=1)
    """Most requests that may fail where the stable version answers, as a share of all pictures."""


class Picture(Protocol):
    """What both versions are asked."""

    @property
    def name(self) -> str:
        """To find it by."""

    @property
    def data(self) -> bytes:
        """Encoded."""

    @property
    def labels(self) -> Mapping[str, Any]:
        """The Example's label fields, one value each; empty where nothing is known."""


class Version(Protocol):
    """A version that answers pictures, such as `serving.client.Client`."""

    def predict(self, pictures: Sequence[bytes]) -> Mapping[str, np.ndarray]:
        """Predictions [B, ...] by name."""


class Judge(Protocol):
    """Knows what answers mean: those of `pipeline`, which this package does not import."""

    metric: str

    def same(self, stable: Arrays, canary: Arrays) -> bool:
        """Whether two answers to one picture, [1, ...] each, are the same."""

    def score(self, pictures: Sequence[Picture], answers: Sequence[Arrays]) -> float | None:
        """The metric over labelled pictures; None where none is labelled."""

    def drop(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`, in the metric's unit."""


@dataclass(frozen=True)
class Side:
    """One version's part in it.

    Args:
        failed: requests without an answer.
        latency_ms: median of the requests.
        metric: None where no picture was labelled.
    """

    version: int
    failed: int
    latency_ms: float
    metric: float | None


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Args:
        pictures: asked.
        labelled: of these, with known labels.
        agreement: share of the pictures answered by both with the same answer.
        differences: output -> largest absolute difference of any number.
        disagreements: names of pictures with different answers, at most 20.
        missed: the limits that are missed, in words.
    """

    pictures: int
    labelled: int
    agreement: float
    differences: Mapping[str, float]
    disagreements: tuple[str, ...]
    metric: str
    stable: Side
    canary: Side
    missed: tuple[str, ...]

    @property
    def latency_ratio(self) -> float:
        """The canary's median latency as a multiple of the stable version's."""
        return self.canary.latency_ms / self.stable.latency_ms

    @property
    def passed(self) -> bool:
        """Whether all limits are kept."""
        return not self.missed

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed,
            "why": "; ".join(self.missed) or "all limits are kept",
            "pictures": self.pictures,
            "labelled": self.labelled,
            "agreement": self.agreement,
            "differences": dict(self.differences),
            "disagreements": list(self.disagreements),
            "metric": self.metric,
            "latency_ratio": self.latency_ratio,
            **{name: vars(side) for name, side in (("stable", self.stable), ("canary", self.canary))},
        }

    def as_text(self) -> str:
        """The same for people."""
        sides = (("stable", self.stable), ("canary", self.canary))
        lines = [
            f"{name} (version {side.version}): {side.latency_ms:.2f} ms, {side.failed} failed"
            + ("" if side.metric is None else f", {self.metric} {side.metric:.4f}")
            for name, side in sides
        ]
        apart = ", ".join(f"{name} {value:.3g}" for name, value in self.differences.items())
        lines.append(
            f"{quantity(self.pictures, 'picture')}, {self.labelled} labelled: {self.agreement:.1%} have the same answer"
        )
        lines.append(f"largest differences: {apart or 'none'}; latency {self.latency_ratio:.2f} times the stable one's")
        return "\n".join([*lines, *(f"missed: {reason}" for reason in self.missed)])

    def require_passed(self) -> None:
        """Raises VerificationError where a limit is missed."""
        if self.missed:
            raise VerificationError(
                f"Version {self.canary.version} misses its limits beside version {self.stable.version}: "
                f"{'; '.join(self.missed)}. The label canary stays; nothing was promoted."
            )


@dataclass
class _Record:
    """The answers of one version, in the pictures' order; None where a request failed."""

    version: Version
    answers: list[Arrays | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    error: str = ""

    def ask(self, picture: Picture) -> None:
        start = time.perf_counter()
        try:
            self.answers.append(self.version.predict([picture.data]))
        except ServerError as error:
            self.answers.append(None)
            self.error = str(error)
            return
        self.times.append(1000 * (time.perf_counter() - start))

    def side(self, number: int, metric: float | None) -> Side:
        return Side(number, self.answers.count(None), float(np.median(self.times)), metric)


def compare(
    stable: tuple[int, Version],
    canary: tuple[int, Version],
    pictures: Iterable[Picture],
    judge: Judge,
    limits: ComparisonLimits,
    tell: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Sends every picture to both versions, one request at a time and who is first in turns, so that both meet the same
    load.

    Args:
        stable, canary: number of the version, and what asks it.
        tell: told how many pictures are done.

    Raises:
        DataError: there is no picture, or one version answers none.
    """
    asked = list(pictures)
    if not asked:
        raise DataError("There is no picture to compare the versions by. Give some with --pictures.")
    one, other = _Record(stable[1]), _Record(canary[1])
    for picture in asked[:WARM_UP]:
        for version in (stable[1], canary[1]):
            _Record(version).ask(picture)
    for number, picture in enumerate(asked):
        for record in (one, other) if number % 2 == 0 else (other, one):
            record.ask(picture)
        tell(number + 1)
    for name, record in (("stable", one), ("canary", other)):
        if not record.times:
            raise DataError(f"The {name} version answers none of {quantity(len(asked), 'picture')}: {record.error}")
    return _judged(asked, (stable[0], one), (canary[0], other), judge, limits)


def _judged(
    asked: Sequence[Picture],
    stable: tuple[int, _Record],
    canary: tuple[int, _Record],
    judge: Judge,
    limits: ComparisonLimits,
) -> Comparison:
    both = [
        (picture, one, other)
        for picture, one, other in zip(asked, stable[1].answers, canary[1].answers, strict=True)
        if one is not None and other is not None
    ]
    apart = [picture.name for picture, one, other in both if not judge.same(one, other)]
    known = [part for part in both if part[0].labels]
    labelled = [picture for picture, _, _ in known]
    first = stable[1].side(stable[0], judge.score(labelled, [answer for _, answer, _ in known]))
    second = canary[1].side(canary[0], judge.score(labelled, [answer for _, _, answer in known]))
    agreement = 1 - len(apart) / len(both) if both else 0.0
    return Comparison(
        pictures=len(asked),
        labelled=len(known),
        agreement=agreement,
        differences=_differences([(one, other) for _, one, other in both]),
        disagreements=tuple(apart[:20]),
        metric=judge.metric,
        stable=first,
        canary=second,
        missed=tuple(_missed(len(asked), agreement, first, second, judge, limits)),
    )


def _missed(
    count: int, agreement: float, stable: Side, canary: Side, judge: Judge, limits: ComparisonLimits
) -> list[str]:
    failed, ratio = max(canary.failed - stable.failed, 0) / count, canary.latency_ms / stable.latency_ms
    checks = [
        (agreement >= limits.min_agreement, f"agreement {agreement:.4f} (limit {limits.min_agreement:g})"),
        (ratio <= limits.max_latency_ratio, f"latency ratio {ratio:.2f} (limit {limits.max_latency_ratio:g})"),
        (failed <= limits.max_failed, f"{failed:.1%} more requests fail (limit {limits.max_failed:.1%})"),
    ]
    if stable.metric is not None and canary.metric is not None:
        drop = judge.drop(stable.metric, canary.metric)
        checks.append((drop <= limits.max_drop, f"{judge.metric} drops by {drop:.4g} (limit {limits.max_drop:g})"))
    return [reason for kept, reason in checks if not kept]


def _differences(pairs: Iterable[tuple[Arrays, Arrays]]) -> dict[str, float]:
    """Of outputs that both versions have in the same shape; infinite where the shapes differ."""
    largest: dict[str, float] = {}
    for one, other in pairs:
        for name in one.keys() & other.keys():
            apart = _apart(np.asarray(one[name]), np.asarray(other[name]))
            largest[name] = max(largest.get(name, 0.0), apart)
    return dict(sorted(largest.items()))


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return float("inf")
    if one.dtype.kind not in "iufb":
        return float(not np.array_equal(one, other))
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))
