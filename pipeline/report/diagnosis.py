"""The section about the data's problems: what `convoy doctor data` found, with the pictures concerned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.report.figures import picture_uri
from pipeline.run import Run

MOST_ROWS = 12
"""Findings of a kind that the page lists; the JSON has all."""

Content = dict[str, Any]


def diagnosis(run: Run) -> Content | None:
    """What the page shows of RUN/doctor.json; None where there is none.

    Raises:
        RunError: the file is damaged.
    """
    if not run.diagnosis.exists():
        return None
    found = run.read_json(run.diagnosis, "doctor data")
    pictures = _pictures(found["pictures"], run)
    kinds: dict[str, list[Content]] = {}
    for index, finding in enumerate(found["findings"]):
        kinds.setdefault(finding["kind"], []).append({**finding, "pictures": pictures.get(index, [])})
    return {
        "counts": found["counts"],
        "kinds": [_kind(name, findings) for name, findings in kinds.items()],
        "drift": found["statistics"]["drift"],
        "measures": found["statistics"]["measures"],
    }


def _kind(name: str, findings: Sequence[Content]) -> Content:
    """One sort of finding: those with pictures as pictures, all (up to MOST_ROWS) as rows."""
    return {
        "name": name,
        "severity": findings[0]["severity"],
        "fix": findings[0]["fix"],
        "count": len(findings),
        "shown": findings[:MOST_ROWS],
        "more": max(len(findings) - MOST_ROWS, 0),
    }


def _pictures(listed: Sequence[Content], run: Run) -> dict[int, list[Content]]:
    """Finding -> its pictures as data URIs."""
    pictures: dict[int, list[Content]] = {}
    for one in listed:
        file = run.diagnosis_pictures / one["file"]
        if file.exists():
            pictures.setdefault(one["finding"], []).append({"uri": picture_uri(file), "id": one["id"]})
    return pictures
