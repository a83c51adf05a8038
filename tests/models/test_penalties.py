"""Losses that bear wrong labels and outliers, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from models import losses, penalties
from models.penalties import AnyClassPenalty, AnyNumberPenalty, ClassPenalty
from models.stack import keras, tf

HALF = [0.5, 0.25, 0.25]
FIRST = [1.0, 0.0, 0.0]
MIXED = [0.5, 0.5, 0.0]
FAR = 80.0
"""A logit whose probabilities are 0 and 1 in float32."""


def costs(penalty: ClassPenalty, shares: list[float], probabilities: list[float]) -> float:
    """The same by the loss of one class a picture."""
    logits = tf.math.log([probabilities])
    return float(losses.ClassLoss(penalty).call(tf.constant([shares]), logits)[0])


def test_the_unions_and_the_dicts_agree() -> None:
    for union, registry in (
        (AnyClassPenalty, penalties.CLASS_PENALTIES),
        (AnyNumberPenalty, penalties.NUMBER_PENALTIES),
    ):
        for kind, penalty in registry.items():
            assert type(TypeAdapter(union).validate_python({"kind": kind})) is penalty


@pytest.mark.parametrize(
    ("penalty", "shares", "expected"),
    [
        (penalties.CrossEntropy(), FIRST, math.log(2)),
        (penalties.GeneralizedCrossEntropy(q=0.5), FIRST, (1 - math.sqrt(0.5)) / 0.5),
        (penalties.GeneralizedCrossEntropy(q=1.0), FIRST, 0.5),  # 1 - p
        (penalties.GeneralizedCrossEntropy(q=1.0), MIXED, 0.5 * 0.5 + 0.5 * 0.75),
        # 0.1 log 2 + the probability of the other classes, 1/2, times -A = 4
        (penalties.SymmetricCrossEntropy(alpha=0.1, beta=1.0, floor=-4.0), FIRST, 0.1 * math.log(2) + 0.5 * 4),
        (penalties.SymmetricCrossEntropy(alpha=0.0, beta=2.0, floor=-3.0), MIXED, 2 * (0.75 * math.log(2) + 0.25 * 3)),
        # 0.9 log 2 + 0.1 of the entropy, (1/2) log 2 + 2 (1/4) log 4
        (penalties.SoftBootstrapping(beta=0.9), FIRST, 0.9 * math.log(2) + 0.1 * 1.5 * math.log(2)),
        (penalties.HardBootstrapping(beta=0.8), FIRST, math.log(2)),  # the first choice is the label
        (penalties.HardBootstrapping(beta=0.8), [0.0, 1.0, 0.0], 0.8 * math.log(4) + 0.2 * math.log(2)),
    ],
)
def test_one_class_a_picture(penalty: ClassPenalty, shares: list[float], expected: float) -> None:
    assert costs(penalty, shares, HALF) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [  # probabilities 3/4 of a class that is there and 1/2 of one that is not
        (penalties.CrossEntropy(), (math.log(4 / 3) + math.log(2)) / 2),
        (penalties.GeneralizedCrossEntropy(q=1.0), (0.25 + 0.5) / 2),
        (penalties.SymmetricCrossEntropy(alpha=0.0), (0.25 * 4 + 0.5 * 4) / 2),
        (penalties.HardBootstrapping(beta=0.5), (math.log(4 / 3) + math.log(2)) / 2),
        (
            penalties.SoftBootstrapping(beta=0.5),
            (0.5 * math.log(4 / 3) + 0.5 * (0.75 * math.log(4 / 3) + 0.25 * math.log(4)) + math.log(2)) / 2,
        ),
    ],
)
def test_any_number_of_classes(penalty: ClassPenalty, expected: float) -> None:
    found = losses.PresenceLoss(penalty).call(tf.constant([[1.0, 0.0]]), tf.constant([[math.log(3.0), 0.0]]))
    assert float(found[0]) == pytest.approx(expected, rel=1e-5)


def test_generalized_cross_entropy_goes_over_into_cross_entropy() -> None:
    near = costs(penalties.GeneralizedCrossEntropy(q=1e-4), MIXED, HALF)
    assert near == pytest.approx(costs(penalties.CrossEntropy(), MIXED, HALF), rel=1e-3)


def test_bootstrapping_with_labels_alone_is_cross_entropy() -> None:
    expected = costs(penalties.CrossEntropy(), MIXED, HALF)
    for penalty in (penalties.SoftBootstrapping(beta=1.0), penalties.HardBootstrapping(beta=1.0)):
        assert costs(penalty, MIXED, HALF) == pytest.approx(expected)


@pytest.mark.parametrize("kind", penalties.CLASS_PENALTIES)
def test_confident_wrong_answers_have_finite_gradients(kind: str) -> None:
    penalty = penalties.CLASS_PENALTIES[kind]()
    logits = tf.Variable([[FAR, -FAR], [-FAR, FAR], [0.0, 0.0]])
    for loss in (losses.ClassLoss(penalty), losses.PresenceLoss(penalty)):
        with tf.GradientTape() as tape:
            values = loss.call(tf.constant([[0.0, 1.0]] * 3), logits)
            total = tf.reduce_sum(values)
        assert np.isfinite(values).all() and np.all(values.numpy() >= 0)
        assert np.isfinite(tape.gradient(total, logits)).all()


@pytest.mark.parametrize("kind", sorted(set(penalties.CLASS_PENALTIES) - {"cross_entropy"}))
def test_a_label_that_the_network_disbelieves_pulls_less_than_with_cross_entropy(kind: str) -> None:
    def pull(penalty: ClassPenalty) -> tuple[float, float]:
        """What a label pulls at its own logit where the network gives it 10 %, to what it does at 50 %."""
        logits = tf.Variable([[0.0, math.log(9.0)], [0.0, 0.0]])
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(losses.ClassLoss(penalty).call(tf.constant([[1.0, 0.0]] * 2), logits))
        disbelieved, open_ = tape.gradient(total, logits).numpy()[:, 0]
        return float(disbelieved / open_)

    assert pull(penalties.CLASS_PENALTIES[kind]()) < 0.99 * pull(penalties.CrossEntropy())


def test_numbers() -> None:
    errors = tf.constant([0.0, 0.5, -3.0, 100.0])
    expected = {
        "huber": [0.0, 0.125, 2.5, 99.5],
        "log_cosh": [0.0, math.log(math.cosh(0.5)), math.log(math.cosh(3.0)), 100.0 - math.log(2)],
        "absolute": [0.0, 0.5, 3.0, 100.0],
        "squared": [0.0, 0.25, 9.0, 10000.0],
    }
    assert set(expected) == set(penalties.NUMBER_PENALTIES)
    for kind, values in expected.items():
        np.testing.assert_allclose(penalties.NUMBER_PENALTIES[kind]().costs(errors), values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "generalized_cross_entropy", "q": 0},
        {"kind": "generalized_cross_entropy", "q": 1.5},
        {"kind": "symmetric_cross_entropy", "floor": 0.0},
        {"kind": "soft_bootstrapping", "beta": 0.0},
        {"kind": "huber", "delta": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AnyClassPenalty).validate_python(wrong)


def test_losses_are_saved_with_their_penalty() -> None:
    loss = losses.ClassLoss(penalties.GeneralizedCrossEntropy(q=0.3))
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.penalty == penalties.GeneralizedCrossEntropy(q=0.3)
