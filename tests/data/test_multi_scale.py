"""Batches at several scales: the same examples in the same order, at sizes that change every few steps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment.geometry import HorizontalFlip
from pipeline.data import input, several_sizes
from pipeline.data.input import InputSettings
from pipeline.data.memory import memory_plan
from pipeline.data.multi_scale import MultiScale
from pipeline.data.store import Store
from pipeline.errors import ConfigError
from pipeline.tasks import Detection
from pipeline.tasks.base import Task
from tests.data.stores import make_store
from tests.data.test_buckets import BATCH, TASK, OfOneSize, numbers

EVERY = 3
SCALES = MultiScale(scale=(0.6, 2.0), multiple_of=4, every=EVERY)
SIZES = SCALES.sizes(TASK.picture)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("store"), {"train": 21, "validation": 2}, [(20, 20)], channels=3)


def stream(store: Store, first: int, count: int, context: Any = None, **settings: Any) -> list[dict[str, np.ndarray]]:
    options = InputSettings(**{"multi_scale": SCALES, **settings})
    batches = input.training_batches(store, TASK, (HorizontalFlip(),), options, BATCH, 5, first, context)
    return [inputs for inputs, _ in itertools.islice(batches.as_numpy_iterator(), count)]


def test_sizes_are_multiples_in_the_picture_s_proportions() -> None:
    yolo = MultiScale(scale=(320 / 416, 608 / 416)).sizes(PictureFormat(height=416, width=416))
    assert yolo == tuple((side, side) for side in range(320, 609, 32))
    wide = MultiScale(scale=(0.9, 1.3)).sizes(PictureFormat(height=96, width=160))
    assert wide == ((96, 160),)
    assert MultiScale(scale=(0.6, 1.4)).sizes(PictureFormat(height=96, width=160)) == ((64, 96), (96, 160), (128, 224))


def test_examples_come_in_the_order_of_one_size_and_sizes_change_every_few_steps(store: Store) -> None:
    batches = stream(store, 0, 24)
    alone = stream(store, 0, 24, multi_scale=None, cache="encoded")
    assert [numbers(one) for one in batches] == [numbers(one) for one in alone]
    sizes = [one["image"].shape[1:3] for one in batches]
    blocks = [set(sizes[start : start + EVERY]) for start in range(0, 24, EVERY)]
    assert all(len(block) == 1 for block in blocks)
    assert len(set(sizes)) > 1 and set(sizes) <= set(SIZES) == {(8, 8), (12, 12), (16, 16), (20, 20), (24, 24)}
    for one, other in zip(batches, alone, strict=True):  # what is drawn for an example does not depend on its size
        if one["image"].shape == other["image"].shape:
            np.testing.assert_array_equal(one["image"], other["image"])


def test_training_says_at_which_sizes(store: Store) -> None:
    said = several_sizes.described(store, TASK, InputSettings(multi_scale=SCALES))
    assert said.endswith(": 8 x 8, 12 x 12, 16 x 16, 20 x 20, 24 x 24")
    assert "8 x 16: 21" in several_sizes.described(store, TASK, InputSettings(buckets=((8, 16), (16, 8))))
    assert not several_sizes.described(store, TASK, InputSettings())


def test_all_sizes_come_as_often() -> None:
    steps = tf.range(3000, dtype=tf.int64) * EVERY
    drawn = SCALES.number_at(steps, 5, seed=1).numpy()
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 3000, 0.2, atol=0.03)
    assert (drawn != SCALES.number_at(steps, 5, seed=2).numpy()).mean() > 0.7


@pytest.mark.parametrize("first", [1, 7])
def test_a_resumed_stream_is_the_same_bit_for_bit(store: Store, first: int) -> None:
    for one, other in zip(stream(store, 0, first + 4)[first:], stream(store, first, 4), strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_replicas_together_see_the_batches_of_one(store: Store) -> None:
    alone, shares = stream(store, 2, 4), stream(store, 2, 8, tf.distribute.InputContext(1, 0, 2))
    for step, inputs in enumerate(alone):
        parts = [shares[2 * step + replica]["image"] for replica in range(2)]
        np.testing.assert_array_equal(np.concatenate(parts), inputs["image"])


DETECTION = Detection(picture=PictureFormat(height=64, width=64), strides=(8, 32))


@pytest.mark.parametrize(
    ("task", "settings", "message", "place"),
    [
        (TASK, {"cache": "decoded"}, "`input.cache` is decoded, but `input.multi_scale`", "cache"),
        (TASK, {"service": "grpc://localhost:1"}, "workers of `input.service`", "multi_scale"),
        (OfOneSize(**TASK.model_dump()), {}, "'classification' as it is set takes those of one", "multi_scale"),
        (TASK, {"multi_scale": MultiScale(multiple_of=16)}, "leaves 16 x 16 for .*two sizes or more", "multi_scale"),
        (DETECTION, {"multi_scale": MultiScale(multiple_of=16)}, "multiples of 32, its coarsest", "multi_scale"),
        (DETECTION, {"multi_scale": None, "buckets": ((64, 64), (32, 48))}, "64 x 64, 32 x 48.*multiples", "buckets"),
    ],
)
def test_what_cannot_be(store: Store, task: Task, settings: dict[str, Any], message: str, place: str) -> None:
    options = InputSettings(**{"multi_scale": SCALES, **settings})
    with pytest.raises(ConfigError, match=message) as failure:
        input.training_batches(store, task, (), options, BATCH, seed=0)
    assert failure.value.place == ("input", place)


@pytest.mark.parametrize(
    "settings", [{"multi_scale": {"scale": [1.5, 0.5]}}, {"multi_scale": {}, "buckets": [[8, 8], [8, 16]]}]
)
def test_settings_that_are_refused(settings: Any) -> None:
    with pytest.raises(ValidationError):
        InputSettings.model_validate(settings)


def test_memory_counts_every_size_and_variants_see_one(store: Store) -> None:
    several = InputSettings(multi_scale=SCALES, threads=1)
    assert several.at_one_size.several_sizes is None
    plan = memory_plan(store.info, TASK, (), several, BATCH)
    assert plan.kept == "encoded"
    assert plan.batches > memory_plan(store.info, TASK, (), InputSettings(cache="encoded", threads=1), BATCH).batches
