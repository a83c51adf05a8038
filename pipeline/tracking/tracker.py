"""The tracker: detections of one frame after the other in, tracks with lasting ids out.

Two rounds of association (Y. Zhang et al., "ByteTrack", 2022, algorithm 1): first all tracks that were ever confirmed
with detections of a high score, then those that are still without one, and were seen in the frame before, with the
rest. T = tracks, D = detections, n = tracks that are given out, E = length of a description of looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.tracking.association import assigned, with_looks
from pipeline.tracking.boxes import centred, cornered, distinct, overlaps
from pipeline.tracking.settings import BYTETRACK, TrackSettings

TENTATIVE, CONFIRMED, LOST = 0, 1, 2
"""States of a track: seen too few times to count; seen in this frame; not seen, but it may come back."""
NO_TRACK = 0
"""The id of a track that is not confirmed yet; others count from 1."""
OF_BEFORE = 0.9
"""Share of a track's looks that is kept when it is seen again (BoT-SORT, 2022, equation 11)."""


@dataclass(frozen=True)
class Detections:
    """What a detector found in a frame.

    Args:
        boxes: corners [D,4] in pixels.
        scores: [D], 0..1.
        classes: int64 [D].
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, chosen: np.ndarray) -> Detections:
        """Those that a mask bool [D] or places int64 choose."""
        return Detections(self.boxes[chosen], self.scores[chosen], self.classes[chosen])


@dataclass(frozen=True)
class Tracked:
    """The tracks of a frame.

    Args:
        ids: int64 [n], from 1.
        boxes: corners float64 [n,4] in pixels; may reach out of the frame.
        classes: int64 [n].
        scores: float64 [n] of the last detection.
        states: int8 [n], CONFIRMED or LOST.
    """

    ids: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    states: np.ndarray

    @property
    def seen(self) -> Tracked:
        """Those that were seen in this frame; boxes of the others are a guess."""
        there = self.states == CONFIRMED
        return Tracked(self.ids[there], self.boxes[there], self.classes[there], self.scores[there], self.states[there])


class Tracker:
    """Tracks the objects of one video.

    Args:
        settings: how.
        threshold: the score from which on the detector takes an object for found; ByteTrack's by default.

    Raises:
        ConfigError: a score that is given contradicts that one.
    """

    def __init__(self, settings: TrackSettings, threshold: float = BYTETRACK):
        self._settings, self._least = settings, settings.thresholds(threshold)
        self._filter = settings.motion.start()
        self._camera = settings.camera.start()
        self._describe = settings.appearance.describer()
        self._states, self._ids = np.zeros(0, np.int8), np.zeros(0, np.int64)
        self._streaks, self._missed = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._scores, self._votes = np.zeros(0), np.zeros((0, 1))
        self._looks = np.zeros((0, self._describe.length))
        self._readable = self._given = 0

    def update(self, found: Detections, pixels: np.ndarray | None = None) -> Tracked:
        """Takes the next frame.

        Args:
            found: in it.
            pixels: the frame itself, uint8 [h,w,3], where looks or the camera's motion are asked for.

        Raises:
            ValueError: looks are compared, but there are no pixels.
        """
        self._filter.predict(self._states == LOST)
        matrix = self._camera(pixels, found.boxes)
        if matrix is not None:
            self._filter.warp(matrix)
        found = self._told_apart(found.where(found.scores >= self._least.low))
        looks = self._describe(pixels, found.boxes)
        partners, free = self._associated(found, looks)
        self._take(found, looks, partners)
        self._age(partners >= 0)
        self._begin(found, looks, free)
        self._readable += 1
        return self._tracked()

    def skip(self) -> Tracked:
        """Takes a frame of which nothing is known, such as a broken one: tracks move on, and none is taken for lost."""
        self._filter.predict(np.ones(len(self._states), bool))
        return self._tracked()

    # --------------------------------------------------------------------------------------------- association

    def _told_apart(self, found: Detections) -> Detections:
        return found.where(distinct(found.boxes, found.scores, self._settings.duplicates))

    def _associated(self, found: Detections, looks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The detection of each track, int64 [T], -1 for none; and which detections are left, bool [D]."""
        settings, strong = self._settings, found.scores >= self._least.high
        tentative, confirmed = self._states == TENTATIVE, self._states == CONFIRMED
        partners, free = np.full(len(self._states), -1), np.ones(len(found), bool)
        costs = self._costs(found)
        rounds = (
            (self._with_looks(costs, found, looks), ~tentative, strong, settings.overlap),
            (costs, confirmed, ~strong, settings.low_overlap),
            (costs, tentative, strong, settings.new_overlap),
        )
        for cost, tracks, detections, overlap in rounds:
            rows = np.flatnonzero(tracks & (partners < 0))
            columns = np.flatnonzero(detections & free)
            if len(rows) and len(columns):
                chosen, taken = assigned(cost[rows[:, None], columns], 1.0 - overlap)
                partners[rows[chosen]] = columns[taken]
                free[columns[taken]] = False
        return partners, free

    def _costs(self, found: Detections) -> np.ndarray:
        """1 minus the overlap of each track and detection, [T,D]; 1 where their classes must not be matched."""
        costs = 1.0 - overlaps(cornered(self._filter.boxes), found.boxes)
        if not self._settings.across_classes:
            costs[self._classes[:, None] != found.classes] = 1.0
        return costs

    def _with_looks(self, costs: np.ndarray, found: Detections, looks: np.ndarray) -> np.ndarray:
        if not looks.shape[1]:
            return costs
        differences = 1.0 - self._looks @ looks.T
        if not self._settings.across_classes:
            differences[self._classes[:, None] != found.classes] = np.inf
        distances = self._filter.distances(centred(found.boxes))
        return with_looks(costs, differences, distances, self._settings.appearance.most)

    # --------------------------------------------------------------------------------------------- life cycle

    def _take(self, found: Detections, looks: np.ndarray, partners: np.ndarray) -> None:
        """Corrects the tracks by their detections."""
        places = np.flatnonzero(partners >= 0)
        partner = partners[places]
        self._filter.update(places, centred(found.boxes[partner]))
        self._scores[places] = found.scores[partner]
        self._vote(places, found.where(partner))
        sure = found.scores[partner] >= self._least.high
        mixed = OF_BEFORE * self._looks[places[sure]] + (1 - OF_BEFORE) * looks[partner[sure]]
        self._looks[places[sure]] = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)

    def _vote(self, places: np.ndarray, found: Detections) -> None:
        missing = int(found.classes.max(initial=0)) + 1 - self._votes.shape[1]
        if missing > 0:
            self._votes = np.pad(self._votes, [(0, 0), (0, missing)])
        self._votes[places, found.classes] += found.scores

    def _age(self, seen: np.ndarray) -> None:
        """Confirms, loses and drops tracks, bool [T]: those with a detection."""
        states, settings = self._states, self._settings
        self._streaks = np.where(seen, self._streaks + 1, 0)
        self._missed = np.where(seen, 0, self._missed + 1)
        over = ~seen & ((states == TENTATIVE) | (self._missed > settings.keep_lost))
        states[~seen] = LOST
        states[seen & ((states == LOST) | (self._streaks >= settings.confirm))] = CONFIRMED
        self._name()
        if over.any():
            self._keep(~over)

    def _name(self) -> None:
        """Gives ids to those that were just confirmed."""
        unnamed = np.flatnonzero((self._states == CONFIRMED) & (self._ids == NO_TRACK))
        self._ids[unnamed] = self._given + 1 + np.arange(len(unnamed))
        self._given += len(unnamed)

    def _keep(self, kept: np.ndarray) -> None:
        self._filter.keep(kept)
        self._states, self._ids, self._scores = self._states[kept], self._ids[kept], self._scores[kept]
        self._streaks, self._missed = self._streaks[kept], self._missed[kept]
        self._votes, self._looks = self._votes[kept], self._looks[kept]

    def _begin(self, found: Detections, looks: np.ndarray, free: np.ndarray) -> None:
        """Begins a track at each detection of a high score that nobody wants."""
        new = np.flatnonzero(free & (found.scores >= self._least.new))
        if not len(new):
            return
        at_once = self._settings.confirm == 1 or self._readable == 0
        places = len(self._states) + np.arange(len(new))
        self._filter.add(centred(found.boxes[new]))
        self._states = np.append(self._states, np.full(len(new), CONFIRMED if at_once else TENTATIVE, np.int8))
        self._ids = np.append(self._ids, np.full(len(new), NO_TRACK))
        self._streaks = np.append(self._streaks, np.ones(len(new), np.int64))
        self._missed = np.append(self._missed, np.zeros(len(new), np.int64))
        self._scores = np.append(self._scores, found.scores[new])
        self._votes = np.pad(self._votes, [(0, len(new)), (0, 0)])
        self._looks = np.concatenate([self._looks, looks[new]])
        self._vote(places, found.where(new))
        self._name()

    @property
    def _classes(self) -> np.ndarray:
        """int64 [T]."""
        return np.asarray(self._votes.argmax(axis=1))

    def _tracked(self) -> Tracked:
        known = np.flatnonzero(self._states != TENTATIVE)
        boxes = cornered(self._filter.boxes)[known]
        return Tracked(self._ids[known], boxes, self._classes[known], self._scores[known], self._states[known])
