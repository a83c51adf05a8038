"""Pictures to compare two models by, labelled wherever something says what is on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline import console
from pipeline.answers import same_answer
from pipeline.data.example import ID, IMAGE, LABEL, LABELS, VALUE, RawExample, content_of
from pipeline.data.pictures import BadPicture, picture_to_send
from pipeline.data.requests.reader import Choice, RequestLog, drawn
from pipeline.data.requests.writer import whole_shards
from pipeline.data.sources.base import files_below, is_picture, shortened
from pipeline.data.store import CONTENT, Store
from pipeline.errors import DataError
from pipeline.metrics.base import Arrays
from pipeline.run import Run
from pipeline.tasks import Task
from pipeline.wording import quantity


class Labelled(Protocol):
    """A picture with what is known of it."""

    @property
    def name(self) -> str:
        """Its path or id."""

    @property
    def labels(self) -> Mapping[str, Any]:
        """The Example's label fields, one value each."""


@dataclass(frozen=True)
class LabelledPicture:
    """One picture.

    Args:
        name: its path or id.
        data: encoded, upright.
        labels: the Example's label fields, one value each; empty where nothing is known.
    """

    name: str
    data: bytes
    labels: Mapping[str, Any] = field(default_factory=dict)


class TaskJudge:
    """Compares and scores a task's predictions."""

    def __init__(self, task: Task):
        self._task = task
        self.metric = task.metric.name

    def same(self, stable: Arrays, canary: Arrays) -> bool:
        """Whether two predictions of one picture, [1, ...] each, are the same answer, however sure each is of it."""
        answers = [self._task.answer({name: value[0] for name, value in one.items()}) for one in (stable, canary)]
        return same_answer(*answers)

    def score(self, pictures: Sequence[Labelled], answers: Sequence[Arrays]) -> float | None:
        """The task's metric over labelled pictures; None where there are none."""
        if not pictures:
            return None
        evaluator = self._task.evaluator()
        names = pictures[0].labels.keys()
        examples = {name: np.stack([picture.labels[name] for picture in pictures]) for name in names}
        ids = np.array([picture.name for picture in pictures])
        evaluator.update(
            {ID: ids, **examples}, {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}
        )
        return float(evaluator.result()[self.metric])

    def drop(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`, in the metric's unit."""
        return self._task.metric.drop(before, after)


def pictures_of(place: Path, task: Task, most: int) -> list[LabelledPicture]:
    """At most `most` pictures, spread evenly over what there is.

    Args:
        place: a Run (its evaluation split), a prepared data set, a request log, a folder of pictures with one folder
            per class or without, a CSV or Parquet table.
        task: whose classes and targets labels are to be in.

    Raises:
        DataError: there is no picture.
    """
    if Run(place).data.is_file() or (place / CONTENT).is_file():
        return _of_store(Run(place).store if Run(place).data.is_file() else place, task, most)
    if place.is_dir() and whole_shards(place):
        return _of_log(RequestLog(place), most)
    examples = _of_source(place)
    chosen = [examples[number] for number in _spread(len(examples), most)]
    found, bad = [], []
    for example in chosen:
        try:
            found.append(LabelledPicture(example.id, _encoded(example.image), labels_of(example, task)))
        except (BadPicture, OSError) as error:
            bad.append(f"{example.id} ({error})")
    if bad:
        console.warn(f"{len(bad)} of {quantity(len(chosen), 'picture')} cannot be read: {shortened(bad)}")
    return found


def _of_store(folder: Path, task: Task, most: int) -> list[LabelledPicture]:
    from pipeline.data.cache import records
    from pipeline.data.input import evaluation_split

    store = Store.open(folder)
    split = evaluation_split(store.info)
    wanted = set(_spread(store.info.num_examples[split], most))
    parsed = (
        example
        for number, example in enumerate(records(store, split).map(store.parse).as_numpy_iterator())
        if number in wanted
    )
    fields = [name for name in (LABEL, LABELS, VALUE) if name in store.info.fields]
    return [
        LabelledPicture(one[ID].decode("utf-8", "replace"), one[IMAGE], {name: one[name] for name in fields})
        for one in parsed
    ]


def _of_log(log: RequestLog, most: int) -> list[LabelledPicture]:
    ids = [name for shard in log.shards for name in shard.ids(Choice())]
    return [LabelledPicture(one.id, one.image) for one in log.pictures(drawn(ids, most))]


def _of_source(place: Path) -> list[RawExample]:
    """What a folder or table holds; pictures alone where nothing says what is on them."""
    from pipeline.inspect_folder import inspect

    if not place.exists():
        raise DataError(f"There is no {place}. Give a folder of pictures, a table, a prepared data set or a Run.")
    try:
        return list(inspect(place).source.examples())
    except DataError:
        files = [file for file in files_below(place) if is_picture(file)] if place.is_dir() else []
        if not files:
            raise
    console.say(f"nothing in {place} says what the pictures show: no metric")
    return [RawExample(str(file.relative_to(place)), file) for file in files]


def labels_of(example: RawExample, task: Task) -> dict[str, Any]:
    """The label fields of an example; none where it has none, or names that the task does not know."""
    index = {name: number for number, name in enumerate(task.output_names)}
    if example.label in index:
        return {LABEL: np.int64(index[example.label])}
    if example.labels is not None and set(example.labels) <= index.keys():
        present = np.array([name in example.labels for name in index], np.float32)
        present[[index[name] for name in example.labels_unknown if name in index]] = np.nan
        return {LABELS: present}
    if example.value is not None and len(example.value) == len(index):
        return {VALUE: np.array(example.value, np.float32)}
    return {}


def _encoded(image: Any) -> bytes:
    return picture_to_send(content_of(image)).data


def _spread(count: int, most: int) -> Iterator[int]:
    """At most `most` numbers below `count`, evenly apart."""
    return iter(sorted({int(place) for place in np.linspace(0, max(count - 1, 0), min(most, count))}))
