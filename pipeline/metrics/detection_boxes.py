"""Objects and answers of all pictures as flat arrays, and which of them overlap.

B = pictures, N = objects of a picture, M = answers to a picture (both padded), G = all objects, D = all answers,
P = pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.data.example import BOXES, BRIGHTNESS, CLASSES, CROWD, DIFFICULT, NO_OBJECT, VISIBLE
from pipeline.metrics.base import Arrays

PACKED_OBJECTS, PACKED_ANSWERS = "objects", "answers"
CLASS, SCORE = 4, 5
"""Columns of packed answers; the first four are the box."""

# Keeps one block of overlaps near 100 MB, however many boxes the pictures hold.
BLOCK_PAIRS = 1_000_000


def packed_objects(examples: Arrays) -> np.ndarray:
    """What a batch of examples holds as one array, float64 [B,N,9]: box, class, difficult, crowd, visible share,
    brightness."""
    classes = np.asarray(examples[CLASSES])
    flags = [examples.get(name, np.zeros(classes.shape)) for name in (DIFFICULT, CROWD)]
    shares = [examples.get(name, np.full(classes.shape, np.nan)) for name in (VISIBLE, BRIGHTNESS)]
    columns = [np.asarray(column, np.float64) for column in (classes, *flags, *shares)]
    return np.concatenate([np.asarray(examples[BOXES], np.float64), np.stack(columns, axis=-1)], axis=-1)


def packed_answers(predictions: Arrays) -> np.ndarray:
    """Decoded predictions of a batch as one array, float64 [B,M,6]: box, class (-1: no answer), score."""
    columns = [np.asarray(predictions[name], np.float64) for name in ("classes", "scores")]
    packed = np.concatenate([np.asarray(predictions["boxes"], np.float64), np.stack(columns, axis=-1)], axis=-1)
    there = np.arange(packed.shape[1]) < np.asarray(predictions["count"]).reshape(-1, 1)
    return np.where(there[..., None], packed, [0.0, 0.0, 0.0, 0.0, NO_OBJECT, 0.0])


@dataclass(frozen=True)
class Objects:
    """All that was there, picture by picture.

    Args:
        picture: int64 [G], ascending.
        boxes: float64 [G,4], x_min, y_min, x_max, y_max as shares of the picture.
        classes: int64 [G].
        difficult, crowd: bool [G].
        visible: float64 [G], the share not hidden; NaN where nothing is said of it.
        brightness: float64 [G], the mean luminance in its box, 0..1; NaN where that is not known.
    """

    picture: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    visible: np.ndarray
    brightness: np.ndarray

    @classmethod
    def of(cls, packed: np.ndarray) -> Objects:
        """Those of `packed_objects`, without padding."""
        there = packed[..., CLASS] >= 0
        flat = packed[there]
        classes, difficult, crowd, visible, brightness = flat[:, 4:].T
        facts = classes.astype(np.int64), difficult > 0, crowd > 0, visible.copy(), brightness.copy()
        return cls(np.nonzero(there)[0], flat[:, :4], *facts)

    @property
    def asked(self) -> np.ndarray:
        """Which have to be found, bool [G]: all but the difficult ones and the crowds."""
        return ~(self.difficult | self.crowd)

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Answers:
    """All that was answered, picture by picture, within each by falling score.

    Args:
        picture: int64 [D], ascending.
        boxes: float64 [D,4], as of `Objects`.
        classes: int64 [D].
        scores: float64 [D], 0..1.
    """

    picture: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, packed: np.ndarray) -> Answers:
        """Those of `packed_answers`."""
        order = np.argsort(-packed[..., SCORE], axis=1, kind="stable")
        packed = np.take_along_axis(packed, order[..., None], axis=1)
        there = packed[..., CLASS] >= 0
        flat = packed[there]
        return cls(np.nonzero(there)[0], flat[:, :4], np.rint(flat[:, CLASS]).astype(np.int64), flat[:, SCORE])

    def of_score(self, least: float) -> Answers:
        """Those whose score is at least this."""
        chosen = self.scores >= least
        return Answers(self.picture[chosen], self.boxes[chosen], self.classes[chosen], self.scores[chosen])

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Pairs:
    """An answer and a box of the same picture that overlap; P of them, ordered by answer, then by box.

    Args:
        answer, box: int64 [P], their indices.
        overlap: float64 [P], intersection over union; over the answer's own area where the box is a crowd's.
    """

    answer: np.ndarray
    box: np.ndarray
    overlap: np.ndarray

    def where(self, chosen: np.ndarray) -> Pairs:
        """Some of them, by bool [P] or indices."""
        return Pairs(self.answer[chosen], self.box[chosen], self.overlap[chosen])

    def __len__(self) -> int:
        return len(self.answer)


def overlapping(answers: Answers, others: Objects | Answers, least: float) -> Pairs:
    """All pairs in the same picture, whatever their classes, that overlap by at least `least`."""
    crowd = others.crowd if isinstance(others, Objects) else np.zeros(len(others), bool)
    found = [Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for answer, box in _in_same_picture(answers.picture, others.picture):
        overlap = overlaps(answers.boxes[answer], others.boxes[box], crowd[box])
        near = overlap >= least
        found.append(Pairs(answer[near], box[near], overlap[near]))
    return Pairs(*(np.concatenate([getattr(p, name) for p in found]) for name in ("answer", "box", "overlap")))


def overlaps(first: np.ndarray, second: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [P,4] each, one to one; over the first's area where the second is a crowd's
    (COCO). Boxes without any area overlap by 1 where they are the same, else by 0.

    Returns:
        float64 [P], 0..1.
    """
    corners = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = areas(np.concatenate(corners, axis=1))
    union = np.where(crowd, areas(first), areas(first) + areas(second) - shared)
    same = (first == second).all(axis=1).astype(np.float64)
    return np.divide(shared, union, out=same, where=union > 0)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Of boxes [P,4] in the square of their unit, [P]; 0 where an edge lies beyond the opposite one."""
    x_min, y_min, x_max, y_max = boxes.T
    return np.maximum(x_max - x_min, 0.0) * np.maximum(y_max - y_min, 0.0)


def ranks(groups: np.ndarray) -> np.ndarray:
    """The place of each, from 0 on, among those of the same group before it, int64 [D]."""
    order = np.argsort(groups, kind="stable")
    starts = first_of_runs(groups[order])
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    return places


def first_of_runs(values: np.ndarray) -> np.ndarray:
    """Where each run of equal values starts, int64."""
    if not len(values):
        return np.empty(0, np.int64)
    return np.append(0, np.flatnonzero(np.diff(values)) + 1)


def _in_same_picture(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of index pairs of all that share a picture; both sides [D] and [G] ascending."""
    starts = np.searchsorted(second, first, "left")
    counts = np.searchsorted(second, first, "right") - starts
    block = np.cumsum(counts) // BLOCK_PAIRS
    for rows in np.split(np.arange(len(first)), first_of_runs(block)[1:]):
        before = np.cumsum(counts[rows]) - counts[rows]
        within = np.arange(counts[rows].sum()) - np.repeat(before, counts[rows])
        yield np.repeat(rows, counts[rows]), np.repeat(starts[rows], counts[rows]) + within
