"""What holds for every family of backbones, held against its smallest: it trains, is saved, is known to quantization,
runs in TFLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models import saved
from models.backbones import FAMILIES
from models.graphs import feature_levels, with_float_input
from models.stack import keras, tf
from pipeline.compress.convert import tflite_file
from pipeline.compress.quantization_aware import load, quantization_aware
from tests.contracts.backbones import Built, built
from tests.contracts.subjects import SMALLEST
from tests.contracts.test_quantizable import unknown

SETTINGS = {kind: settings for kind, settings in SMALLEST.items() if kind != "small_resnet"}


@pytest.fixture(scope="module", params=[next(iter(family.members)) for family in FAMILIES])
def member(request: pytest.FixtureRequest) -> Iterator[Built]:
    """One of each family; grey where the other tests have seen it in colour."""
    yield built(request.param, channels=1, **SETTINGS.get(request.param, {}))
    keras.backend.clear_session()


def test_gradients_reach_every_trainable_weight(member: Built) -> None:
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(member.model(member.pictures(4), training=True)["logits"][:, 0] ** 2)
    weights = member.model.trainable_weights
    gradients = zip(weights, tape.gradient(loss, weights), strict=True)
    assert [weight.name for weight, gradient in gradients if gradient is None or not np.any(gradient)] == []


def test_a_saved_model_answers_the_same(member: Built, tmp_path: Path) -> None:
    member.model.save(tmp_path / "model.keras")
    again = saved.load(tmp_path / "model.keras")
    expected, found = member.model(member.pictures()), again(member.pictures())
    np.testing.assert_array_equal(found["logits"], expected["logits"])
    assert list(feature_levels(again).values()) == list(feature_levels(member.model).values())


def test_quantization_aware_training_knows_every_layer(member: Built) -> None:
    assert unknown(with_float_input(member.model)) == set()


def test_a_fake_quantized_network_reloads(member: Built, tmp_path: Path) -> None:
    network = with_float_input(keras.Model(member.model.inputs, {"y": member.least_with_all_kinds()}))
    student = quantization_aware(network)
    student.save(tmp_path / "student.keras")
    pictures = member.pictures(1).astype(np.float32)
    (found,), (expected,) = (one(pictures).values() for one in (load(tmp_path / "student.keras"), student))
    np.testing.assert_array_equal(found, expected)


def test_tflite_has_it_in_builtin_operators(member: Built) -> None:
    from ai_edge_litert.interpreter import Interpreter

    network = with_float_input(keras.Model(member.model.inputs, {"y": member.least_with_all_kinds()}))
    pictures = member.pictures(1).astype(np.float32)
    interpreter = Interpreter(model_content=tflite_file(network))
    expected = network(pictures)["y"]
    found = interpreter.get_signature_runner("serving_default")(image=pictures)["y"]
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))
