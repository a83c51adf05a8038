"""What `convoy drift` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.drift.compare import CLASSES, Measured
from pipeline.drift.features import Separation
from pipeline.drift.settings import DriftSettings
from pipeline.drift.statistics import EXPECTED, MOST_BINS, requests_needed
from pipeline.errors import VerificationError
from pipeline.wording import quantity

LEAST_AGREEMENT = 0.9
"""Below which the server seems to serve another model than the Run's."""


@dataclass(frozen=True)
class Far:
    """A picture of the log that is far from training.

    Args:
        novelty: see `features.novelty`.
        answer: of the server, in words.
    """

    id: str
    image: bytes
    novelty: float
    answer: str
    seconds: float
    version: int


@dataclass(frozen=True)
class DriftReport:
    """Production beside training.

    Args:
        folder: of the log.
        logged: pictures that fit the choice.
        looked_at: of these, drawn and decoded.
        answered: of these, with an answer that fits the task.
        first, last: times of the oldest and the newest of them, seconds since 1970, UTC.
        versions: version of the model -> pictures.
        agreement: share of the logged answers that the Run's own model gives too; None where nothing is answered.
        measured: all measures.
        separation: of the network's features; None where there are too few pictures.
        samples: measure -> values of reference and production, for the figures.
        class_counts: class -> answers of reference and production that name it.
        furthest: pictures that are furthest from training, the furthest first.
    """

    folder: str
    logged: int
    looked_at: int
    answered: int
    first: float
    last: float
    versions: Mapping[int, int]
    agreement: float | None
    measured: Sequence[Measured]
    separation: Separation | None
    samples: Mapping[str, tuple[np.ndarray, np.ndarray]]
    class_counts: Mapping[str, Sequence[int]]
    furthest: Sequence[Far]
    settings: DriftSettings

    @property
    def missed(self) -> list[str]:
        """The limits that are missed, in words."""
        limits = self.settings
        found = [
            f"{one.measure}: PSI {one.psi:.2f} (limit {limits.max_psi:g})"
            for one in self.measured
            if one.verdict == "drifted"
        ]
        if self.is_separable and self.separation:
            found.append(
                f"the network's features tell requests apart: AUC {self.separation.auc:.2f} (limit {limits.max_auc:g})"
            )
        return found

    @property
    def is_separable(self) -> bool:
        """Whether the features miss their limit."""
        one = self.separation
        return one is not None and one.auc > self.settings.max_auc and one.p_value < self.settings.p_value

    @property
    def cautions(self) -> list[str]:
        """What else has to be known of the result."""
        return [*self._too_few(), *self._rare(), *self._answers()]

    def _too_few(self) -> list[str]:
        few = [one for one in self.measured if one.verdict == "too few" and one.is_told_apart]
        if not few:
            return []
        worst = max(few, key=lambda one: one.by_chance)
        return [
            f"{quantity(len(few), 'measure says', 'measures say')} nothing: of "
            f"{quantity(worst.count, 'request')} beside {quantity(worst.reference_count, 'picture')}, {worst.measure} "
            f"could have a PSI of {worst.by_chance:.2f} by chance alone. {self._more(worst)}"
        ]

    def _more(self, one: Measured) -> str:
        limits = self.settings
        # More requests fill more bins; of classes nobody knows how many.
        bins = one.bins if one.measure == CLASSES else max(one.bins, min(MOST_BINS, one.reference_count // EXPECTED))
        needed = requests_needed(one.reference_count, bins, limits.max_psi, limits.p_value)
        if needed is None or needed <= one.count:
            return "The reference is too small for this limit."
        how = "At least" if one.measure == CLASSES else "About"
        return f"{how} {needed} are needed for the limit of {limits.max_psi:g}."

    def _rare(self) -> list[str]:
        return [
            f"{one.measure} says little: of {quantity(one.count, 'request')} beside "
            f"{quantity(one.reference_count, 'picture')} only {one.told_apart:.0%} name classes "
            "that are frequent enough to be told apart. The total variation is "
            f"{one.distance:.2f}, p = {one.p_value:.2g}."
            for one in self.measured
            if one.verdict == "too few" and not one.is_told_apart
        ]

    def _answers(self) -> list[str]:
        if self.answered < self.looked_at:
            missing = self.looked_at - self.answered
            text = (
                f"{missing} of {self.looked_at} pictures have no answer of this task's form; only how they look counts."
            )
            found = [text]
        else:
            found = []
        if self.agreement is not None and self.agreement < LEAST_AGREEMENT:
            found.append(
                f"The server's answers are those of this Run's model for {self.agreement:.0%} of the pictures only: it "
                "serves another model or variant, or pictures are prepared in another way. Answers are compared with "
                "the Run's all the same."
            )
        return found

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "requests": self.folder,
            "drifted": bool(self.missed),
            "why": "; ".join(self.missed) or "all limits are kept",
            "cautions": self.cautions,
            "logged": self.logged,
            "looked_at": self.looked_at,
            "answered": self.answered,
            "first": self.first,
            "last": self.last,
            "versions": {str(version): count for version, count in self.versions.items()},
            "agreement": self.agreement,
            "limits": self.settings.model_dump(mode="json"),
            "measures": [one.as_document() for one in self.measured],
            "separation": None if self.separation is None else asdict(self.separation),
            "class_counts": {name: list(counts) for name, counts in self.class_counts.items()},
            "furthest": [
                {"id": one.id, "novelty": one.novelty, "answer": one.answer, "version": one.version}
                for one in self.furthest
            ],
        }

    def require_alike(self) -> None:
        """Raises VerificationError where a limit is missed."""
        if self.missed:
            raise VerificationError(
                f"{self.folder} has drifted from training: {'; '.join(self.missed)}. `convoy requests {self.folder} "
                "--to FOLDER --pick far` writes pictures to look at and to label."
            )
