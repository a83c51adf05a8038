"""The estimate of the input's memory, by hand, and its limit."""

from __future__ import annotations

from typing import Any

import pytest

from models.preprocess import PictureFormat
from pipeline.augment import RandomResizedCrop
from pipeline.data.example import DataInfo
from pipeline.data.input import InputSettings
from pipeline.data.memory import READ_BUFFER, MemoryPlan, memory_plan
from pipeline.data.order import READERS
from pipeline.errors import ConfigError
from pipeline.tasks.classification import Classification

MIB = 2**20
BATCH = 10
INFO = DataInfo(
    fields=("id", "image", "label"),
    num_examples={"train": 1000, "validation": 100},
    picture_sizes={"train": (300, 400, 500, 600), "validation": (300, 300, 300, 300)},
    image_bytes={"train": 50_000_000, "validation": 5_000_000},
)
TASK = Classification(class_names=("a", "b"), picture=PictureFormat(height=100, width=200))
PICTURE = 100 * 200 * 3


def plan(operations: tuple[Any, ...] = (), **settings: Any) -> MemoryPlan:
    return memory_plan(INFO, TASK, operations, InputSettings(threads=2, prefetch=3, **settings), BATCH)


def test_decoded_pictures_by_hand() -> None:
    found = plan()
    assert found.kept == "decoded"
    assert found.training == 1000 * (PICTURE + 24) and found.validation == 100 * PICTURE
    assert found.shuffle == 0
    assert found.batches == (3 + 2 * 2) * BATCH * PICTURE
    assert found.total == found.training + found.validation + found.batches
    assert str(found) == (
        "about 67 MiB of memory for the input: decoded pictures 57.2 MiB, validation 5.72 MiB, batches 4.01 MiB"
    )


def test_encoded_pictures_by_hand() -> None:
    """A random resized crop needs whole pictures, and those differ in size."""
    found = plan((RandomResizedCrop(),), cache_limit_gib=0.05)
    assert found.kept == "encoded" and found.training == 50_000_000 + 24 * 1000
    assert found.validation == 100 * PICTURE  # fits as well
    assert found.batches == (3 + 2 * 2) * BATCH * PICTURE + 2 * 500 * 600 * 3 * 5


@pytest.mark.parametrize(("buffer", "records"), [(10, 10), (9999, 1000)])
def test_a_buffer_holds_no_more_than_there_is(buffer: int, records: int) -> None:
    found = plan(cache="none", shuffle_buffer=buffer)
    assert (found.training, found.validation) == (0, 0)
    assert found.shuffle == records * 50_000 + READERS * READ_BUFFER


def test_a_service_keeps_nothing_here() -> None:
    found = plan(service="grpc://somewhere:1", cache_limit_gib=0)
    assert found.kept == "none" and found.total == found.batches


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, "input.cache=encoded or none"),
        ({"cache": "none"}, r"input\.shuffle_buffer"),
        ({"cache": "none", "shuffle_buffer": 1}, r"input\.prefetch, input\.threads or train\.batch_size"),
    ],
)
def test_a_plan_beyond_the_limit_says_what_to_change(settings: dict[str, Any], change: str) -> None:
    fits = plan(**settings).total / 2**30
    plan(**settings, memory_limit_gib=fits * 1.001)
    with pytest.raises(ConfigError, match=rf"`input\.memory_limit_gib` is .* would take about .*{change}"):
        plan(**settings, memory_limit_gib=fits / 1.001)
