"""Which class is taken for which, with a background for what was missed and what is not there.

K = classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.metrics.detection_comparison import HALF, OVERLAPS, Comparison
from pipeline.metrics.detection_matching import match_by_overlap

BACKGROUND = "background"


def confusion_counts(comparison: Comparison, threshold: float) -> np.ndarray:
    """Rows are what was there, columns what was answered, int64 [K+1,K+1]; the last of either is the background.

    An answer and an object belong together from an overlap of 0.5 on, whatever their classes; those that overlap most
    go first, each is used once (as in the confusion matrix of Ultralytics). Answers half on a crowd or a difficult
    object that belong to nothing else do not count.

    Args:
        threshold: the least score of an answer that counts.
    """
    said = comparison.answers.scores >= threshold
    pairs = comparison.pairs.where((comparison.pairs.overlap >= OVERLAPS[HALF]) & said[comparison.pairs.answer])
    asked = comparison.asked[pairs.box]
    excused = pairs.answer[~asked]
    pairs = pairs.where(asked)
    pairs = pairs.where(match_by_overlap(pairs))
    missed, made_up = comparison.asked.copy(), said.copy()
    missed[pairs.box], made_up[excused], made_up[pairs.answer] = False, False, False
    classes, answered, background = comparison.objects.classes, comparison.answers.classes, comparison.num_classes
    rows = classes[pairs.box], classes[missed], np.full(made_up.sum(), background)
    columns = answered[pairs.answer], np.full(missed.sum(), background), answered[made_up]
    counts = np.zeros((background + 1, background + 1), np.int64)
    np.add.at(counts, (np.concatenate(rows), np.concatenate(columns)), 1)
    return counts


def named(counts: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """The counts by names, those that are 0 left out: of eighty classes nearly all are."""
    labels = (*names, BACKGROUND)
    return {
        label: {labels[column]: int(row[column]) for column in np.flatnonzero(row)}
        for label, row in zip(labels, counts, strict=True)
    }
