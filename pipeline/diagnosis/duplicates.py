"""Pictures that are there more than once: across splits (leakage), within one, and with different labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.console import Progress
from pipeline.data.example import SPLITS
from pipeline.diagnosis.facts import ORIENTATIONS, Collected
from pipeline.diagnosis.findings import Finding, Number
from pipeline.diagnosis.pairs import MOST_PAIRS, Alike, alike
from pipeline.diagnosis.settings import DoctorSettings
from pipeline.wording import quantity

KEEP_TOGETHER = "Keep one of them, or put all of them into one split (a split column, folders, or data.splits.file)."
LEAKAGE = f"{KEEP_TOGETHER} Where it is meant, set doctor.allow_leakage=true."


@dataclass(frozen=True)
class Group:
    """Pictures that are the same, directly or by way of others of the group.

    Args:
        members: indices, ascending.
        pairs: of members that are alike and not identical.
    """

    members: tuple[int, ...]
    pairs: tuple[Alike, ...]


def duplicate_findings(collected: Collected, settings: DoctorSettings, progress: Progress) -> Iterator[Finding]:
    """Everything about pictures that are there more than once."""
    pairs = _near_pairs(collected, settings, progress)
    if len(pairs) >= MOST_PAIRS:
        yield _too_many()
    for group in groups(collected, pairs):
        yield _repeated(group, collected, settings)
        yield from _contradiction(group, collected)
    yield from _too_small(collected, settings)


def groups(collected: Collected, pairs: Sequence[Alike]) -> list[Group]:
    """The groups of pictures that are identical or alike, in the order of their first pictures."""
    leaders = np.arange(len(collected))
    for first, second in _identical(collected):
        _join(leaders, first, second)
    for pair in pairs:
        _join(leaders, pair.first, pair.second)
    members: dict[int, list[int]] = {}
    for index in range(len(leaders)):
        members.setdefault(_leader(leaders, index), []).append(index)
    by_leader: dict[int, list[Alike]] = {}
    for pair in pairs:
        by_leader.setdefault(_leader(leaders, pair.first), []).append(pair)
    return [Group(tuple(ones), tuple(by_leader.get(key, ()))) for key, ones in members.items() if len(ones) > 1]


def _near_pairs(collected: Collected, settings: DoctorSettings, progress: Progress) -> list[Alike]:
    """Pairs among the pictures that are large enough and not blank, one of each set of identical ones."""
    large = collected.sizes.min(axis=1, initial=2**31 - 1) >= settings.smallest_compared
    compared = np.flatnonzero(large & collected.usable & (collected.appearances["contrast"] >= settings.blank_contrast))
    _, firsts = np.unique(collected.digests[compared, 1], return_index=True)
    chosen = compared[np.sort(firsts)]
    found = alike(
        collected.hashes[chosen],
        collected.thumbnails[chosen],
        settings.near_duplicate_distance,
        settings.near_duplicate_correlation,
        progress,
    )
    return [
        Alike(int(chosen[one.first]), int(chosen[one.second]), one.distance, one.correlation, one.way) for one in found
    ]


def _identical(collected: Collected) -> Iterator[tuple[int, int]]:
    """Neighbours among the pictures with equal pixels."""
    usable = np.flatnonzero(collected.usable)
    digests = collected.digests[usable, 1]
    order = np.argsort(digests, kind="stable")
    same = np.flatnonzero(digests[order][1:] == digests[order][:-1])
    yield from ((int(usable[order[place]]), int(usable[order[place + 1]])) for place in same)


def _leader(leaders: np.ndarray, index: int) -> int:
    """The least member of a group (union-find with path halving)."""
    while leaders[index] != index:
        leaders[index] = leaders[leaders[index]]
        index = int(leaders[index])
    return index


def _join(leaders: np.ndarray, first: int, second: int) -> None:
    one, other = _leader(leaders, first), _leader(leaders, second)
    leaders[max(one, other)] = min(one, other)


def _repeated(group: Group, collected: Collected, settings: DoctorSettings) -> Finding:
    """The finding of one group: the pair that shows it best comes first."""
    first, second, how, numbers = _shown_pair(group, collected)
    others = [index for index in group.members if index not in (first, second)]
    splits = {int(collected.splits[index]) for index in group.members}
    across = len(splits) > 1
    places = " and ".join(SPLITS[code] for code in sorted(splits))
    kind = "identical pictures" if how.startswith("identical") else "near-duplicates"
    more = f" (a group of {len(group.members)})" if others else ""
    return Finding(
        kind=("leakage" if across else "duplicates"),
        severity="error" if across and not settings.allow_leakage else "warning",
        what=f"{kind} in {places}: {_name(collected, first)} and {_name(collected, second)}, {how}{more}",
        where=collected.wheres[second],
        fix=LEAKAGE
        if across
        else "Keep one of them: repeats weigh more than other pictures, and may end in two splits.",
        ids=tuple(collected.ids[index] for index in (first, second, *others)),
        numbers={"pictures": len(group.members), **numbers},
    )


def _shown_pair(group: Group, collected: Collected) -> tuple[int, int, str, dict[str, Number]]:
    """Two members (across splits where there are such), how they are the same, and by what numbers."""
    codes, digests = collected.splits, collected.digests
    across = len({int(codes[index]) for index in group.members}) > 1
    known: dict[int, int] = {}
    for index in group.members:
        earlier = known.setdefault(int(digests[index, 1]), index)
        if earlier != index and (not across or codes[earlier] != codes[index]):
            same_bytes = digests[earlier, 0] == digests[index, 0]
            return earlier, index, "identical files" if same_bytes else "identical pixels", {"distance": 0}
    apt = [pair for pair in group.pairs if not across or codes[pair.first] != codes[pair.second]]
    best = max(apt or group.pairs, key=lambda pair: pair.correlation)
    numbers: dict[str, Number] = {
        "distance": best.distance,
        "correlation": round(best.correlation, 4),
        "way": ORIENTATIONS[best.way],
    }
    how = "alike" if best.way == 0 else f"alike when the second is {ORIENTATIONS[best.way]}"
    return best.first, best.second, f"{how} ({best.distance} of 64 bits differ)", numbers


def _contradiction(group: Group, collected: Collected) -> Iterator[Finding]:
    """The same picture with different answers: of identical ones at most one can be right."""
    by_pixels: dict[int, int] = {}
    answers = collected.answers
    for index in group.members:
        earlier = by_pixels.setdefault(int(collected.digests[index, 1]), index)
        if _differ(answers[earlier], answers[index]):
            yield _different_answers(collected, earlier, index, identical=True)
            return
    if doubtful := [pair for pair in group.pairs if _differ(answers[pair.first], answers[pair.second])]:
        best = max(doubtful, key=lambda pair: pair.correlation)
        yield _different_answers(collected, best.first, best.second, identical=False)


def _differ(first: str | None, second: str | None) -> bool:
    return first is not None and second is not None and first != second


def _different_answers(collected: Collected, first: int, second: int, *, identical: bool) -> Finding:
    what = "identical pictures" if identical else "near-duplicates"
    answers = f"{collected.answers[first]!r} and {collected.answers[second]!r}"
    return Finding(
        kind="contradictory_labels" if identical else "doubtful_labels",
        severity="error" if identical else "warning",
        what=f"{what} with different labels, {answers}: {_name(collected, first)} and {_name(collected, second)}",
        where=collected.wheres[second],
        fix="Look at both and correct the label that is wrong, or remove both.",
        ids=(collected.ids[first], collected.ids[second]),
    )


def _name(collected: Collected, index: int) -> str:
    return collected.ids[index]


def _too_many() -> Finding:
    return Finding(
        kind="search_stopped",
        severity="warning",
        what=f"more than {MOST_PAIRS:,} pairs of near-duplicates; the search ended there",
        fix="Lower doctor.near_duplicate_distance, raise doctor.near_duplicate_correlation, or split by scene.",
    )


def _too_small(collected: Collected, settings: DoctorSettings) -> Iterator[Finding]:
    small = collected.usable & (collected.sizes.min(axis=1, initial=2**31 - 1) < settings.smallest_compared)
    if count := int(np.count_nonzero(small)):
        yield Finding(
            kind="not_compared",
            severity="note",
            what=f"{quantity(count, 'picture has', 'pictures have')} a side below "
            f"{settings.smallest_compared} pixels: so small, only identical ones were looked for, not near-duplicates",
            fix="To compare them all the same, lower doctor.smallest_compared.",
        )
