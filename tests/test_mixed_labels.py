"""Targets of examples that augmentation has mixed from several, and of those whose label is not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.stack import tf
from pipeline.data.example import LABEL, LABEL_PARTS, LABEL_SHARES, LABELS, VALUE
from pipeline.tasks import Classification, MultiLabel, Regression

IMAGE = np.zeros((4, 2, 2, 3), np.uint8)
Run = Callable[[Callable[[dict[str, Any]], Any], dict[str, Any]], Any]


def eagerly(function: Callable[[dict[str, Any]], Any], examples: dict[str, Any]) -> Any:
    return function({name: tf.constant(values) for name, values in examples.items()})


def inside_tf_data(function: Callable[[dict[str, Any]], Any], examples: dict[str, Any]) -> Any:
    return tf.data.Dataset.from_tensors(examples).map(function).get_single_element()


both = pytest.mark.parametrize("run", [eagerly, inside_tf_data])


@both
def test_one_hot_and_zeros_for_what_is_not_known(run: Run) -> None:
    task = Classification(class_names=("a", "b", "c"))
    inputs, targets = run(task.encode, {"image": IMAGE, LABEL: np.array([2, 0, -1, 1])})
    np.testing.assert_array_equal(targets["logits"], [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0]])
    assert targets["logits"].dtype == tf.float32 and inputs["image"].dtype == tf.uint8


@both
def test_shares_of_mixed_pictures(run: Run) -> None:
    examples = {
        "image": IMAGE,
        LABEL: np.array([0, 0, 0, -1]),
        LABEL_PARTS: np.array([[0, 1, 0, 2], [0, 1, -1, -1], [2, 2, 2, 2], [-1, -1, -1, -1]]),
        LABEL_SHARES: np.array([[0.4, 0.3, 0.2, 0.1], [0.3, 0.1, 0.4, 0.2], [0.25] * 4, [0.25] * 4], np.float32),
    }
    _, targets = run(Classification(class_names=("a", "b", "c")).encode, examples)
    expected = [[0.6, 0.3, 0.1], [0.75, 0.25, 0], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(targets["logits"], expected, atol=1e-6)


def test_the_weight_of_a_mixed_picture_is_the_mean_by_its_shares() -> None:
    """Its weight is the mean of the weights by its shares, and so is its cross-entropy."""
    task = Classification.model_validate(
        {"class_names": ("a", "b"), "class_weights": {"kind": "given", "weights": {"a": 1.0, "b": 3.0}}}
    )
    (loss,) = task.losses().values()
    logits = tf.constant([[0.3, -0.2]])
    alone = [float(loss.call(tf.constant([row]), logits)[0]) for row in ([1.0, 0.0], [0.0, 1.0])]
    mixed = float(loss.call(tf.constant([[0.25, 0.75]]), logits)[0])
    weightless = [alone[0], alone[1] / 3]
    assert mixed == pytest.approx((0.25 * 1 + 0.75 * 3) * (0.25 * weightless[0] + 0.75 * weightless[1]))


@both
def test_mixed_labels_and_values_pass_through(run: Run) -> None:
    labels = np.array([[0.3, 1.0], [0.0, np.nan]], np.float32)
    _, targets = run(MultiLabel(class_names=("a", "b")).encode, {"image": IMAGE[:2], LABELS: labels})
    np.testing.assert_array_equal(targets["logits"], labels)
    task = Regression(value_names=("x", "y"), value_mean=(1.0, 0.0), value_std=(2.0, 1.0))
    value = np.array([[2.0, 0.5], [np.nan, 3.0]], np.float32)
    _, targets = run(task.encode, {"image": IMAGE[:2], VALUE: value})
    np.testing.assert_array_equal(targets["standardised"], [[0.5, 0.5], [np.nan, 3.0]])
