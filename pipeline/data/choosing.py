"""A few examples of a split, such as those that calibrate: which they are, and their pictures.

n = examples, N = objects of one, K = classes, H, W, C = the model's pictures.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import numpy as np

from models import preprocess
from models.stack import tf
from pipeline.augment import random
from pipeline.data import cache
from pipeline.data.example import CLASSES, ID, IMAGE, LABEL, LABELS, NO_OBJECT, Example
from pipeline.data.input import require_examples
from pipeline.data.sampling import pairs_of_indices

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.data.store import Store
    from pipeline.tasks.base import Task

Balance = Literal["classes", "natural"]
"""How examples are chosen: the classes in turns, or as frequent as they are."""


def choose_examples(
    store: Store, split: str, count: int, seed: int, balance: Balance = "classes"
) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` examples, drawn by a hash of seed and id.

    Args:
        balance: `classes` takes the classes in turns where there are classes (an example with several counts for its
            rarest), so that rare ones are there; `natural` leaves them as frequent as they are.

    Returns:
        Their numbers in the split, int64 [n], and the class of each, int64 [n] (see `class_of`).
    """
    require_examples(store, split)

    def facts(record: tf.Tensor) -> Example:
        example = store.parse(record)
        kept = {name: example[name] for name in (LABEL, LABELS, CLASSES) if name in example}
        return {**kept, "hash": random.uniform(random.keys(example[ID], tf.zeros([], tf.int64), seed), 0, 1)[0]}

    examples = cache.records(store, split).map(facts, num_parallel_calls=os.cpu_count(), deterministic=True)
    columns = {name: values.numpy() for name, values in cache.collect(examples, store.info.num_examples[split]).items()}
    hashes, classes = columns["hash"], class_of(columns)
    turns = turns_of(classes, hashes) if balance == "classes" else np.zeros(len(hashes), np.int64)
    numbers = np.lexsort([hashes, turns])[:count]
    return numbers, classes[numbers]


def turns_of(classes: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """How many examples of the same class have a smaller hash, int64 [n]."""
    by_class = np.lexsort([hashes, classes])
    firsts = np.searchsorted(classes[by_class], classes[by_class])  # where the example's class begins
    turns = np.empty(len(by_class), np.int64)
    turns[by_class] = np.arange(len(by_class)) - firsts
    return turns


def class_of(columns: dict[str, np.ndarray]) -> np.ndarray:
    """One class for each example, int64 [n]: its label, the rarest of its labels or of its objects' classes (-1 where
    it has none), or 0 for all."""
    if LABEL in columns:
        return columns[LABEL]
    if LABELS not in columns and CLASSES not in columns:
        return np.zeros(len(columns["hash"]), np.int64)
    labels = columns[LABELS] > 0 if LABELS in columns else shown(columns[CLASSES])
    rarity = np.where(labels, labels.sum(axis=0), np.iinfo(np.int64).max)
    return np.where(labels.any(axis=1), rarity.argmin(axis=1), -1)


def shown(classes: np.ndarray) -> np.ndarray:
    """Which classes the objects of each example are of: int64 [n, N] -> bool [n, K]."""
    present = np.zeros((len(classes), max(classes.max(initial=NO_OBJECT), 0) + 1), bool)
    present[pairs_of_indices(classes)] = True
    return present


def pictures_of(store: Store, task: Task, split: str, numbers: np.ndarray) -> np.ndarray:
    """The examples of these numbers, uint8 [n,H,W,C], as the model sees them, in the store's order. Only these are
    decoded."""
    numbered = cache.records(store, split).enumerate()
    wanted = tf.scatter_nd(numbers[:, np.newaxis], np.ones(len(numbers), bool), [store.info.num_examples[split]])
    records = numbered.filter(lambda number, _: wanted[number])

    def decode(_: tf.Tensor, record: tf.Tensor) -> tf.Tensor:
        return preprocess.decode_and_fit(store.parse(record)[IMAGE], task.picture)

    pictures = records.map(decode, num_parallel_calls=os.cpu_count(), deterministic=True)
    return np.stack(list(pictures.as_numpy_iterator()))
