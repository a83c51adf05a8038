"""Gaps in tracks are filled once the whole video is known: an object that was hidden for a while was somewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pipeline.tracking.tracker import CONFIRMED, Tracked


class Sighting(NamedTuple):
    """One track in one frame."""

    track: int
    box: np.ndarray
    kind: int
    score: float


def filled(tracks: Mapping[int, Tracked], most: int) -> dict[int, Tracked]:
    """The same with boxes between two sightings of a track, on a straight line from one to the other.

    Source: Zhang et al., "ByteTrack", 2022, section 4.1, and Du et al., "StrongSORT: Make DeepSORT great again", 2022,
    section 3.4, both as linear interpolation. The class is that of the earlier sighting, the score the lower one.

    Args:
        tracks: frame number -> tracks seen in it; frames that are not there stay so.
        most: frames of the longest gap that is filled.
    """
    added = defaultdict[int, list[Sighting]](list)
    for sightings in _by_track(tracks).values():
        for (first, before), (last, after) in pairwise(sightings):
            if 1 < last - first <= most + 1:
                for number in range(first + 1, last):
                    added[number].append(_between(before, after, (number - first) / (last - first)))
    return {number: _with(one, added[number]) for number, one in tracks.items()}


def _by_track(tracks: Mapping[int, Tracked]) -> dict[int, list[tuple[int, Sighting]]]:
    """Track -> the frames that it was seen in, in order, and how."""
    found = defaultdict[int, list[tuple[int, Sighting]]](list)
    for number in sorted(tracks):
        for sighting in _sightings(tracks[number]):
            found[sighting.track].append((number, sighting))
    return found


def _sightings(one: Tracked) -> Iterator[Sighting]:
    return map(Sighting, one.ids.tolist(), one.boxes, one.classes.tolist(), one.scores.tolist())


def _between(before: Sighting, after: Sighting, share: float) -> Sighting:
    box = before.box + share * (after.box - before.box)
    return Sighting(before.track, box, before.kind, min(before.score, after.score))


def _with(one: Tracked, more: list[Sighting]) -> Tracked:
    if not more:
        return one
    ids, boxes, classes, scores = zip(*more, strict=True)
    return Tracked(
        np.concatenate([one.ids, ids]),
        np.concatenate([one.boxes, boxes]),
        np.concatenate([one.classes, classes]),
        np.concatenate([one.scores, scores]),
        np.concatenate([one.states, np.full(len(more), CONFIRMED, one.states.dtype)]),
    )
