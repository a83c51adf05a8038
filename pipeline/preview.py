"""`convoy preview`: a contact sheet of training pictures as they are read and as the model sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from models.stack import tf
from pipeline.augment.mixing import check_fields, whole_groups
from pipeline.data import cache
from pipeline.data.example import EPOCH, TRAIN, Example
from pipeline.data.input import reading_of, require_examples
from pipeline.data.order import RECORD
from pipeline.data.reading import decode_batches
from pipeline.drawing import Cell, Names, Values, captions, drawn, sheet

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.augment import Augmentation
    from pipeline.config import Config
    from pipeline.data.store import Store
    from pipeline.tasks import Task

VERSIONS = 3
"""Augmented pictures beside each original."""
LEAST_WIDTH = 190
"""Of a picture on the sheet, in pixels; smaller ones are enlarged by a whole factor."""


def contact_sheet(config: Config, store: Store, task: Task, count: int) -> Image.Image:
    """Some training pictures, a row each: as evaluation sees it, then as the first epochs of a training see it.

    Args:
        count: pictures; a few more where whole groups are mixed.
    """
    names = Names.of(store.info)
    columns = [read_examples(config, store, task, (), count)]
    columns += [read_examples(config, store, task, config.augment, count, epoch) for epoch in range(VERSIONS)]
    cells = [[Cell(drawn(one, names, LEAST_WIDTH), captions(one, names)) for one in column] for column in columns]
    headings = ["as read", *(f"epoch {epoch + 1}" for epoch in range(VERSIONS))]
    return sheet(headings, list(zip(*cells, strict=True)))


def read_examples(
    config: Config, store: Store, task: Task, operations: Sequence[Augmentation], count: int, epoch: int = 0
) -> list[Values]:
    """The first training examples of the store (it holds them in random order), augmented as in an epoch.

    Args:
        count: how many; a few more where the Config mixes whole groups of them.
    """
    require_examples(store, TRAIN)
    check_fields(operations, store.info.fields)
    number = whole_groups(config.augment, count)
    reading = reading_of(store, task, operations, config.input, number, config.seed)
    records = cache.records(store, TRAIN).repeat().take(number).batch(number)
    batches = records.map(lambda records: {RECORD: records, EPOCH: tf.fill([number], tf.constant(epoch, tf.int64))})
    return list(one_by_one(decode_batches(batches, reading).get_single_element()))


def one_by_one(batch: Example) -> Iterator[Values]:
    """The examples of a batch as numpy values without a batch axis."""
    columns = {name: values.numpy() for name, values in batch.items()}
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))
