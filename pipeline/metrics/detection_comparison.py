"""All answers held against all objects: what the measures of detection are taken from.

G = objects, D = answers, K = classes, T = thresholds of the overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.metrics.detection_boxes import Answers, Objects, Pairs, areas, overlapping, ranks
from pipeline.metrics.detection_matching import Matches, match_by_score

OVERLAPS = np.linspace(0.5, 0.95, 10)
"""COCO's thresholds of the overlap; the first is the one that everything but `map` and its like goes by."""
HALF, THREE_QUARTERS = 0, 5
"""Indices of 0.5 and 0.75 in `OVERLAPS`."""
BACKGROUND_OVERLAP = 0.1
"""What overlaps less with every object lies in the background (Bolya et al. 2020, section 2.2)."""


@dataclass(frozen=True)
class Comparison:
    """One set of answers against the truth.

    Args:
        objects, answers: of all pictures.
        num_pictures: how many, those without either counted.
        num_classes: K.
        size: height and width of the picture in pixels that areas are measured in.
    """

    objects: Objects
    answers: Answers
    num_pictures: int
    num_classes: int
    size: tuple[int, int]

    @cached_property
    def pairs(self) -> Pairs:
        """All that overlap by at least 0.1, of any classes."""
        return overlapping(self.answers, self.objects, BACKGROUND_OVERLAP)

    @cached_property
    def same_class(self) -> np.ndarray:
        """Which of the pairs are of one class, bool [P]."""
        return self.answers.classes[self.pairs.answer] == self.objects.classes[self.pairs.box]

    @cached_property
    def asked(self) -> np.ndarray:
        """Which objects have to be found, bool [G]."""
        return self.objects.asked

    @cached_property
    def matches(self) -> Matches:
        """Of all answers at all of COCO's thresholds [T,D]."""
        return self.match(self.asked, OVERLAPS)

    @cached_property
    def places(self) -> np.ndarray:
        """The rank of each answer in its picture and class, from 0 on, int64 [D]."""
        return ranks(self._groups)

    @cached_property
    def by_class(self) -> list[np.ndarray]:
        """Of each class its answers by falling score, int64 indices; K of them."""
        order = np.argsort(-self.answers.scores, kind="stable")
        return [order[self.answers.classes[order] == k] for k in range(self.num_classes)]

    @cached_property
    def object_areas(self) -> np.ndarray:
        """In square pixels, [G]."""
        return areas(self.objects.boxes) * self._pixels

    @cached_property
    def answer_areas(self) -> np.ndarray:
        """In square pixels, [D]."""
        return areas(self.answers.boxes) * self._pixels

    def match(self, asked: np.ndarray, thresholds: np.ndarray) -> Matches:
        """The matches where only these objects, bool [G], are asked for."""
        return match_by_score(self._candidates, self._groups, thresholds, asked, self.objects.crowd)

    def per_class(self, asked: np.ndarray) -> np.ndarray:
        """How many of these objects, bool [G], each class has, int64 [K]."""
        return np.bincount(self.objects.classes[asked], minlength=self.num_classes)

    def found_at(self, threshold: float) -> np.ndarray:
        """Which objects an answer of this score or more found, bool [G], at an overlap of 0.5."""
        found = np.zeros(len(self.objects), bool)
        found[self.matches.found[HALF][self.matches.right[HALF] & (self.answers.scores >= threshold)]] = True
        return found

    @cached_property
    def _candidates(self) -> Pairs:
        return self.pairs.where(self.same_class & (self.pairs.overlap >= OVERLAPS[0]))

    @cached_property
    def _groups(self) -> np.ndarray:
        return self.answers.picture * self.num_classes + self.answers.classes

    @property
    def _pixels(self) -> int:
        return self.size[0] * self.size[1]
