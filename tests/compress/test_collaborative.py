from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from models.stack import keras, tf
from pipeline.compress import CompressionJob, convert
from pipeline.compress.collaborative import Chain, Cqat, Pcqat, Pqat
from pipeline.compress.inspect import inspect_content
from pipeline.predictors import KerasPredictor
from pipeline.tasks import Classification
from tests.compress.conftest import job_of, trained_classifier
from tests.compress.stored_kernels import most_values_of_a_channel, share_of_zeros, stored_kernels
from tests.compress.test_post_training import answers

PRUNE = {"sparsity": 0.75, "epochs": 1, "frequency": 1}
CLUSTER = {"number_of_clusters": 8, "epochs": 1}
QUANTIZE = {"epochs": 1}
CHAINS = {
    "pqat": Pqat(prune=PRUNE, quantize=QUANTIZE),
    "cqat": Cqat(cluster=CLUSTER, quantize=QUANTIZE),
    "pcqat": Pcqat(prune=PRUNE, cluster=CLUSTER, quantize=QUANTIZE),
}


@pytest.fixture(scope="module")
def classifier_job(classification: Classification, pictures: np.ndarray, labels: np.ndarray) -> CompressionJob:
    """A network of its own: which values its kernels have is what is looked at here."""
    return job_of(classification, trained_classifier(classification, pictures, labels), pictures, labels)


@cache
def network_and_file(chain: Chain, job: CompressionJob) -> tuple[keras.Model, bytes]:
    network = chain.quantized(job)
    content = convert.with_decoding(network, job.task, lambda model: convert.int8_file(model, job.calibration))
    return network, convert.with_input_output(content, "uint8")


@pytest.mark.parametrize("kind", CHAINS)
def test_the_file_is_int8_and_agrees_with_the_fake_quantized_network(classifier_job, pictures, tmp_path, kind) -> None:
    network, content = network_and_file(CHAINS[kind], classifier_job)
    file = inspect_content(content)
    assert (file.float_operators, file.operators["QUANTIZE"]) == (0, 2)
    got = answers(content, pictures, tmp_path)["scores"]
    reference = KerasPredictor(classifier_job.task.serving_model(network))({"image": pictures})["scores"]
    np.testing.assert_allclose(got, reference, atol=0.1)
    assert np.mean(got.argmax(1) == reference.argmax(1)) >= 0.98


@pytest.mark.parametrize("kind", ["pqat", "pcqat"])
def test_sparsity_outlives_the_quantization(classifier_job, kind) -> None:
    _, stem, *pruned, head = stored_kernels(network_and_file(CHAINS[kind], classifier_job)[1])
    assert min(map(share_of_zeros, pruned)) >= 0.74
    assert max(map(share_of_zeros, (stem, head))) < 0.2


@pytest.mark.parametrize("kind", ["cqat", "pcqat"])
def test_clusters_outlive_the_quantization(classifier_job, kind) -> None:
    _, stem, *clustered, head = stored_kernels(network_and_file(CHAINS[kind], classifier_job)[1])
    assert max(map(most_values_of_a_channel, clustered)) <= 8
    assert min(map(most_values_of_a_channel, (stem, head))) > 8


def test_the_trained_model_stays(classifier_job) -> None:
    before = classifier_job.model.get_weights()
    CHAINS["pqat"].convert(classifier_job)
    for old, new in zip(before, classifier_job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_projections_on_paper() -> None:
    from pipeline.compress.preserving import clusters, zeros

    start = np.float32([[1, 2, 0], [2, 0, 1]])
    moved = tf.constant([[1.0, 3.0, 5.0], [4.0, -7.0, 2.0]])
    np.testing.assert_array_equal(zeros(start)(moved), [[1, 3, 0], [4, 0, 2]])
    np.testing.assert_array_equal(clusters(start)(moved), [[1.5, 3.5, 0], [3.5, 0, 1.5]])


def test_values_of_clusters_are_trained() -> None:
    """Plain gradient descent on the sum of weights moves each cluster by the mean gradient of its weights."""
    from pipeline.compress.preserving import clusters, preserving

    inputs = keras.Input((3,), name="image")
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, name="dense")(inputs))
    model.get_layer("dense").set_weights([np.float32([[1.0], [1.0], [0.0]])])

    def fine_tune(model: keras.Model, epochs: int, learning_rate: float, **options: Any) -> None:
        model.compile(keras.optimizers.SGD(learning_rate), lambda target, output: output)
        model.fit(np.float32([[1, 3, 5]]), np.zeros((1, 1)), epochs=epochs, verbose=0, **options)

    job = CompressionJob(None, None, None, fine_tune, lambda _: 0.0)
    preserving(job, ["dense"], clusters).fine_tune(model, 2, 0.1)
    # gradients are 1, 3 and 5; two steps of 0.1 times the mean of 1 and 3
    np.testing.assert_allclose(model.get_layer("dense").get_weights()[0], [[0.6], [0.6], [0.0]], rtol=1e-6)
