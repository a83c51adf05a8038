"""Findings: what is wrong with the data, where, and what to do about it.

An `error` makes `prepare` refuse the data, or a figure that is measured on it wrong. A `warning` is a picture or label
that is left out, clipped, or likely wrong. A `note` is good to know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.errors import DataError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

Number = float | int | str | None


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        kind: what sort of thing, such as `near_duplicates`.
        severity: how bad it is.
        what: a sentence.
        where: file (and line).
        fix: what to do about it.
        ids: of the examples concerned, those that show it best first.
        boxes: of the first example, in pixels (x_min, y_min, x_max, y_max), to be drawn.
        numbers: what was measured.
    """

    kind: str
    severity: Severity
    what: str
    where: str = ""
    fix: str = ""
    ids: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    numbers: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """All that was found.

    Args:
        findings: the worst first.
        statistics: plain values: pictures, sizes, classes and drift by split.
    """

    findings: tuple[Finding, ...]
    statistics: Mapping[str, Any]

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "counts": self.counts(),
            "statistics": dict(self.statistics),
            "findings": [asdict(finding) for finding in self.findings],
        }

    def counts(self) -> dict[str, int]:
        """Severity -> findings."""
        counted = Counter(finding.severity for finding in self.findings)
        return {severity: counted[severity] for severity in SEVERITIES}

    def by_kind(self) -> dict[str, list[Finding]]:
        """Kind -> findings, the worst first."""
        kinds: dict[str, list[Finding]] = {}
        for finding in self.findings:
            kinds.setdefault(finding.kind, []).append(finding)
        return kinds

    def require_sound(self) -> None:
        """Raises DataError where there is an error."""
        errors = self.counts()["error"]
        if errors:
            kinds = Counter(finding.kind for finding in self.findings if finding.severity == "error")
            named = ", ".join(f"{title(kind)} ({count})" for kind, count in kinds.items())
            raise DataError(
                f"The data has {errors} error{'' if errors == 1 else 's'}: {named}. Each finding names a fix."
            )


def sorted_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The worst first; within a severity as they came."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def title(kind: str) -> str:
    """A kind as words, such as `near duplicates`."""
    return kind.replace("_", " ")
