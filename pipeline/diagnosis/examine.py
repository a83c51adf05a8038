"""READ FIRST: how the data of a configuration is examined. Nothing of it is ever written to.

1. The survey that `prepare` makes says which example is in which split; what it refuses is a finding.
2. Every picture is read once, in threads, measured and dropped; its labels are looked at on the way.
3. What shows only when all are known: duplicates, classes, outliers, drift.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline import console
from pipeline.data.example import SPLITS, RawExample
from pipeline.data.imputation import MissingColumns
from pipeline.data.pictures import BadPicture
from pipeline.data.pool import in_order
from pipeline.data.sources import DataSource
from pipeline.data.splits import UNNAMED, Splits, assign, unit_of
from pipeline.data.survey import Survey, assigned, require_splits, survey
from pipeline.data.targets import MissingClasses, MissingLabels
from pipeline.diagnosis.distribution import ClassTally, distribution_findings, picture_measures, statistics
from pipeline.diagnosis.drift import drift_findings, drifts
from pipeline.diagnosis.duplicates import duplicate_findings
from pipeline.diagnosis.facts import Collected, PictureFacts, measure
from pipeline.diagnosis.findings import Diagnosis, Finding, sorted_findings
from pipeline.diagnosis.labels import LabelCheck
from pipeline.diagnosis.objects import mask_findings, object_findings
from pipeline.diagnosis.pictures import picture_findings, too_many_unusable
from pipeline.diagnosis.settings import DoctorSettings
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.data.prepare import DataSettings


@dataclass(frozen=True)
class Subject:
    """What is examined: the part of DataSettings that matters here.

    Args:
        source: where the examples come from.
        splits: how they are split.
        excluded: splits that are left out.
        missing_classes, missing_labels, max_bad_pictures, missing_columns: as in DataSettings.
    """

    source: DataSource
    splits: Splits = field(default_factory=Splits)
    excluded: tuple[str, ...] = ()
    missing_classes: MissingClasses = "auto"
    missing_labels: MissingLabels = "refuse"
    max_bad_pictures: float = 0.05
    missing_columns: MissingColumns = field(default_factory=MissingColumns)


def subject_of(data: DataSettings) -> Subject:
    """What the data settings of a configuration say."""
    return Subject(
        data.source,
        data.splits,
        data.exclude_splits,
        data.missing_classes,
        data.missing_labels,
        data.max_bad_pictures,
        data.missing_columns,
    )


@dataclass
class Examination:
    """What has been seen so far.

    Args:
        subject, settings: what is examined, with which limits.
        codes: int8 [n], place of every example in SPLITS, or UNNAMED for those left out; None where the survey failed.
    """

    subject: Subject
    settings: DoctorSettings
    codes: np.ndarray | None
    findings: list[Finding]
    collected: Collected = field(default_factory=Collected)
    _given: array[int] = field(default_factory=lambda: array("b"))
    _units: array[int] = field(default_factory=lambda: array("Q"))

    def __post_init__(self) -> None:
        names = self.subject.source.class_names()
        self._class_names = names
        self._tally = ClassTally(names)
        self._labels = LabelCheck(names, self.subject.source.value_names(), self.subject.missing_labels)

    def look_at_all(self) -> None:
        """Step 2.

        Raises:
            DataError: there is nothing to look at.
        """
        total = None if self.codes is None else int(np.count_nonzero(self.codes != UNNAMED))
        with console.progress("examine") as progress:
            for example, facts in in_order(_measured, self._chosen(), lambda _: True):
                self._look(example, facts)
                progress(len(self.collected), total)
        if not len(self.collected):
            raise DataError(self.findings[0].what if self.findings else "The source holds no pictures.")
        self.collected.splits = self._final_codes()

    def _chosen(self) -> Iterator[RawExample]:
        """The examples that have a split. An error of the source ends them; those before it still count."""
        try:
            for index, example in enumerate(self.subject.source.examples()):
                if self.codes is None or (index < len(self.codes) and self.codes[index] != UNNAMED):
                    self._units.append(unit_of(example.id, example.group))
                    self._given.append(UNNAMED if example.split is None else SPLITS.index(example.split))
                    yield example
        except DataError as error:
            if not any(str(error) == finding.what for finding in self.findings):
                self.findings.append(_refused(str(error)))

    def _look(self, example: RawExample, facts: PictureFacts | BadPicture) -> None:
        usable = None if isinstance(facts, BadPicture) else facts
        self.collected.add(example, usable)
        if usable is None:
            self._tally.add_unusable(example)
        else:
            self._tally.add(example)
        self.findings += picture_findings(example, facts, self.settings)
        self.findings += self._labels.findings(example)
        if usable is not None:
            self.findings += object_findings(example, usable, self._class_names, self.settings)
            self.findings += mask_findings(example, usable, self._class_names)

    def _final_codes(self) -> np.ndarray:
        """The splits of those that were looked at; without the survey, as if all of them were alike."""
        if self.codes is not None:
            return self.codes[self.codes != UNNAMED][: len(self.collected)]
        count = len(self.collected)
        units, given = np.array(self._units, np.uint64)[:count], np.array(self._given, np.int8)[:count]
        return assign(self.subject.splits, given, units, np.zeros(count, np.int64))

    def conclude(self) -> Diagnosis:
        """Step 3."""
        collected, subject, settings = self.collected, self.subject, self.settings
        unusable = int(np.count_nonzero(~collected.usable))
        self.findings += too_many_unusable(unusable, len(collected), subject.max_bad_pictures)
        self.findings += self._labels.last_findings(settings)
        with console.progress("compare") as progress:
            self.findings += duplicate_findings(collected, settings, progress)
        self.findings += distribution_findings(self._tally, collected.splits, subject.missing_classes, settings)
        measures = {**picture_measures(collected), **self._labels.measures()}
        drifted = drifts(self._tally, measures, collected.splits, settings)
        self.findings += drift_findings(drifted)
        figures = statistics(collected, self._tally) | {"drift": [one.as_document() for one in drifted]}
        return Diagnosis(sorted_findings(self.findings), figures)


def examine(subject: Subject, settings: DoctorSettings) -> Diagnosis:
    """All that is found in the data.

    Raises:
        DataError: there is nothing to look at.
    """
    findings: list[Finding] = []
    codes = _planned(subject, findings)
    findings += [Finding("passed_over", "note", warning) for warning in subject.source.warnings()]
    examination = Examination(subject, settings, codes, findings)
    examination.look_at_all()
    return examination.conclude()


def _planned(subject: Subject, findings: list[Finding]) -> np.ndarray | None:
    """The splits as `prepare` would make them, or a finding that says why it would not.

    What is not known of the labels does not end the survey: each such label is a finding of its own.
    """
    try:
        subject.source.check()
        with console.progress("survey") as progress:
            surveyed = survey(subject.source, progress, "mask", subject.missing_columns)
        if subject.missing_labels == "mask":
            surveyed.target.require_maskable()
        codes, warnings = assigned(surveyed, subject.splits)
    except DataError as error:
        findings.append(_refused(str(error)))
        return None
    findings += [Finding("left_out", "note", warning) for warning in warnings]
    codes[np.isin(codes, [SPLITS.index(split) for split in subject.excluded])] = UNNAMED
    findings += map(_refused, _refusals(surveyed, codes))
    return codes


def _refusals(surveyed: Survey, codes: np.ndarray) -> Iterator[str]:
    """What `prepare` says against splits that have been assigned. A class that one of them lacks is a finding of its
    own (`absent_class`)."""
    for require in (
        lambda: require_splits(surveyed, codes),
        lambda: surveyed.target.check(codes, "warn"),
        lambda: surveyed.side.settle(codes),
    ):
        try:
            require()
        except DataError as error:
            yield str(error)


def _refused(what: str) -> Finding:
    return Finding(
        "refused", "error", what, fix="The data cannot be prepared like this; correct what the message says."
    )


def _measured(example: RawExample) -> PictureFacts | BadPicture:
    if example.unusable:
        return BadPicture(example.unusable)
    return measure(example.image)
