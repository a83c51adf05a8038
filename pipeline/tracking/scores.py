"""How good tracks are, by the measures of MOTChallenge: MOTA, IDF1, identity switches, HOTA.

g, p = true and tracked objects of a frame, G, P = ids of all frames, L = thresholds of the overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data.example import NO_OBJECT
from pipeline.errors import ConvoyError
from pipeline.tracking.association import assigned
from pipeline.tracking.boxes import overlaps, shares_within
from pipeline.tracking.mot import NOTHING, Objects

LEAST_OVERLAP = 0.5
"""Of a pair in MOTA and IDF1."""
THRESHOLDS = np.arange(1, 20) * 0.05
"""Of the overlap, over which HOTA is averaged."""
ROUNDING = 1e-9
SHARES = {"mota": "mota", "idf1": "idf1"}
COUNTS = {
    "num_switches": "identity_switches",
    "num_false_positives": "false_positives",
    "num_misses": "misses",
    "num_fragmentations": "fragmentations",
    "mostly_tracked": "mostly_tracked",
    "mostly_lost": "mostly_lost",
}
"""What py-motmetrics calls a measure -> what is told."""


@dataclass(frozen=True)
class Compared:
    """One frame.

    Args:
        true: ids int64 [g].
        tracked: ids int64 [p].
        overlap: intersection over union [g,p]; 0 where the classes are known and differ.
    """

    true: np.ndarray
    tracked: np.ndarray
    overlap: np.ndarray


def scores(truth: Mapping[int, Objects], tracked: Mapping[int, Objects], frames: Sequence[int]) -> dict[str, Any]:
    """All measures of one video as plain values; None where one is not defined.

    Args:
        truth, tracked: frame number -> objects; a frame without any may be left out.
        frames: numbers of those that count.

    Raises:
        ConvoyError: py-motmetrics is not installed.
    """
    compared = [_compared(truth.get(number, NOTHING), tracked.get(number, NOTHING)) for number in frames]
    return {**_clear_and_identity(compared), **hota(compared)}


def imported_motmetrics() -> Any:
    """py-motmetrics; ConvoyError where it is not there."""
    try:
        import motmetrics
    except ImportError as error:
        raise ConvoyError(f"{error}. Scores of tracks need: pip install 'convoy[tracking]'") from error
    return motmetrics


def _compared(truth: Objects, tracked: Objects) -> Compared:
    """A frame without the objects that are ignored, and without tracks that follow one of these and none other."""
    asked = truth.where(~truth.ignored)
    overlap, counts = _overlap(asked, tracked), np.ones(len(tracked), bool)
    free = np.delete(np.arange(len(tracked)), _followed(overlap)[1])
    counts[free[_on_ignored(truth.where(truth.ignored), asked, tracked.where(free))]] = False
    return Compared(asked.ids, tracked.ids[counts], overlap[:, counts])


def _on_ignored(ignored: Objects, asked: Objects, tracked: Objects) -> np.ndarray:
    """Places of the tracks [p] that follow ignored objects, of whatever class: one each of those of which all is to be
    found, and of others all that lie on a part of them and not on what is asked for, which may stand in front."""
    in_front = (overlaps(asked.boxes, tracked.boxes) >= LEAST_OVERLAP).any(axis=0)
    parts = shares_within(ignored.boxes[ignored.in_parts], tracked.boxes) >= LEAST_OVERLAP
    whole = overlaps(ignored.boxes[~ignored.in_parts], tracked.boxes)
    return np.union1d(_followed(whole)[1], np.flatnonzero(parts.any(axis=0) & ~in_front))


def _followed(overlap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of objects and of the tracks that follow them, of intersections over union [g,p]."""
    return assigned(1.0 - overlap, 1.0 - LEAST_OVERLAP + ROUNDING)


def _overlap(truth: Objects, tracked: Objects) -> np.ndarray:
    """Intersection over union; 0 where the classes are known and differ."""
    known = (truth.classes[:, None] != NO_OBJECT) & (tracked.classes != NO_OBJECT)
    return np.where(known & (truth.classes[:, None] != tracked.classes), 0.0, overlaps(truth.boxes, tracked.boxes))


def _clear_and_identity(compared: Sequence[Compared]) -> dict[str, Any]:
    """K. Bernardin, R. Stiefelhagen, "Evaluating multiple object tracking performance: the CLEAR MOT metrics", 2008; E.
    Ristani et al., "Performance measures and a data set for multi-target, multi-camera tracking", 2016."""
    motmetrics = imported_motmetrics()
    account = motmetrics.MOTAccumulator(auto_id=True)
    for frame in compared:
        distances = np.where(frame.overlap >= LEAST_OVERLAP, 1.0 - frame.overlap, np.nan)
        account.update(frame.true, frame.tracked, distances)
    found = motmetrics.metrics.create().compute(account, metrics=[*SHARES, *COUNTS], name="all").iloc[0]
    shares = {ours: _share(found[theirs]) for theirs, ours in SHARES.items()}
    return {**shares, **{ours: int(found[theirs]) for theirs, ours in COUNTS.items()}}


def _share(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def hota(compared: Sequence[Compared]) -> dict[str, float]:
    """Higher order tracking accuracy, and the accuracies of detection and association that it is the geometric mean of:
    J. Luiten et al., "HOTA: A higher order metric for evaluating multi-object tracking", 2021, section 5, with the
    matching of section 5.5. Averaged over the thresholds; 0 where nothing was found, or nothing was there.
    """
    true, tracked = _numbers([one.true for one in compared]), _numbers([one.tracked for one in compared])
    frames = list(zip(true.frames, tracked.frames, [one.overlap for one in compared], strict=True))
    alignment = _alignment(frames, true.counts, tracked.counts)
    pairs = np.concatenate([_matched(*frame, alignment) for frame in frames] or [np.zeros((0, 3))])
    found = [_at(threshold, pairs, true.counts, tracked.counts) for threshold in THRESHOLDS]
    detection, association = (np.array(values) for values in zip(*found, strict=True))
    return {
        "hota": float(np.sqrt(detection * association).mean()),
        "detection_accuracy": float(detection.mean()),
        "association_accuracy": float(association.mean()),
    }


@dataclass(frozen=True)
class _Numbered:
    """Ids of all frames as numbers from 0, and how many frames hold each."""

    frames: list[np.ndarray]
    counts: np.ndarray


def _numbers(ids: Sequence[np.ndarray]) -> _Numbered:
    joined = np.concatenate([np.zeros(0, np.int64), *ids])
    _, places, counts = np.unique(joined, return_inverse=True, return_counts=True)
    ends = np.cumsum([len(one) for one in ids])[:-1]
    return _Numbered(np.split(places.astype(np.int64), ends), counts)


def _alignment(frames: Any, true: np.ndarray, tracked: np.ndarray) -> np.ndarray:
    """How well each pair of tracks fits over all frames, [G,P]: a Jaccard index of what they might have in common."""
    common = np.zeros((len(true), len(tracked)))
    for rows, columns, overlap in frames:
        either = overlap.sum(axis=0) + overlap.sum(axis=1, keepdims=True) - overlap
        common[rows[:, None], columns] += np.divide(overlap, either, out=np.zeros_like(overlap), where=either > 0)
    return np.asarray(common / np.maximum(true[:, None] + tracked - common, ROUNDING))


def _matched(rows: np.ndarray, columns: np.ndarray, overlap: np.ndarray, alignment: np.ndarray) -> np.ndarray:
    """Pairs of a frame: true track, tracked one, their overlap, [m,3]."""
    from scipy.optimize import linear_sum_assignment

    here, there = linear_sum_assignment(alignment[rows[:, None], columns] * overlap, maximize=True)
    return np.stack([rows[here], columns[there], overlap[here, there]], axis=1)


def _at(threshold: float, pairs: np.ndarray, true: np.ndarray, tracked: np.ndarray) -> tuple[float, float]:
    """Accuracy of detection and of association at one threshold of the overlap."""
    close = pairs[pairs[:, 2] >= threshold - ROUNDING]
    either = true.sum() + tracked.sum() - len(close)
    if not len(close):
        return 0.0, 0.0
    couples, counts = np.unique(close[:, :2].astype(np.int64), axis=0, return_counts=True)
    shared = counts / (true[couples[:, 0]] + tracked[couples[:, 1]] - counts)
    return len(close) / either, float((counts * shared).sum() / len(close))
