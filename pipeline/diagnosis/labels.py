"""Labels of a picture as a whole: classes, texts, numbers. Objects and masks are looked at elsewhere."""

from __future__ import annotations

import math
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.data.example import RawExample
from pipeline.data.targets import ADVICE, MissingLabels
from pipeline.diagnosis.findings import Finding, Severity
from pipeline.diagnosis.settings import DoctorSettings
from pipeline.errors import nearest
from pipeline.wording import quantity

TARGETS: dict[str, Severity] = {
    "label": "error",
    "labels": "error",
    "value": "error",
    "objects": "error",
    "text": "note",
    "mask": "note",
}
"""What a RawExample may hold to learn from, and how bad it is where others hold it and one does not."""
UNUSUAL = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Co": "a private character",
    "Cn": "a character that Unicode does not know",
    "Cs": "half a character",
}
"""Unicode's general category -> what it is called; none of these is seen in print."""
USUAL = "\n\t"
"""Control characters that texts do hold."""
REPLACEMENT = "\ufffd"
NORMAL_FORM: Literal["NFC"] = "NFC"
MAD_TO_DEVIATION = 1.4826
"""Median absolute deviation -> standard deviation, for normally distributed numbers."""
MEAN_TO_DEVIATION = 1.2533
"""The same for the mean absolute deviation, which is used where more than half of all numbers are the same."""
FEWEST_NUMBERS = 10
"""Numbers below which none is called an outlier."""


@dataclass
class LabelCheck:
    """Goes through all examples; what only shows when all are known comes at the end.

    Args:
        class_names: the source's own, where it has them.
        value_names: what the numbers are called.
        missing_labels: what `prepare` does where a label is not known.
    """

    class_names: tuple[str, ...] | None
    value_names: tuple[str, ...]
    missing_labels: MissingLabels = "refuse"
    _missing: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: {name: [] for name in TARGETS})
    _held: Counter[str] = field(default_factory=Counter)
    _classes: dict[str, tuple[str, str]] = field(default_factory=dict)
    _values: array[float] = field(default_factory=lambda: array("d"))
    _owners: list[tuple[str, str]] = field(default_factory=list)
    _indices: list[int] = field(default_factory=list)
    _count: int = 0

    def findings(self, example: RawExample) -> Iterator[Finding]:
        """What is wrong with one example's labels."""
        self._count += 1
        for name in TARGETS:
            if getattr(example, name) is None:
                self._missing[name].append((example.id, example.where))
            else:
                self._held[name] += 1
        yield from self._unknown_findings(example)
        yield from self._class_findings(example)
        if example.text is not None:
            yield from text_findings(example, example.text)
        if example.value is not None:
            yield from self._number_findings(example)

    def _unknown_findings(self, example: RawExample) -> Iterator[Finding]:
        """What is known not to be known: an empty label, classes left open, NaN."""
        open_values = [self._value_name(place) for place, value in enumerate(example.value or ()) if math.isnan(value)]
        unknown = [*(["the label"] if example.label == "" else []), *example.labels_unknown, *open_values]
        if unknown:
            severity: Severity = "error" if self.missing_labels == "refuse" else "note"
            yield _of(example, "missing_label", severity, f"not known: {', '.join(unknown)}", ADVICE)

    def _class_findings(self, example: RawExample) -> Iterator[Finding]:
        names = [example.label] if example.label else list(example.labels or ())
        for name in names:
            self._classes.setdefault(name, (example.id, example.where))
            yield from unknown_class(name, self.class_names, example.id, example.where)
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            what = f"the label {repeated[0]!r} is there twice"
            yield _of(example, "repeated_label", "note", what, "Remove one; it counts once.")

    def _number_findings(self, example: RawExample) -> Iterator[Finding]:
        values = list(example.value or ())
        self._values.extend(value if math.isfinite(value) else math.nan for value in values)
        self._owners.append((example.id, example.where))
        self._indices.append(self._count - 1)
        for place, value in enumerate(values):
            if math.isinf(value):
                what = f"{self._value_name(place)} is {value}, which is not a finite number"
                yield _of(example, "target_not_finite", "error", what, "Fill in the number or remove the row.")

    def _value_name(self, place: int) -> str:
        return self.value_names[place] if place < len(self.value_names) else f"value {place}"

    def last_findings(self, settings: DoctorSettings) -> Iterator[Finding]:
        """What shows when all examples are known: missing labels, class names that are nearly the same, outliers."""
        for name, count in self._held.items():
            for identity, where in self._missing[name]:
                what = f"no {name}, but {quantity(count, 'other example has', 'other examples have')} one"
                yield Finding("missing_label", TARGETS[name], what, where, ADVICE, (identity,))
        yield from self._similar_names()
        yield from self._outliers(settings)

    def _similar_names(self) -> Iterator[Finding]:
        """`Rose`, `rose ` and `rose` are three classes, though one was meant."""
        alike: dict[str, list[str]] = defaultdict(list)
        for name in self._classes:
            alike[" ".join(unicodedata.normalize(NORMAL_FORM, name).casefold().split())].append(name)
        for names in alike.values():
            if len(names) > 1:
                shown = ", ".join(repr(name) for name in sorted(names))
                identity, where = self._classes[names[-1]]
                what = f"classes whose names differ only in case, spaces or composition: {shown}"
                yield Finding("similar_class_names", "warning", what, where, "Use one spelling.", (identity,))

    def _outliers(self, settings: DoctorSettings) -> Iterator[Finding]:
        for place, column in enumerate(self._columns()):
            scores = robust_scores(column)
            for index in np.flatnonzero(np.abs(scores) > settings.outlier):
                identity, where = self._owners[index]
                what = (
                    f"{self._value_name(place)} is {column[index]:g}, the median {np.nanmedian(column):g}: "
                    f"robust z-score {scores[index]:.1f}"
                )
                fix = "Check the number and its unit; a true extreme may stay (doctor.outlier is the limit)."
                numbers = {"value": float(column[index]), "robust_z": float(scores[index])}
                yield Finding("outlier", "warning", what, where, fix, (identity,), numbers=numbers)

    def _columns(self) -> np.ndarray:
        """float64 [K, examples with numbers]; none where they do not all have as many."""
        count = len(self._owners)
        return (
            np.array(self._values).reshape(count, -1).T if count and not len(self._values) % count else np.zeros((0, 0))
        )

    def measures(self) -> dict[str, np.ndarray]:
        """What each number is called -> float64 [n], NaN where it is not known."""
        named = {}
        for place, column in enumerate(self._columns()):
            named[self._value_name(place)] = np.full(self._count, np.nan)
            named[self._value_name(place)][self._indices] = column
        return named


def robust_scores(values: np.ndarray) -> np.ndarray:
    """Distance of each number from the median in robust standard deviations; 0 for NaN and where all are the same.

    B. Iglewicz, D. Hoaglin, "How to Detect and Handle Outliers", 1993, section 3.
    """
    known = values[np.isfinite(values)]
    if len(known) < FEWEST_NUMBERS:
        return np.zeros(len(values))
    distances = np.abs(known - np.median(known))
    scale = MAD_TO_DEVIATION * np.median(distances) or MEAN_TO_DEVIATION * distances.mean()
    return np.nan_to_num((values - np.median(known)) / scale) if scale else np.zeros(len(values))


def text_findings(example: RawExample, text: str) -> Iterator[Finding]:
    """A text that is empty, or holds what a reader does not see."""
    if not text.strip():
        yield _of(example, "empty_text", "warning", "the text is empty", "Fill it in or remove the example.")
    for character, what in _unusual(text):
        shown = f"the text {text!r} holds {what}, U+{ord(character):04X}"
        yield _of(example, "unusual_text", "warning", shown, "Remove it, or read the file with its true encoding.")
    if not unicodedata.is_normalized(NORMAL_FORM, text):
        what = f"the text {text!r} is not in the normal form {NORMAL_FORM}: the same letters may be spelt in two ways"
        yield _of(example, "mixed_normal_forms", "warning", what, f"Normalise all texts to {NORMAL_FORM}.")
    if text != text.strip() and text.strip():
        what = f"the text {text!r} begins or ends with spaces"
        yield _of(example, "spaces_around_text", "note", what, "Remove them if they do not belong to the text.")


def _unusual(text: str) -> Iterator[tuple[str, str]]:
    """Each unusual character once."""
    for character in dict.fromkeys(text):
        if character == REPLACEMENT:
            yield character, "the mark of a character that could not be decoded"
        elif character not in USUAL and (what := UNUSUAL.get(unicodedata.category(character))):
            yield character, what


def unknown_class(name: str, known: Collection[str] | None, identity: str, where: str) -> Iterator[Finding]:
    """A class that the source does not name."""
    if known is not None and name not in known:
        what = f"the class {name!r} is not one of the source's"
        yield Finding("unknown_class", "error", what, where, f"Correct it. {nearest(name, known)}", (identity,))


def _of(example: RawExample, kind: str, severity: Severity, what: str, fix: str) -> Finding:
    return Finding(kind, severity, what, example.where, fix, (example.id,))
