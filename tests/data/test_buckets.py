"""Batches of several sizes: every example once a pass, in the size nearest to its shape, resumed to the bit."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models import graphs
from models.preprocess import PictureFormat
from models.stack import keras, tf
from pipeline.augment import Augmentation
from pipeline.augment.crops import RandomResizedCrop
from pipeline.augment.geometry import HorizontalFlip
from pipeline.augment.mixing import MixUp
from pipeline.data import input
from pipeline.data.buckets import Schedule, nearest_sizes
from pipeline.data.input import InputSettings
from pipeline.data.memory import memory_plan
from pipeline.data.sampling import Balanced
from pipeline.data.store import Store
from pipeline.errors import ConfigError
from pipeline.tasks.base import Task
from tests.data.stores import make_store
from tests.data.test_input import Named

COUNT, BATCH = 53, 8
SHAPES = [(12, 24), (24, 12), (20, 20), (12, 23), (10, 18)]
"""Two of five are wide, and one is between; in turns."""
SIZES = ((8, 16), (16, 8), (12, 12))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("store"), {"train": COUNT, "validation": 9}, SHAPES, channels=3)


TASK = Named(
    class_names=("0", "1", "2", "3"),
    picture=PictureFormat(height=12, width=12),
    backbone={"kind": "small_resnet", "depth": 8, "widths": [4, 4, 4]},
)


def stream(
    store: Store, operations: tuple[Augmentation, ...] = (), first: int = 0, context: Any = None, **settings: Any
) -> tf.data.Dataset:
    options = InputSettings(buckets=SIZES, **settings)
    return input.training_batches(store, TASK, operations, options, BATCH, 5, first, context)


def take(batches: tf.data.Dataset, count: int) -> list[Any]:
    return list(itertools.islice(batches.as_numpy_iterator(), count))


def numbers(inputs: dict[str, np.ndarray]) -> list[int]:
    return [int(name.split(b"/")[1].split(b".")[0]) for name in inputs["id"]]


def test_every_picture_comes_in_the_size_nearest_to_its_shape(store: Store) -> None:
    expected = [(8, 16), (16, 8), (12, 12), (8, 16), (8, 16)]
    seen = set()
    for inputs, targets in take(stream(store), 14):
        size = inputs["image"].shape[1:3]
        assert inputs["image"].shape == (BATCH, *size, 3) and targets["logits"].shape == (BATCH, 4)
        assert {expected[number % 5] for number in numbers(inputs)} == {size}
        seen.add(size)
    assert seen == set(SIZES)


def test_proportions_are_compared_by_their_ratio() -> None:
    pictures = np.array([[100, 100], [100, 141], [100, 142], [300, 100], [1, 1000]])
    np.testing.assert_array_equal(nearest_sizes(pictures, ((32, 32), (32, 64), (64, 32))), [0, 0, 1, 2, 1])


def test_every_example_once_in_each_pass_of_its_bucket(store: Store) -> None:
    batches = take(stream(store), 100)
    places = [pair for inputs, _ in batches for pair in zip(inputs["epoch"].tolist(), numbers(inputs), strict=True)]
    assert len(set(places)) == len(places) == 100 * BATCH
    times = np.bincount([number for _, number in places], minlength=COUNT)
    assert times.min() >= 100 * BATCH // COUNT - 1 and times.max() <= 100 * BATCH // COUNT + 2
    whole = {epoch for epoch, _ in places if epoch < 12}
    assert all(sum(epoch == other for other, _ in places) == COUNT for epoch in whole)


def test_a_stream_resumed_with_other_threads_is_the_same_bit_for_bit(store: Store) -> None:
    operations = (RandomResizedCrop(), HorizontalFlip(), MixUp())
    whole = take(stream(store, operations), 24)
    for first, threads in ((1, 1), (20, 5)):
        tf.random.set_seed(first)
        resumed = take(stream(store, operations, first, threads=threads), 4)
        for (one, targets), (other, others) in zip(whole[first : first + 4], resumed, strict=True):
            for name, values in {**one, **targets}.items():
                np.testing.assert_array_equal(values, {**other, **others}[name], err_msg=name)


@pytest.fixture(scope="module")
def flipped(store: Store) -> list[Any]:
    """The fourth to the seventh batch, mirrored at random."""
    return take(stream(store, (HorizontalFlip(),), 3), 4)


@pytest.mark.parametrize(("hosts", "replicas"), [(1, 2), (2, 4)])
def test_hosts_and_replicas_together_see_the_batches_of_one(
    store: Store, flipped: list[Any], hosts: int, replicas: int
) -> None:
    here = replicas // hosts
    shares = [
        take(stream(store, (HorizontalFlip(),), 3, tf.distribute.InputContext(hosts, host, replicas)), 4 * here)
        for host in range(hosts)
    ]
    for step, (inputs, _) in enumerate(flipped):
        parts = [share[here * step + own][0] for share in shares for own in range(here)]
        for name in ("id", "image"):
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), inputs[name])


def test_sampling_goes_with_it(store: Store) -> None:
    batches = take(stream(store, sampling=Balanced()), 60)
    classes = np.concatenate([targets["logits"].argmax(axis=1) for _, targets in batches])
    assert np.bincount(classes, minlength=4).min() > 0.2 * len(classes)


@pytest.mark.parametrize(("lengths", "batch"), [([5], 8), ([31, 11, 11], 8), ([1, 1, 100], 16), ([7, 3], 1)])
def test_the_schedule_fills_whole_batches_and_can_begin_anywhere(lengths: list[int], batch: int) -> None:
    schedule = Schedule(lengths, batch, 3)
    all_of_it = take(schedule.choices(0), 120)
    for step in (0, 1, 2, 13, 50, 119):
        assert take(schedule.choices(step), 120 - step) == all_of_it[step:]
        assert schedule.taken(step) == np.bincount(all_of_it[:step], minlength=len(lengths)).tolist()
    shares = np.bincount(all_of_it, minlength=len(lengths)) / 120
    np.testing.assert_allclose(shares, np.array(lengths) / sum(lengths), atol=0.05)
    assert len(lengths) == 1 or len({tuple(all_of_it[place : place + 6]) for place in range(0, 120, 6)}) > 1


def test_a_network_for_any_size_is_the_same_network() -> None:
    keras.utils.set_random_seed(0)
    model = TASK.build()
    free = graphs.with_any_size(model)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)
    np.testing.assert_array_equal(free(pictures)["logits"], model(pictures)["logits"])
    assert free(pictures[:, :8])["logits"].shape == (2, 4)
    assert [id(weight) for weight in free.weights] == [id(weight) for weight in model.weights]
    flat = keras.Sequential([keras.Input((4, 4, 3), name="image"), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="cannot take pictures of several sizes"):
        graphs.with_any_size(flat)


def test_it_trains_on_all_sizes_and_validates_at_one(store: Store) -> None:
    keras.utils.set_random_seed(0)
    task = TASK.model_copy(update={"picture": PictureFormat(height=12, width=12)})
    plain = type(TASK).__mro__[1].model_validate({**task.model_dump(), "kind": "classification"})
    model = graphs.with_any_size(plain.build())
    model.compile("adam", loss=plain.losses())
    options = InputSettings(buckets=SIZES)
    batches = input.training_batches(store, plain, (), options, BATCH, seed=0)
    held_out = input.validation_batches(store, plain, "validation", 4, options)
    assert held_out.element_spec[0]["image"].shape == (4, 12, 12, 3)
    history = model.fit(batches, steps_per_epoch=5, validation_data=held_out, verbose=0).history
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["val_loss"]).all()


class OfOneSize(Named):
    @property
    def any_size(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("task", "settings", "message", "place"),
    [
        (TASK, {"cache": "decoded"}, "`input.cache` is decoded, but `input.buckets`", ("input", "cache")),
        (TASK, {"cache": "none"}, "`input.cache` is none, but `input.buckets`", ("input", "cache")),
        (TASK, {"cache_limit_gib": 0.0}, "would take .* Raise it, or leave", ("input", "buckets")),
        (TASK, {"service": "grpc://localhost:1"}, "workers of `input.service`", ("input", "buckets")),
        (OfOneSize(**TASK.model_dump()), {}, "'classification' as it is set takes those of one", ("input", "buckets")),
    ],
)
def test_what_cannot_be(store: Store, task: Task, settings: dict[str, Any], message: str, place: Any) -> None:
    with pytest.raises(ConfigError, match=message) as failure:
        input.training_batches(store, task, (), InputSettings(buckets=SIZES, **settings), BATCH, seed=0)
    assert failure.value.place == place


@pytest.mark.parametrize("sizes", [((8, 8),), ((8, 8), (8, 8)), ((8, 8), (4, 8))])
def test_sizes_that_are_refused(sizes: Any) -> None:
    with pytest.raises(ValidationError):
        InputSettings(buckets=sizes)


def test_memory_counts_encoded_pictures(store: Store) -> None:
    plan = memory_plan(store.info, TASK, (), InputSettings(buckets=SIZES), BATCH)
    assert plan.kept == "encoded" and plan.training >= store.info.image_bytes["train"]
    assert math.isfinite(plan.total)
