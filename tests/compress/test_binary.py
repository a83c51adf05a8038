"""Weights of one bit: trained, packed eight a byte, unpacked by the file itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from models.low_bit import BinaryWeights
from models.stack import keras
from pipeline.compress import VARIANTS, CompressionJob
from pipeline.compress.binary import Binary
from pipeline.compress.hardening import Hardening
from pipeline.compress.inspect import inspect_content
from pipeline.errors import ConfigError, ExportError
from pipeline.export.tflite import publish_tflite
from pipeline.predictors import TFLitePredictor
from tests.compress.conftest import converted
from tests.compress.low_bit_files import KERNEL_SETS, answers, binary_weights, in_file_order, stored_weights

BINARY = Binary(epochs=6)


@pytest.fixture(scope="module")
def file(classifier_job: CompressionJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("binary") / "model.tflite"
    path.write_bytes(converted(BINARY, classifier_job))
    return path


def test_it_still_tells_the_classes_apart(file: Path, pictures: np.ndarray, labels: np.ndarray) -> None:
    found = TFLitePredictor(file)({"image": pictures})["scores"]
    assert (found.argmax(1) == labels).mean() >= 0.95


def test_every_set_of_kernels_gives_the_same_answers(file: Path, pictures: np.ndarray) -> None:
    found = [answers(file.read_bytes(), pictures[:4].astype(np.float32), kernels) for kernels in KERNEL_SETS]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)


def test_the_file_holds_exactly_the_weights_of_the_trained_network(
    classifier_job: CompressionJob, pictures: np.ndarray, tmp_path: Path
) -> None:
    from pipeline.compress import low_bit

    ready = Binary(epochs=1).fine_tuned(classifier_job)
    content = low_bit.packed_file(classifier_job, ready)
    stored = [*binary_weights(content), *stored_weights(content, "INT8")]
    assert [weights.bits for weights in ready.weights] == [8, *[1] * 8, 8]
    for weights in ready.weights:
        kernel = in_file_order(ready.network.get_layer(weights.layer))
        assert sum(np.array_equal(one.ravel(), kernel.ravel()) for one in stored) == 1, weights.layer
        if weights.bits == 1:
            assert (np.ptp(np.abs(kernel).reshape(len(kernel), -1), axis=1) == 0).all()
    expected = classifier_job.task.serving_model(ready.network)(pictures.astype(np.float32))["scores"]
    (tmp_path / "model.tflite").write_bytes(content)
    found = TFLitePredictor(tmp_path / "model.tflite")({"image": pictures})["scores"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_binary_layers_take_a_bit_a_weight(classifier_job: CompressionJob) -> None:
    ready = Binary(epochs=0).fine_tuned(classifier_job)
    binary = [weights for weights in ready.weights if weights.bits == 1]
    for weights in binary:
        assert len(weights.packed()) == -(-weights.codes.size // 8)
    stored = sum(len(weights.packed()) + weights.scales.nbytes for weights in binary)
    assert stored <= 0.06 * sum(weights.codes.size * 4 for weights in binary)


def test_metadata_and_operator_check_take_the_file(file: Path, classifier_job: CompressionJob, tmp_path: Path) -> None:
    published = publish_tflite(classifier_job.task, file.read_bytes(), tmp_path / "binary.tflite", "binary")
    assert {"CAST", "GATHER", "RESHAPE", "MUL"} <= set(inspect_content(published.read_bytes()).operators)


def test_the_trained_model_stays_as_it_is(classifier_job: CompressionJob) -> None:
    before = classifier_job.model.get_weights()
    Binary(epochs=1).fine_tuned(classifier_job)
    for old, new in zip(before, classifier_job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class Recorder(keras.callbacks.Callback):
    """How binary a layer was in each step."""

    def __init__(self, layer: BinaryWeights):
        super().__init__()
        self._layer = layer
        self.shares: list[float] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.shares.append(float(self._layer.share))


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, [0.0, 0.5, 1.0, 1.0]), (0.0, [1.0] * 4), (1.0, [0, 0.25, 0.5, 0.75])]
)
def test_layers_harden_over_their_share_of_the_steps(share: float, expected: list[float]) -> None:
    image = keras.Input((4,))
    layer = BinaryWeights(keras.layers.Dense(3))
    model = keras.Model(image, layer(image))
    model.compile("sgd", "mse")
    recorder = Recorder(layer)
    hooks = [Hardening(share), recorder]
    model.fit(np.ones((4, 4)), np.ones((4, 3)), batch_size=2, epochs=2, callbacks=hooks, verbose=0)
    assert recorder.shares == pytest.approx(expected)
    assert float(layer.share) == 1.0


def test_mistakes_are_named(classifier_job: CompressionJob) -> None:
    with pytest.raises(ExportError, match=r"There is no layer for weights of 1 bit: .*Take entries out"):
        Binary(keep=("*",)).convert(classifier_job)
    with pytest.raises(ConfigError, match="'stem'"):
        Binary(keep=("stem",)).convert(classifier_job)
    with pytest.raises(ValidationError, match="hardening"):
        Binary(hardening=2)


def test_it_is_reached_by_name() -> None:
    assert VARIANTS["binary"] is Binary
