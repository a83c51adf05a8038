"""COCO's average precision and recall, and Pascal VOC's average precision.

The values are those of pycocotools, to which a test holds them. It takes each picture and class through Python by
itself: 17 s for 2,000 pictures with 100 answers, which take 1.2 s here, and every variant is judged by these numbers.

G = objects, D = answers, K = classes, T = thresholds of the overlap.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.metrics.detection_comparison import HALF, OVERLAPS, THREE_QUARTERS, Comparison
from pipeline.metrics.detection_matching import Matches, best_of

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads the precision."""
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Least and largest area in square pixels, both included."""
MOST_ANSWERS = 100
"""Answers that COCO looks at, for each picture and class."""
FEWER_ANSWERS = (1, 10, MOST_ANSWERS)


def coco_numbers(comparison: Comparison) -> dict[str, float | None]:
    """`map` (0 where there are no objects), and the others, None where no object is asked for."""
    precisions = class_precisions(comparison)
    numbers = {
        "map": mean(precisions) or 0.0,
        "map_50": mean(precisions[HALF]),
        "map_75": mean(precisions[THREE_QUARTERS]),
        **{f"map_{name}": mean(_of_size(comparison, *limits)) for name, limits in SIZES.items()},
    }
    return {**numbers, **{f"recall_{most}": mean(_recalls(comparison, most)) for most in FEWER_ANSWERS}}


def class_precisions(comparison: Comparison) -> np.ndarray:
    """COCO's average precision of each class at each threshold, float64 [T,K]; NaN where the class has no object."""
    return average_precisions(comparison, comparison.matches, comparison.asked)


def average_precisions(comparison: Comparison, matches: Matches, asked: np.ndarray) -> np.ndarray:
    """The same for matches made for some of the objects, bool [G]."""
    late = comparison.places >= MOST_ANSWERS
    counted, right = ~matches.ignored & ~late, matches.right
    values = np.full((len(right), comparison.num_classes), np.nan)
    objects = comparison.per_class(asked)
    for k in np.flatnonzero(objects):
        rows = comparison.by_class[k]
        for t in range(len(right)):
            values[t, k] = average_precision(right[t, rows][counted[t, rows]], int(objects[k]))
    return values


def average_precision(right: np.ndarray, num_objects: int) -> float:
    """The mean of the interpolated precision at 101 recalls (COCO; Everingham et al. 2010, section 4.2, with 11).

    Args:
        right: bool [D], by falling score.
        num_objects: how many there were to find, at least 1.
    """
    return float(interpolated(right, num_objects).mean())


def interpolated(right: np.ndarray, num_objects: int) -> np.ndarray:
    """The best precision at each of `RECALLS` or a higher recall, float64 [101]; 0 where that is not reached."""
    recall, precision = curve(right, num_objects)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(recall, RECALLS, side="left")]


def curve(right: np.ndarray, num_objects: int) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision) after each answer, [D] each, from whether each is right, by falling score."""
    hits = np.cumsum(right)
    return hits / num_objects, hits / np.arange(1, len(right) + 1)


def voc_map_50(comparison: Comparison) -> float | None:
    """Pascal VOC's mean average precision since 2010: the whole area under the interpolated curve at an overlap of 0.5.

    An answer is held against the object of its class that it overlaps most, free or not; only the first on an object is
    right, and those on difficult ones (and crowds) do not count (Everingham et al. 2010, section 4.2, and the devkit).
    """
    right, ignored = _as_voc_matches(comparison)
    objects = comparison.per_class(comparison.asked)
    rows = {k: comparison.by_class[k] for k in np.flatnonzero(objects)}
    return mean(np.array([_area(right[row][~ignored[row]], int(objects[k])) for k, row in rows.items()]))


def mean(values: np.ndarray) -> float | None:
    """The mean of those that are known; None where none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _of_size(comparison: Comparison, least: float, most: float) -> np.ndarray:
    """As `class_precisions`, of objects of some areas alone; answers that find nothing count if of such areas too."""
    inside = (comparison.object_areas >= least) & (comparison.object_areas <= most)
    asked = comparison.asked & inside
    matches = comparison.match(asked, OVERLAPS)
    outside = (comparison.answer_areas < least) | (comparison.answer_areas > most)
    ignored = matches.ignored | (matches.wrong & outside)
    return average_precisions(comparison, replace(matches, ignored=ignored), asked)


def _recalls(comparison: Comparison, most: int) -> np.ndarray:
    """The share of each class's objects found by the first answers to each picture, [T,K]."""
    right = comparison.matches.right & (comparison.places < most)
    objects = comparison.per_class(comparison.asked).astype(np.float64)
    found = np.stack([np.bincount(comparison.answers.classes[row], minlength=comparison.num_classes) for row in right])
    return np.divide(found, objects, out=np.full(found.shape, np.nan), where=objects > 0)


def _as_voc_matches(comparison: Comparison) -> tuple[np.ndarray, np.ndarray]:
    """Which answers are right and which do not count, bool [D] each."""
    crowd = comparison.objects.crowd[comparison.pairs.box]
    ordinary = comparison.pairs.where(comparison.same_class & ~crowd)
    overlap, box = best_of(ordinary, len(comparison.answers))
    in_crowd, _ = best_of(comparison.pairs.where(comparison.same_class & crowd), len(comparison.answers))
    hit = overlap >= OVERLAPS[HALF]
    ignored = np.where(hit, np.append(comparison.objects.difficult, False)[box], in_crowd >= OVERLAPS[HALF])
    first = np.zeros(len(hit), bool)
    rows = np.flatnonzero(hit & ~ignored)
    # Answers on one object are of one picture, where they stand by falling score.
    first[rows[np.unique(box[rows], return_index=True)[1]]] = True
    return first, ignored


def _area(right: np.ndarray, num_objects: int) -> float:
    recall, precision = curve(right, num_objects)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * best).sum())
