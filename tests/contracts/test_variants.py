"""What holds for every way to compress, on a network made for small pictures and on one made for phones; and for what
changes a network's layers, on one that sees pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from models.stack import keras, tf
from pipeline.compress import VARIANTS, CompressionJob
from pipeline.compress.base import FineTune
from pipeline.data.example import IMAGE, TRAIN
from pipeline.data.input import evaluation_batches
from pipeline.evaluate import evaluate_predictor
from pipeline.export.tflite import refuse_other_operators
from pipeline.metrics.base import Evaluator
from pipeline.predictors import KerasPredictor, TFLitePredictor
from pipeline.tasks import TASKS
from tests.contracts.subjects import Subject, store_for, subject, tiny_task


@dataclass(frozen=True)
class Network:
    """What is trained.

    Args:
        size: of its pictures, where the task does not say.
        learned: what its metric comes to at least on what it has learned.
        agreement: of a file's answers with its own, at least.
    """

    task: str
    backbone: str
    size: int
    learned: float = 0.95
    agreement: float = 0.95


NETWORKS = {
    "small_resnet": Network("classification", "small_resnet", 16),
    "mobilenet": Network("classification", "mobilenet", 32),
    "pairs": Network("single_object_tracking", "small_resnet", 16, learned=0.5, agreement=0.75),
}
PARTS = ("float32_fine_tuned", "int8_qat", "pruned", "clustered", "pqat", "cqat")
"""What `pcqat` does one after the other; on the network for phones, where a training takes ten seconds, they are held
together only."""
ELSEWHERE = ("binary", "channel_pruned")
"""What leaves depthwise convolutions alone, and what `tests/compress` holds against most backbones."""
CASES = [
    *(("small_resnet", variant) for variant in VARIANTS),
    *(("mobilenet", variant) for variant in VARIANTS if variant not in (*PARTS, *ELSEWHERE)),
    *(("pairs", variant) for variant in ("float32", "int8", "int8_qat")),
]
STEPS = 25


@dataclass(frozen=True)
class Trained:
    """A network that was trained on all training pictures at once until it tells them apart, and what it answers.

    Args:
        pictures: uint8 [B, H, W, 3], those it was trained on.
        batches: the same as examples.
        expected: its answers for `batches`, scored.
        answers: its predictions for `pictures`.
    """

    one: Subject
    pictures: np.ndarray
    batches: tf.data.Dataset
    expected: Evaluator
    answers: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def trained(table: Path) -> Callable[[str], Trained]:
    """Name -> that network, trained once."""

    @cache
    def answered(name: str) -> Trained:
        one = trained_network(table, name)
        pictures, predictor = one.inputs[IMAGE].numpy(), KerasPredictor(one.task.serving_model(one.model))
        batches = evaluation_batches(one.store, one.task, TRAIN, len(pictures))
        return Trained(
            one, pictures, batches, evaluate_predictor(predictor, batches, one.task), predictor({IMAGE: pictures})
        )

    return answered


def trained_network(table: Path, name: str) -> Subject:
    network = NETWORKS[name]
    store = store_for(TASKS[network.task], table)
    count = store.info.num_examples[TRAIN]
    one = subject(tiny_task(network.task, store, network.backbone, network.size), "supervised", store, count)
    for layer in one.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # its statistics are then those of the last step: of these very pictures
    fitted = one.compile(keras.optimizers.Adam(0.01))
    for _ in range(STEPS):
        fitted.train_on_batch(one.inputs, one.targets)
    return one


def fine_tune(one: Subject) -> FineTune:
    """Some steps, on all pictures at once, where `pipeline.fit.fine_tune` does many; techniques that take much away
    need them to recover."""

    def train(
        model: keras.Model,
        epochs: int,
        learning_rate: float,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        # one operator a variable: traced in half the time
        model.compile(keras.optimizers.legacy.Adam(learning_rate), loss=one.task.losses())
        pictures = one.inputs[IMAGE].numpy().astype(np.float32)
        model.fit(pictures, one.targets, batch_size=len(pictures), epochs=STEPS, callbacks=list(callbacks), verbose=0)

    return train


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_the_file_answers_as_the_trained_model_with_builtin_operators(
    name: str, variant: str, trained: Callable[[str], Trained], tmp_path: Path
) -> None:
    network = trained(name)
    one, expected = network.one, network.expected
    before = one.model.get_weights()
    job = CompressionJob(one.task, one.model, network.pictures, fine_tune(one), lambda _: 0.0)
    content = VARIANTS[variant]().convert(job)
    refuse_other_operators(content, variant)
    for old, new in zip(before, one.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)

    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    predictor, metric = TFLitePredictor(file), one.task.metric
    found = evaluate_predictor(predictor, network.batches, one.task)
    assert metric.drop(expected.result()[metric.name], found.result()[metric.name]) <= 0.05
    assert found.agreement_with(expected) >= NETWORKS[name].agreement
    if VARIANTS[variant].same_function:
        answers = predictor({IMAGE: network.pictures})
        np.testing.assert_allclose(answers["scores"], network.answers["scores"], atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_had_learned_something_to_lose(name: str, trained: Callable[[str], Trained]) -> None:
    network = trained(name)
    assert network.expected.result()[network.one.task.metric.name] >= NETWORKS[name].learned
