"""Objects in pictures: average precision as COCO and Pascal VOC count it, and what stands behind it.

B = batch, N = objects of a picture, M = answers to a picture (both padded), K = classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.example import ID
from pipeline.metrics.base import Arrays, Evaluator, Mistake
from pipeline.metrics.collected import Collected, same_kind
from pipeline.metrics.detection_boxes import (
    PACKED_ANSWERS,
    PACKED_OBJECTS,
    Answers,
    Objects,
    overlapping,
    packed_answers,
    packed_objects,
)
from pipeline.metrics.detection_coco import class_precisions, coco_numbers, mean, voc_map_50
from pipeline.metrics.detection_comparison import HALF, Comparison
from pipeline.metrics.detection_conditions import by_condition
from pipeline.metrics.detection_confusion import BACKGROUND, confusion_counts, named
from pipeline.metrics.detection_errors import error_costs
from pipeline.metrics.detection_interval import map_interval
from pipeline.metrics.detection_matching import match_by_overlap
from pipeline.metrics.detection_threshold import best_threshold, class_measures_at, measures_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAME_ANSWER = 0.9
"""Two answers of one class are the same when they overlap by at least this."""


class DetectionEvaluator(Evaluator):
    """Scores boxes with classes and scores against the objects of a picture.

    `examples`: `id` [B], `boxes` float [B,N,4] (x_min, y_min, x_max, y_max as shares of the picture), `classes` int
    [B,N], -1 for padding; where the data has them `difficult` bool [B,N] (not asked for, and not wrong to find),
    `crowd` bool [B,N] (COCO's `iscrowd`), `visible` float [B,N] (the share that is not hidden) and `brightness` float
    [B,N] (the mean luminance where the object lies, 0..1). `predictions`:
    `boxes` float [B,M,4] in the same form, `classes` [B,M], `scores` [B,M] 0..1, and `count` [B], how many of the M are
    there.

    Args:
        class_names: in index order, [K].
        threshold: the score from which on an answer counts for precision, recall, F1, the confusion, the mistakes and
            the agreement, 0..1; average precisions look at all answers.
        picture: height and width of the model's picture in pixels, which decide what is small and large.
    """

    def __init__(self, class_names: tuple[str, ...], threshold: float, picture: tuple[int, int]):
        self._names = tuple(class_names)
        self._threshold = threshold
        self._picture = picture
        self._seen = Collected(PACKED_OBJECTS, PACKED_ANSWERS)

    def update(self, examples: Arrays, predictions: Arrays) -> None:
        """Adds a batch."""
        self._seen.add(
            {ID: examples[ID], PACKED_OBJECTS: packed_objects(examples)}, {PACKED_ANSWERS: packed_answers(predictions)}
        )
        self.__dict__.pop("_comparison", None)

    def best_threshold(self) -> float:
        """The score with the largest F1, all classes together; to be chosen on validation, never on what is reported.
        The evaluator's own threshold where nothing was found."""
        return best_threshold(self._comparison, self._threshold)

    def result(self) -> dict[str, Any]:
        """All measures are 0..1; see docs/detection_metrics.md. `map` is 0, and others None, where nothing is asked
        for."""
        if self._seen.overflows:
            return self._seen.overflow("map")
        compared = self._comparison
        return {
            **coco_numbers(compared),
            "voc_map_50": voc_map_50(compared),
            **measures_at(compared, self._threshold),
            "threshold": self._threshold,
            "best_threshold": self.best_threshold(),
            "num_examples": compared.num_pictures,
            "num_objects": int(compared.asked.sum()),
            "intervals": {"map": map_interval(compared)},
            "per_class": self._per_class(),
            "confusion": named(confusion_counts(compared, self._threshold), self._names),
            "errors": error_costs(compared),
            "by_visible": by_condition(compared, compared.objects.visible, self._threshold),
            "by_brightness": by_condition(compared, compared.objects.brightness, self._threshold),
        }

    def agreement_with(self, other: Evaluator) -> float:
        """How far the answers from the threshold on are the same: the mean over pictures of the share of both sides'
        answers that have one of the same class at the same place (an overlap of 0.9) on the other; 1 where neither
        answers anything."""
        other = same_kind(self, other)
        self._seen.require_same_examples(other._seen)
        mine, theirs = (one._comparison.answers.of_score(one._threshold) for one in (self, other))
        pairs = overlapping(mine, theirs, SAME_ANSWER)
        pairs = pairs.where(mine.classes[pairs.answer] == theirs.classes[pairs.box])
        same = mine.picture[pairs.answer[match_by_overlap(pairs)]]
        matched, first, second = (self._per_picture(pictures) for pictures in (same, mine.picture, theirs.picture))
        either = first + second
        return self._seen.agreement(
            other._seen, np.divide(2.0 * matched, either, out=np.ones(len(either)), where=either > 0)
        )

    def plots(self) -> dict[str, Figure]:
        """Precision and recall of each class, F1 over the threshold, confusion matrix, what errors cost."""
        from pipeline.metrics import detection_plots, plots

        compared = self._comparison
        figures = {
            "Precision and recall": detection_plots.precision_and_recall(compared, self._names),
            "Threshold": detection_plots.over_threshold(compared, self._threshold),
            "Confusion matrix": plots.confusion_matrix(
                confusion_counts(compared, self._threshold), (*self._names, BACKGROUND)
            ),
        }
        return {**figures, "What errors cost": detection_plots.error_bars(error_costs(compared))}

    def mistakes(self, most: int) -> list[Mistake]:
        """Pictures with missed objects or wrong answers at the threshold: each missed one counts 1, each wrong one its
        score."""
        compared = self._comparison
        said = compared.answers.scores >= self._threshold
        wrong = compared.matches.wrong[HALF] & said
        missed = compared.asked & ~compared.found_at(self._threshold)
        badness = self._per_picture(compared.objects.picture[missed]) + self._per_picture(
            compared.answers.picture[wrong], compared.answers.scores[wrong]
        )
        worst = np.argsort(-badness, kind="stable")[: min(most, int((badness > 0).sum()))]
        return [self._mistake(int(picture), missed, said, wrong, float(badness[picture])) for picture in worst]

    @cached_property
    def _comparison(self) -> Comparison:
        packed = self._seen.truth()
        objects, answers = Objects.of(packed), Answers.of(self._seen.answers())
        return Comparison(objects, answers, len(packed), len(self._names), self._picture)

    def _per_picture(self, pictures: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(pictures, weights, self._comparison.num_pictures).astype(np.float64)

    def _per_class(self) -> dict[str, dict[str, Any]]:
        precisions = class_precisions(self._comparison).T
        return {
            name: {"ap": mean(ap), "ap_50": mean(ap[[HALF]]), **measures}
            for name, ap, measures in zip(
                self._names, precisions, class_measures_at(self._comparison, self._threshold), strict=True
            )
        }

    def _mistake(
        self, picture: int, missed: np.ndarray, said: np.ndarray, wrong: np.ndarray, badness: float
    ) -> Mistake:
        objects, answers = self._comparison.objects, self._comparison.answers
        here, there = objects.picture == picture, answers.picture == picture
        parts = {
            "": self._listed(answers.classes[there & said]),
            "missed ": self._listed(objects.classes[here & missed]),
            "wrong ": self._listed(answers.classes[there & wrong]),
        }
        return Mistake(
            id=self._seen.ids[picture],
            expected=self._listed(objects.classes[here & self._comparison.asked]) or "nothing",
            answered="; ".join(label + text for label, text in parts.items() if text) or "nothing",
            badness=badness,
        )

    def _listed(self, classes: Iterable[int]) -> str:
        """Such as `2 cat, 1 dog`; empty where there is none."""
        counts = Counter(int(k) for k in classes)
        return ", ".join(f"{counts[k]} {self._names[k]}" for k in sorted(counts))
