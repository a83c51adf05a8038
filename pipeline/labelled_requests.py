"""How good the answers were that a server gave: logged answers against labels that were added later."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.requests.reader import Choice, RequestLog
from pipeline.data.sources import Table
from pipeline.drift.picking import ID, PICKED, Model, columns_to_fill
from pipeline.errors import DataError
from pipeline.labelled_pictures import TaskJudge, labels_of


@dataclass(frozen=True)
class LabelledRequest:
    """A logged picture of which the truth is known."""

    name: str
    labels: Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """What came of it.

    Args:
        picked: how the pictures were picked for labelling -> how many.
    """

    metric: str
    value: float
    labelled: int
    picked: Mapping[str, int]

    @property
    def is_fair(self) -> bool:
        """Whether the figure is about production, not about pictures that were picked for being hard."""
        return set(self.picked) <= {"random", ""}

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"metric": self.metric, "value": self.value, "labelled": self.labelled, "picked": dict(self.picked)}

    def as_text(self) -> str:
        """The same for people."""
        text = f"{self.metric} {self.value:.4f} over {self.labelled} labelled requests"
        return text if self.is_fair else f"{text}, of which some were picked for being hard: production is better"


def score(log: RequestLog, choice: Choice, table: Path, model: Model) -> Score:
    """The task's metric of the logged answers; rows without a label do not count.

    Raises:
        DataError: the table cannot be read, names a class that the task does not have, or labels no logged picture.
    """
    labelled = _labelled(table, model)
    answers, known = [], []
    for picture in log.pictures([name for name in log.ids(choice) if name in labelled]):
        prediction = model.translation.predictions(picture)
        if prediction is not None:
            known.append(LabelledRequest(picture.id, labelled[picture.id]))
            answers.append({name: value[np.newaxis] for name, value in prediction.items()})
    judge = TaskJudge(model.task)
    value = judge.score(known, answers)
    if value is None:
        raise DataError(
            f"{table} labels no picture of {log.folder} that was answered. Fill in its columns, and keep the column "
            "`id`, by which pictures are known."
        )
    picked = _picked(table)
    return Score(judge.metric, value, len(known), Counter(picked.get(one.name, "") for one in known))


def _labelled(table: Path, model: Model) -> dict[str, dict[str, Any]]:
    """Id -> label fields, of the rows that are filled in."""
    source = Table(path=table, id_column=ID, **columns_to_fill(model.task))
    source.check()
    found = {}
    for example in source.examples():
        labels = labels_of(example, model.task)
        if not labels and (example.label or example.labels):
            raise DataError(
                f"{example.where}: {example.label or example.labels!r} is no class of the task. "
                f"Valid: {', '.join(model.task.output_names)}."
            )
        if labels and not _is_empty(labels, example):
            found[example.id] = labels
    return found


def _is_empty(labels: Mapping[str, Any], example: Any) -> bool:
    """Whether nothing was filled in; an empty list of classes cannot be told from a row that nobody looked at."""
    if example.labels is not None:
        return not example.labels
    return any(np.all(np.isnan(np.asarray(value, np.float64))) for value in labels.values())


def _picked(table: Path) -> dict[str, str]:
    with table.open(encoding="utf-8-sig", newline="") as stream:
        return {row[ID]: row.get(PICKED) or "" for row in csv.DictReader(stream)}
