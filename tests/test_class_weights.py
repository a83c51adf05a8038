"""Weights of classes in the loss: worked out by hand, scaled, kept with the task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.config import dump, loads
from pipeline.data.example import LABEL, LABELS, DataInfo
from pipeline.errors import DataError
from pipeline.tasks import TASKS, Classification, MultiLabel
from pipeline.tasks.class_weights import EffectiveNumber, Given, InverseFrequency, Unweighted

COUNTS = [60, 30, 10]
INFO = DataInfo(
    fields=(LABEL, LABELS),
    class_names=("cat", "dog", "7"),
    num_examples={"train": 100},
    class_counts={"train": COUNTS, "validation": [1, 1, 1]},
)


def resolved(kind: str, weights: Any) -> tuple[float, ...]:
    task = TASKS[kind].model_validate({"class_weights": weights}).resolve(INFO)
    assert isinstance(task, Classification | MultiLabel)
    assert task.resolve(INFO).class_weights.of(INFO.class_names) == pytest.approx(
        task.class_weights.of(INFO.class_names)
    )
    return task.class_weights.of(INFO.class_names)


@pytest.mark.parametrize("kind", ["classification", "multi_label"])
def test_weights_by_hand(kind: str) -> None:
    assert resolved(kind, {"kind": "none"}) == ()
    assert resolved(kind, {"kind": "balanced"}) == pytest.approx((100 / 180, 100 / 90, 100 / 30))
    assert resolved(kind, {"kind": "effective_number", "beta": 0.0}) == pytest.approx((1, 1, 1))
    numbers = [(1 - 0.9**count) / 0.1 for count in COUNTS]
    scale = 100 / sum(count / number for count, number in zip(COUNTS, numbers, strict=True))
    effective = resolved(kind, {"kind": "effective_number", "beta": 0.9})
    assert effective == pytest.approx([scale / number for number in numbers])
    assert resolved(kind, {"kind": "given", "weights": {"dog": 2, 7: 4}}) == pytest.approx((1 / 1.6, 2 / 1.6, 4 / 1.6))


@pytest.mark.parametrize(
    "weights", [InverseFrequency(), EffectiveNumber(beta=0.99), Given(weights={"cat": 0.2})], ids=lambda one: one.kind
)
def test_the_mean_over_the_training_labels_is_one(weights: Any) -> None:
    assert np.dot(weights.resolve(INFO).of(INFO.class_names), COUNTS) / sum(COUNTS) == pytest.approx(1)


def test_a_class_without_training_pictures_has_a_finite_weight() -> None:
    info = DataInfo(fields=(LABEL,), class_names=("a", "b", "c"), class_counts={"train": [8, 2, 0]})
    for weights in (InverseFrequency(), EffectiveNumber()):
        found = weights.resolve(info).of(info.class_names)
        assert np.isfinite(found).all() and np.dot(found, [8, 2, 0]) == pytest.approx(10)


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match=r"no class 'dgo'. Did you mean 'dog'"):
        Given(weights={"dgo": 2.0}).resolve(INFO)
    with pytest.raises(DataError, match=r"weight 0\. Raise one"):
        Given(weights={"cat": 0, "dog": 0, "7": 0}).resolve(INFO)
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Given(weights={"cat": -1.0})


def test_a_file_of_settings_keeps_them() -> None:
    base = "data: {source: digits}\ntask: {kind: classification, class_weights: %s}\n"
    assert loads(base % "balanced", []).task.class_weights == InverseFrequency()
    config = loads(base % "{kind: given, weights: {3: 2, 8: 0.5}}", [])
    assert config.task.class_weights == Given(weights={"3": 2.0, "8": 0.5})
    assert loads(dump(config), []) == config
    assert Classification().class_weights == Unweighted()
