"""What production is compared with: a Run's pictures, as its model sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from models.stack import keras
from pipeline import console
from pipeline.data.cache import records
from pipeline.data.example import IMAGE, TRAIN
from pipeline.data.input import evaluation_split
from pipeline.data.store import Store
from pipeline.drift.look import Looked, Looker
from pipeline.run import Run
from pipeline.tasks import Task


@dataclass(frozen=True)
class Training:
    """Pictures of the training split.

    Args:
        store: the Run's data.
        looker: shows pictures to the Run's model.
        looked: the pictures.
    """

    store: Store
    looker: Looker
    looked: Looked

    @classmethod
    def of(cls, run: Run, task: Task, model: keras.Model, most: int) -> Training:
        """At most `most` pictures; RunError or DataError where the Run has no data."""
        store, looker = Store.open(run.store), Looker(task, model)
        return cls(store, looker, look_at(store, TRAIN, looker, most))

    def held_out(self, most: int) -> Looked:
        """Pictures that the model was not trained on."""
        return look_at(self.store, evaluation_split(self.store.info), self.looker, most)


def look_at(store: Store, split: str, looker: Looker, most: int) -> Looked:
    """At most `most` pictures of a split. A store has them in the order of a hash: the first are a fair draw."""
    count = min(most, store.info.num_examples[split])
    with console.progress(split) as progress:
        return looker.look(islice(_pictures(store, split), count), progress, count)


def _pictures(store: Store, split: str) -> Iterator[bytes]:
    for example in records(store, split).map(store.parse).as_numpy_iterator():
        yield example[IMAGE]
