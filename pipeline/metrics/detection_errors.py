"""What kind of mistake costs how much average precision (TIDE).

Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors", sections 2.2 and 2.3. The values
are those of the authors' `tidecv`, but that a class without objects stays out of the mean (as COCO has it), and that
answers on crowds and difficult objects are no errors.

G = objects, D = answers, K = classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.metrics.detection_boxes import first_of_runs
from pipeline.metrics.detection_coco import average_precision
from pipeline.metrics.detection_comparison import BACKGROUND_OVERLAP, HALF, OVERLAPS, Comparison
from pipeline.metrics.detection_matching import NONE, best_of

KINDS = ("classification", "localisation", "both", "duplicate", "background")
"""Of wrong answers."""
MISSED = "missed"
"""Of objects."""
NOTHING = ""


@dataclass(frozen=True)
class Errors:
    """What is wrong with each answer, and which object would put it right.

    Args:
        kind: int64 [D], index into `KINDS`; -1 where nothing is wrong.
        mended: int64 [D], the object that the answer would have found but for its mistake; -1 where there is none, or
            where a better answer has it.
        missed: bool [G], objects that no answer found or came near to.
    """

    kind: np.ndarray
    mended: np.ndarray
    missed: np.ndarray


@dataclass(frozen=True)
class _Outcome:
    """Answers as they are or would be: class, right, score [D] each; and objects of each class [K]."""

    classes: np.ndarray
    right: np.ndarray
    scores: np.ndarray
    objects: np.ndarray

    def map_50(self, held: np.ndarray) -> float:
        """Mean AP of these classes; one left with neither objects nor answers drops out, and 1 where all have."""
        order = np.argsort(-self.scores, kind="stable")
        rows = {k: order[self.classes[order] == k] for k in held}
        values = [
            average_precision(self.right[row], int(self.objects[k])) if self.objects[k] else 0.0
            for k, row in rows.items()
            if self.objects[k] or len(row)
        ]
        return float(np.mean(values)) if values else 1.0


def error_costs(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Kind of error -> `ap_50_lost`, how much higher the mean AP at an overlap of 0.5 were without those alone (None
    where no object is asked for), and their `count`."""
    errors = find_errors(comparison)
    counts = {name: int((errors.kind == number).sum()) for number, name in enumerate(KINDS)}
    counts[MISSED] = int(errors.missed.sum())
    held = np.flatnonzero(comparison.per_class(comparison.asked))
    if not len(held):
        return {name: {"ap_50_lost": None, "count": count} for name, count in counts.items()}
    now = _without(comparison, errors, NOTHING).map_50(held)
    lost = {name: max(0.0, _without(comparison, errors, name).map_50(held) - now) for name in counts}
    return {name: {"ap_50_lost": lost[name], "count": count} for name, count in counts.items()}


def find_errors(comparison: Comparison) -> Errors:
    """Every wrong answer's kind: the first that fits of localisation (the right class, an overlap of 0.1 to 0.5),
    classification (0.5 with another class), duplicate (0.5 with an object that is found), background (less than 0.1),
    both (what is left)."""
    pairs, half = comparison.pairs, OVERLAPS[HALF]
    asked, same, count = comparison.asked[pairs.box], comparison.same_class, len(comparison.answers)
    taken = comparison.found_at(0.0)
    near, own = best_of(pairs.where(asked & same), count)
    mistaken, other = best_of(pairs.where(asked & ~same), count)
    repeated, _ = best_of(pairs.where(asked & same & taken[pairs.box]), count)
    fits = {
        "localisation": (near >= BACKGROUND_OVERLAP) & (near <= half),
        "classification": mistaken >= half,
        "duplicate": repeated >= half,
        "background": np.maximum(near, mistaken) <= BACKGROUND_OVERLAP,
    }
    numbers = [KINDS.index(name) for name in fits]
    kind = np.select(list(fits.values()), numbers, KINDS.index("both"))
    kind[~comparison.matches.wrong[HALF]] = NONE
    wanted = np.select([kind == KINDS.index("localisation"), kind == KINDS.index("classification")], [own, other], NONE)
    wanted[np.append(taken, False)[wanted]] = NONE
    missed = comparison.asked & ~taken
    missed[wanted[wanted >= 0]] = False
    return Errors(kind, _first_of_each(comparison, wanted), missed)


def _first_of_each(comparison: Comparison, wanted: np.ndarray) -> np.ndarray:
    """Of the answers that want the same object the one of the highest score keeps it, [D]."""
    rows = np.flatnonzero(wanted >= 0)
    order = rows[np.lexsort((rows, -comparison.answers.scores[rows], wanted[rows]))]
    first = order[first_of_runs(wanted[order])]
    mended = np.full(len(wanted), NONE)
    mended[first] = wanted[first]
    return mended


def _without(comparison: Comparison, errors: Errors, name: str) -> _Outcome:
    """The errors of one kind put right where they can be, else taken away; as it is for `NOTHING`."""
    asked = comparison.asked & ~errors.missed if name == MISSED else comparison.asked
    chosen = errors.kind == KINDS.index(name) if name in KINDS else np.zeros(len(errors.kind), bool)
    good = chosen & (errors.mended >= 0)
    classes, right = comparison.answers.classes.copy(), comparison.matches.right[HALF] | good
    classes[good] = comparison.objects.classes[errors.mended[good]]
    kept = ~comparison.matches.ignored[HALF] & (~chosen | good)
    return _Outcome(classes[kept], right[kept], comparison.answers.scores[kept], comparison.per_class(asked))
