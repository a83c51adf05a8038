"""Weights of four bits: on disk, in the interpreter, and trained with the scales that ship."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from models.backbones import MobileNet, SmallResNet
from models.low_bit import LowBitWeights
from models.preprocess import PictureFormat
from models.stack import keras, tf
from pipeline.compress import VARIANTS, CompressionJob, low_bit
from pipeline.compress.inspect import inspect_content
from pipeline.compress.int4 import Int4, Int4Qat
from pipeline.compress.low_bit import best_steps, require_whole_blocks
from pipeline.compress.post_training import Float32
from pipeline.compress.shipping import fine_tuned
from pipeline.errors import ConfigError, ExportError
from pipeline.export.tflite import publish_tflite
from pipeline.predictors import TFLitePredictor
from pipeline.tasks import Classification
from tests.compress.conftest import converted, job_of
from tests.compress.low_bit_files import answers, in_file_order, stored_weights

INT4 = Int4()
INT8_ACTIVATIONS = Int4(activations="int8")
BLOCKS = Int4(block=8)
QAT = Int4Qat(epochs=2)
QAT_INT8 = Int4Qat(epochs=0, activations="int8")


def scores(content: bytes, pictures: np.ndarray, folder: Path) -> np.ndarray:
    file = folder / "model.tflite"
    file.write_bytes(content)
    return TFLitePredictor(file)({"image": pictures})["scores"]


def by_keras(job: CompressionJob, network: keras.Model, pictures: np.ndarray) -> np.ndarray:
    return job.task.serving_model(network)(pictures.astype(np.float32))["scores"].numpy()


@pytest.mark.parametrize("variant", [INT4, INT8_ACTIVATIONS, BLOCKS, QAT, QAT_INT8], ids=str)
def test_the_file_answers_as_the_trained_model(
    variant: Int4, classifier_job: CompressionJob, pictures: np.ndarray, tmp_path: Path
) -> None:
    expected = by_keras(classifier_job, classifier_job.trunk(), pictures)
    found = scores(converted(variant, classifier_job), pictures, tmp_path)
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.95


def test_weights_are_packed_and_the_ends_keep_eight_bits(classifier_job: CompressionJob) -> None:
    content = converted(INT4, classifier_job)
    dtypes = inspect_content(content).dtypes
    assert (dtypes["int4"], dtypes["int8"]) == (8, 2)
    convolutions = [one for one in stored_weights(content, "INT4") if one.ndim == 4]
    assert len(convolutions) == 8
    assert {one.shape[-1] for one in stored_weights(content, "INT8")} == {3, 16}


def test_a_file_of_a_network_with_some_weights_is_an_eighth(tmp_path: Path) -> None:
    """Operators, names and scales are what is left over: a few kilobytes for as many layers."""
    task = Classification(
        class_names=("a", "b"),
        backbone=SmallResNet(depth=8, widths=(48, 64, 96)),
        picture=PictureFormat(height=16, width=16),
    )
    job = CompressionJob(task, task.build(), np.zeros((2, 16, 16, 3), np.uint8), lambda *_, **__: None, lambda _: 0.0)
    assert len(Int4().convert(job)) <= 0.15 * len(Float32().convert(job))


def test_int8_activations_leave_no_float_operator(
    classifier_job: CompressionJob, pictures: np.ndarray, tmp_path: Path
) -> None:
    for variant in (INT8_ACTIVATIONS, QAT_INT8):
        found = inspect_content(converted(variant, classifier_job))
        assert found.float_operators == 0
        assert found.inputs[0].dtype == "uint8"
        assert found.dtypes["int4"] == 8


def test_a_regressor_keeps_its_units(regressor_job: CompressionJob, pictures: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(Int4().convert(regressor_job))
    expected = regressor_job.serving()(pictures.astype(np.float32))["values"].numpy()
    spread = expected.std(axis=0)
    found = TFLitePredictor(file)({"image": pictures})["values"]
    assert (np.abs(found - expected).mean(axis=0) <= 0.25 * spread).all()


@pytest.mark.parametrize("variant", [QAT, Int4Qat(epochs=0, block=8)], ids=str)
def test_the_file_holds_exactly_the_weights_that_the_trained_network_computes_with(
    variant: Int4Qat, classifier_job: CompressionJob, pictures: np.ndarray, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(4)
    ready = variant.fine_tuned(classifier_job)
    content = variant.file(classifier_job, ready)
    stored = [*stored_weights(content, "INT4"), *stored_weights(content, "INT8")]
    assert len(stored) == len(ready.weights) == 10
    for weights in ready.weights:
        kernel = in_file_order(ready.network.get_layer(weights.layer))
        assert sum(np.array_equal(one.ravel(), kernel.ravel()) for one in stored) == 1, weights.layer
    expected = by_keras(classifier_job, ready.network, pictures)
    np.testing.assert_allclose(scores(content, pictures, tmp_path), expected, atol=1e-5)


def test_what_ships_is_what_was_trained(classifier_job: CompressionJob, pictures: np.ndarray) -> None:
    """The network with latent weights and BatchNormalization, and the plain folded one, answer the same."""
    trunk = classifier_job.trunk()
    bits = low_bit.chosen_bits(trunk, ("first", "last"), 4, {})
    trained = fine_tuned(classifier_job, low_bit.low_bit_network(trunk, bits), 2, 1e-3)
    assert sum(isinstance(layer, LowBitWeights) for layer in trained.layers) == 10
    ready = low_bit.shipped(trained, bits)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in ready.network.layers)
    expected = by_keras(classifier_job, trained, pictures)
    np.testing.assert_allclose(by_keras(classifier_job, ready.network, pictures), expected, atol=1e-4)


def test_training_with_rounded_weights_learns_scales_and_leaves_the_model_alone(classifier_job: CompressionJob) -> None:
    before = classifier_job.model.get_weights()
    start, end = Int4Qat(epochs=0).fine_tuned(classifier_job), Int4Qat(epochs=1).fine_tuned(classifier_job)
    for old, new in zip(before, classifier_job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for first, last in zip(start.weights, end.weights, strict=True):
        assert np.abs(first.scales - last.scales).max() > 0, first.layer


def test_training_takes_place_in_the_strategys_scope(
    classification: object, classifier: keras.Model, pictures: np.ndarray, labels: np.ndarray
) -> None:
    devices = tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        pytest.skip("needs two logical CPUs, which another test has prevented")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices[:2]])
    job = job_of(classification, classifier, pictures, labels, scope=strategy.scope)
    content = Int4Qat(epochs=1).convert(job)
    expected = by_keras(job, job.trunk(), pictures)
    assert (answers(content, pictures.astype(np.float32)).argmax(1) == expected.argmax(1)).mean() >= 0.9


def test_by_hand_the_best_step() -> None:
    exact = np.array([[[-7.0, 3.0, 1.0, 0.0]], [[0.2, -0.4, 1.4, 0.6]]], np.float32)
    np.testing.assert_allclose(best_steps(exact, 7).ravel(), [1.0, 0.2], rtol=1e-5)
    assert (best_steps(np.zeros((1, 1, 3), np.float32), 7) > 0).all()


def test_the_best_step_clips_outliers_where_that_costs_less() -> None:
    rows = np.random.default_rng(0).laplace(0, 1, (4, 1, 400)).astype(np.float32)
    largest = np.abs(rows).max(axis=2, keepdims=True) / 7

    def error(step: np.ndarray) -> np.ndarray:
        return ((np.clip(np.round(rows / step), -7, 7) * step - rows) ** 2).mean(axis=(1, 2))

    assert (error(best_steps(rows, 7)) < 0.9 * error(largest)).all()


def test_depthwise_convolutions_keep_eight_bits_unless_asked(pictures: np.ndarray) -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 1, name="begin")(image)
    x = keras.layers.DepthwiseConv2D(3, name="depth")(x)
    x = keras.layers.Conv2D(4, 1, name="point")(x)
    network = keras.Model(image, keras.layers.Dense(2, name="end")(x))
    ends = {"begin": 8, "point": 4, "end": 8}
    assert low_bit.chosen_bits(network, ("first", "last"), 4, Int4().bits_by_class) == {**ends, "depth": 8}
    finest = Int4(depthwise_bits=4).bits_by_class
    assert low_bit.chosen_bits(network, ("first", "last"), 4, finest) == {**ends, "depth": 4}
    assert low_bit.chosen_bits(network, ("b*", "depth"), 4, finest) == {"begin": 8, "depth": 8, "point": 4, "end": 4}


def test_the_normalisation_of_pictures_is_left_alone(classifier_job: CompressionJob) -> None:
    assert "normalise" not in low_bit.chosen_bits(classifier_job.trunk(), (), 4, {})


def test_metadata_and_operator_check_take_the_file(classifier_job: CompressionJob, tmp_path: Path) -> None:
    for variant in (INT4, INT8_ACTIVATIONS):
        content = converted(variant, classifier_job)
        file = publish_tflite(classifier_job.task, content, tmp_path / "model.tflite", "int4")
        assert len(file.read_bytes()) <= len(content) + 3000


def test_a_network_of_depthwise_convolutions(tmp_path: Path) -> None:
    task = Classification(class_names=("a", "b"), backbone=MobileNet(), picture=PictureFormat(height=32, width=32))
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    job = CompressionJob(task, task.build(), pictures, lambda *_, **__: None, lambda _: 0.0)
    variant = Int4Qat(epochs=0)
    ready = variant.fine_tuned(job)
    found = scores(variant.file(job, ready), pictures, tmp_path)
    np.testing.assert_allclose(found, by_keras(job, ready.network, pictures), atol=1e-4)
    assert Counter(weights.bits for weights in ready.weights) == {8: 13 + 2, 4: 13}


def test_mistakes_are_named(classifier_job: CompressionJob) -> None:
    with pytest.raises(ExportError, match=r"There is no layer for weights of 4 bits: .* 10 .*`keep` \(\*\)"):
        Int4(keep=("*",)).convert(classifier_job)
    with pytest.raises(ConfigError, match="'stage_9'"):
        Int4(keep=("stage_9",)).convert(classifier_job)
    with pytest.raises(
        ExportError, match=r"Blocks of 32 weights do not divide .*stage_1_block_1_1_conv \(72\).* of 8 "
    ):
        Int4(block=32).convert(classifier_job)
    with pytest.raises(ValidationError, match="no int8 kernel of LiteRT takes blocks"):
        Int4(block=32, activations="int8")
    with pytest.raises(ValidationError, match="learning_rate"):
        Int4Qat(learning_rate=0)


def test_where_no_block_divides_all_none_is_proposed() -> None:
    image = keras.Input((4, 4, 3), name="image")
    x = keras.layers.Conv2D(4, 1, name="three")(image)
    network = keras.Model(image, keras.layers.Conv2D(2, 1, name="four")(x))
    with pytest.raises(ExportError, match=r"of 1 layer: three \(3\)\. No block does for all; or name those layers"):
        require_whole_blocks(network, {"three": 2, "four": 2})


def test_they_are_reached_by_name() -> None:
    assert VARIANTS["int4"] is Int4
    assert VARIANTS["int4_qat"] is Int4Qat
