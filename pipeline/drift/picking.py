"""Which logged pictures to label, and writing them as files with a table to fill in.

The table is one that `data.source.kind: table` reads, once its empty columns are filled in.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.stack import keras
from pipeline import console
from pipeline.answers import said
from pipeline.data.example import LABEL, LABELS, VALUE
from pipeline.data.requests.picture import LoggedPicture
from pipeline.data.requests.reader import Choice, RequestLog, as_time, different, drawn
from pipeline.data.splits import key_of
from pipeline.drift.features import novelty
from pipeline.drift.logged import Translation
from pipeline.drift.reference import Training
from pipeline.errors import ConfigError, DataError
from pipeline.files import new_folder
from pipeline.predict import in_words
from pipeline.run import Run
from pipeline.tasks import Task
from pipeline.trained import load_model, load_task
from pipeline.wording import quantity

Pick = Literal["random", "unsure", "far"]
TABLE = "requests.csv"
ID, PICKED = "id", "picked"
FIXED = ("image", ID, "time", "model", "version", "signature", "answer", PICKED)
PNG = b"\x89PNG"
LOOKED_AT = 2000
"""Pictures of the log that `far` chooses among: each is shown to the model."""


@dataclass(frozen=True)
class Model:
    """A Run's model, as far as labelling needs it.

    Args:
        task: resolved.
        model: trained.
        translation: what logged outputs mean.
    """

    run: Run
    task: Task
    model: keras.Model
    translation: Translation

    @classmethod
    def of(cls, run: Run) -> Model:
        """Raises RunError where the Run has no trained model."""
        task, model = load_task(run), load_model(run)
        blank = task.serving_model(model)(np.zeros([1, *task.picture.shape], np.uint8), training=False)
        return cls(run, task, model, Translation(task, {name: value.numpy() for name, value in blank.items()}))

    def answer(self, picture: LoggedPicture) -> dict[str, Any] | None:
        """What the server answered, in plain values; None where that does not fit the task."""
        prediction = self.translation.predictions(picture)
        return None if prediction is None else self.task.answer(prediction)


def columns_to_fill(task: Task) -> dict[str, Any]:
    """The settings of a table source that name the columns in which a label is written."""
    columns: dict[str, dict[str, Any]] = {
        LABEL: {"label_column": "label"},
        LABELS: {"labels_column": "labels"},
        VALUE: {"value_columns": list(task.output_names)},
    }
    return columns[task.label_field]


def column_names(task: Task) -> list[str]:
    """The columns to fill in."""
    (named,) = columns_to_fill(task).values()
    return named if isinstance(named, list) else [named]


def pick(log: RequestLog, choice: Choice, how: Pick, count: int, model: Model) -> list[str]:
    """The ids of at most `count` pictures, no file twice.

    Raises:
        ConfigError: `unsure`, and the answers say nothing of how sure they are.
        DataError: nothing fits the choice.
    """
    ids = log.ids(choice)
    if how == "far":
        return _furthest(log, drawn(ids, LOOKED_AT), count, model)
    ranks = {picture.id: rank for picture, rank in _ranked(log.pictures(ids), how, model)}
    return sorted(ranks, key=lambda name: (ranks[name], name))[:count]


def write(log: RequestLog, ids: Sequence[str], folder: Path, how: Pick, model: Model) -> Path:
    """Writes the pictures and the table; gives the table's path.

    Raises:
        ConfigError: there is something in the folder.
        StorageError: it cannot be written; nothing half-written is left.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} holds something already, and labels may be in it. Give another folder with --to.")
    fill = column_names(model.task)
    with new_folder(folder) as temporary, (temporary / TABLE).open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow((*FIXED, *fill))
        for picture in log.pictures(ids):
            name = f"{picture.id}.{'png' if picture.image.startswith(PNG) else 'jpg'}"
            (temporary / name).write_bytes(picture.image)
            table.writerow((*_row(picture, name, how, model), *[""] * len(fill)))
    return folder / TABLE


def _row(picture: LoggedPicture, name: str, how: Pick, model: Model) -> tuple[Any, ...]:
    answer = model.answer(picture)
    told = "" if answer is None else in_words(answer)
    known = (picture.model, picture.version, picture.signature)
    return (name, picture.id, as_time(picture.seconds), *known, told, how)


def _ranked(pictures: Iterable[LoggedPicture], how: Pick, model: Model) -> Iterator[tuple[LoggedPicture, float]]:
    """Each file once, with what puts it first or last."""
    found = False
    for picture in different(pictures):
        if how == "random":
            yield picture, float(key_of(picture.id))
            continue
        answer = model.answer(picture)
        scores = () if answer is None else said(answer).scores
        found = found or bool(scores)
        yield picture, min(scores, default=np.inf)
    if how == "unsure" and not found:
        raise ConfigError("--pick unsure goes by the answers' scores, and these have none. Use --pick far or random.")


def _furthest(log: RequestLog, ids: Sequence[str], count: int, model: Model) -> list[str]:
    names: list[str] = []

    def files() -> Iterator[bytes]:
        for picture in different(log.pictures(ids)):
            names.append(picture.id)
            yield picture.image

    training = Training.of(model.run, model.task, model.model, LOOKED_AT)
    with console.progress("requests") as progress:
        looked = training.looker.look(files(), progress, len(ids))
    if not len(looked):
        raise DataError(f"None of {quantity(len(names), 'picture')} of the log can be decoded.")
    far = novelty(training.looked.features, looked.features)
    return [names[looked.usable[place]] for place in np.argsort(-far, kind="stable")[:count]]
