"""Mixed pictures in the training stream: the same however it is shared out or resumed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment import Augmentation
from pipeline.augment.geometry import HorizontalFlip, Rotation
from pipeline.augment.mixing import CopyPaste, CutMix, MixUp, Mosaic
from pipeline.data import input
from pipeline.data.input import InputSettings
from pipeline.data.store import Store
from pipeline.errors import ConfigError
from pipeline.tasks.classification import Classification
from tests.data.stores import make_store

MIXED = (HorizontalFlip(), MixUp(alpha=1.0), Mosaic(probability=0.5), Rotation(), CutMix())
PARTS = 2 * 4 * 2


class Everything(Classification):
    """A task that hands on what it is given."""

    def encode(self, examples: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return {name: examples[name] for name in ("id", "image")}, {
            name: examples[name] for name in ("label", "labels", "label_parts", "label_shares")
        }


TASK = Everything(class_names=("0", "1", "2", "3"), picture=PictureFormat(height=12, width=12, channels=1))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("store"), {"train": 37}, [(12, 12)])


def stream(
    store: Store, count: int, first: int = 0, replicas: int | None = None, kept: Any = "auto",
    operations: tuple[Augmentation, ...] = MIXED, batch_size: int = 8,
) -> list[dict[str, np.ndarray]]:  # fmt: skip
    context = tf.distribute.InputContext(1, 0, replicas) if replicas else None
    options = InputSettings(cache=kept, shuffle_buffer=10)
    batches = input.training_batches(store, TASK, operations, options, batch_size, 5, first, context)
    return [{**inputs, **targets} for inputs, targets in itertools.islice(batches.as_numpy_iterator(), count)]


def assert_same(left: list[dict[str, np.ndarray]], right: list[dict[str, np.ndarray]]) -> None:
    for name in left[0]:
        both = [np.concatenate([batch[name] for batch in batches]) for batches in (left, right)]
        np.testing.assert_array_equal(*both, err_msg=name)


@pytest.mark.parametrize("kept", ["decoded", "none"])
def test_two_replicas_together_see_the_stream_of_one(store: Store, kept: str) -> None:
    alone = stream(store, 4, kept=kept)
    assert_same(alone, stream(store, 8, replicas=2, kept=kept))
    assert alone[0]["label_parts"].shape == (8, PARTS)
    shares = np.concatenate([batch["label_shares"] for batch in alone])
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-5)


def test_a_resumed_stream_and_another_batch_size_mix_the_same(store: Store) -> None:
    alone = stream(store, 6)
    assert_same(stream(store, 3, first=3), alone[3:])
    assert_same(stream(store, 3, batch_size=16), alone)


def test_what_cannot_be_mixed_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"`augment\.1` \(mix_up\) .* replica is 6"):
        stream(store, 1, batch_size=12, replicas=2)
    with pytest.raises(ConfigError, match="needs the field 'masks'"):
        stream(store, 1, operations=(CopyPaste(),))
