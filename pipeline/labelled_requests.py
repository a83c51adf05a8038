"""How good the answers were that a server gave: logged answers against labels that were added later."""

from __future__ import annotations

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
from pipeline.wording import quantity


@dataclass(frozen=True)
class LabelledRequest:
    """A logged picture of which the truth is known.

    Args:
        picked: how it was picked for labelling; empty where the table does not say.
    """

    name: str
    labels: Mapping[str, Any]
    picked: str


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
        """Whether the figure is about production, not about pictures that were picked for what they are."""
        return set(self.picked) <= {"random", ""}

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"metric": self.metric, "value": self.value, "labelled": self.labelled, "picked": dict(self.picked)}

    def as_text(self) -> str:
        """The same for people."""
        text = f"{self.metric} {self.value:.4f} over {quantity(self.labelled, 'labelled request')}"
        if self.is_fair:
            return text
        how = ", ".join(f"{count} {how}" for how, count in sorted(self.picked.items()) if how)
        return f"{text}, not all of which are a fair draw ({how}): this is not the figure of production"


def score(log: RequestLog, choice: Choice, table: Path, model: Model) -> Score:
    """The task's metric of the logged answers; rows without a label do not count, but an empty list of classes is one:
    that none of them is there.

    Raises:
        DataError: the table cannot be read, names a class that the task does not have, or labels no logged picture.
    """
    labelled = _labelled(table, model)
    answers, known = [], []
    for picture in log.pictures([name for name in log.ids(choice) if name in labelled]):
        prediction = model.translation.predictions(picture)
        if prediction is not None:
            known.append(labelled[picture.id])
            answers.append({name: value[np.newaxis] for name, value in prediction.items()})
    judge = TaskJudge(model.task)
    value = judge.score(known, answers)
    if value is None:
        raise DataError(
            f"{table} labels no picture of {log.folder} that was answered. Fill in its columns, and keep the column "
            "`id`, by which pictures are known."
        )
    return Score(judge.metric, value, len(known), Counter(one.picked for one in known))


def _labelled(table: Path, model: Model) -> dict[str, LabelledRequest]:
    """By id, of the rows that are filled in."""
    source = Table(path=table, id_column=ID, **columns_to_fill(model.task))
    if PICKED in source.column_names():
        source = source.model_copy(update={"text_column": PICKED})
    source.check()
    found = {}
    for example in source.examples():
        labels = labels_of(example, model.task)
        if not labels and (example.label or example.labels):
            raise DataError(
                f"{example.where}: {example.label or example.labels!r} is no class of the task. "
                f"Valid: {', '.join(model.task.output_names)}."
            )
        if labels and not _is_empty(labels):
            found[example.id] = LabelledRequest(example.id, labels, example.text or "")
    return found


def _is_empty(labels: Mapping[str, Any]) -> bool:
    """Whether nothing was filled in where numbers are expected."""
    return any(np.all(np.isnan(np.asarray(value, np.float64))) for value in labels.values())
