"""Which answer found which object.

G = objects, D = answers, P = pairs of both, T = thresholds of the overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.metrics.detection_boxes import Pairs, first_of_runs, ranks

NONE = -1


@dataclass(frozen=True)
class Matches:
    """What became of each answer.

    Args:
        found: int64 [T,D], the object it found; -1 where none.
        ignored: bool [T,D], neither right nor wrong.
    """

    found: np.ndarray
    ignored: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Which found an object that was asked for, bool [T,D]."""
        return (self.found >= 0) & ~self.ignored

    @property
    def wrong(self) -> np.ndarray:
        """Which found nothing, bool [T,D]."""
        return (self.found < 0) & ~self.ignored


def match_by_score(
    pairs: Pairs, groups: np.ndarray, thresholds: np.ndarray, asked: np.ndarray, crowd: np.ndarray
) -> Matches:
    """As COCO matches (Lin et al. 2014; `COCOeval.evaluateImg` of pycocotools): answers take turns by falling score,
    each taking the free object that it overlaps most; one that is not asked for only where no other is left. A crowd
    is never used up.

    All pictures and classes take their turns at the same time, and all thresholds, which is what makes it fast.

    Args:
        pairs: of the same class.
        groups: int64 [D], the same for answers of the same picture and class; answers of one by falling score.
        thresholds: [T], the least overlap.
        asked, crowd: bool [G].
    """
    shape = len(thresholds), len(groups)
    turns = _Turns(pairs, np.minimum(thresholds, 1.0 - 1e-10)[:, None], asked, crowd)
    found, taken = np.full(shape, NONE), np.zeros((len(thresholds), len(asked)), bool)
    for rows in _rows_of_turns(pairs, groups):
        turns.take(rows, found, taken)
    ignored = np.zeros(shape, bool)
    ignored[found >= 0] = ~asked[found[found >= 0]]
    return Matches(found, ignored)


def match_by_overlap(pairs: Pairs) -> np.ndarray:
    """The pairs, as indices, that are left when each answer and each box may be in one only and those that overlap
    most go first."""
    left = np.argsort(-pairs.overlap, kind="stable")
    chosen = [np.empty(0, np.int64)]
    while len(left):
        # A pair is certain of its place where both of its sides appear in it for the first time.
        first_answer, first_box = (np.unique(side[left], return_index=True)[1] for side in (pairs.answer, pairs.box))
        certain = left[np.intersect1d(first_answer, first_box)]
        chosen.append(certain)
        used = np.isin(pairs.answer[left], pairs.answer[certain]) | np.isin(pairs.box[left], pairs.box[certain])
        left = left[~used]
    return np.concatenate(chosen)


def best_of(pairs: Pairs, num_answers: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each answer the overlap with the box that it overlaps most, float64 [D], and that box, int64 [D]; 0 and -1
    where it is in no pair. Of equal ones the first."""
    overlap, box = np.zeros(num_answers), np.full(num_answers, NONE)
    order = np.lexsort((pairs.box, -pairs.overlap, pairs.answer))
    best = order[first_of_runs(pairs.answer[order])]
    overlap[pairs.answer[best]], box[pairs.answer[best]] = pairs.overlap[best], pairs.box[best]
    return overlap, box


@dataclass(frozen=True)
class _Turns:
    pairs: Pairs
    limits: np.ndarray
    asked: np.ndarray
    crowd: np.ndarray

    def take(self, rows: np.ndarray, found: np.ndarray, taken: np.ndarray) -> None:
        """One turn: of the answers in these rows of the pairs each takes its object; fills `found` and `taken`."""
        boxes, overlap = self.pairs.box[rows], self.pairs.overlap[rows]
        starts = first_of_runs(self.pairs.answer[rows])
        free = (overlap >= self.limits) & (~taken[:, boxes] | self.crowd[boxes])
        # An overlap is at most 1, so that 2 puts all that is asked for first.
        worth = np.where(free, overlap + 2.0 * self.asked[boxes], NONE)
        best = np.maximum.reduceat(worth, starts, axis=1)
        equal = free & (worth == np.repeat(best, np.diff(starts, append=len(rows)), axis=1))
        # Of equal ones the last, as COCO has it.
        last = np.maximum.reduceat(np.where(equal, np.arange(len(rows)), NONE), starts, axis=1)
        threshold, answer = np.nonzero(last >= 0)
        chosen = boxes[last[threshold, answer]]
        found[threshold, self.pairs.answer[rows[starts[answer]]]] = chosen
        taken[threshold, chosen] = True


def _rows_of_turns(pairs: Pairs, groups: np.ndarray) -> list[np.ndarray]:
    """The rows of the pairs for each turn, those of one answer together."""
    if not len(pairs):
        return []
    contenders, place = np.unique(pairs.answer, return_inverse=True)
    turn = ranks(groups[contenders])[place]
    order = np.lexsort((pairs.box, pairs.answer, turn))
    return np.split(order, first_of_runs(turn[order])[1:])
