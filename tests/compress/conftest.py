"""A tiny classifier and a tiny regressor, trained for a moment on striped pictures, and jobs to compress them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pytest

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from models.stack import keras, tf
from pipeline.compress import Compression, CompressionJob
from pipeline.predictors import KerasPredictor
from pipeline.tasks import Classification, Regression

SIZE = 16
BATCH = 16
STEPS_WORTH_TRACING = 8
CLASSES = ("red", "green", "blue")


@pytest.fixture(scope="session", autouse=True)
def two_processors() -> None:
    """Two logical CPUs, unless another test has used TensorFlow before."""
    physical = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(physical, [tf.config.LogicalDeviceConfiguration()] * 2)
    except RuntimeError as error:
        assert "initialized" in str(error)


def striped(count: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Grey noise, 5 to 240, with stripes in the colour that the label says."""
    generator = np.random.default_rng(7)
    labels = generator.integers(0, len(CLASSES), count)
    pictures = generator.normal(120, 30, (count, size, size, 3))
    for picture, label in zip(pictures, labels, strict=True):
        picture[..., label] += 40 * np.sin(np.arange(size) / (label + 1.0))[:, None]
    return np.clip(pictures, 5, 240).astype(np.uint8), labels


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return striped(64)[0]


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    return striped(64)[1]


def network() -> SmallResNet:
    return SmallResNet(depth=8, widths=(8, 8, 16))


@pytest.fixture(scope="session")
def classification() -> Classification:
    return Classification(class_names=CLASSES, backbone=network(), picture=PictureFormat(height=SIZE, width=SIZE))


@pytest.fixture(scope="session")
def regression() -> Regression:
    """Three targets whose units differ by ten million."""
    return Regression(
        value_names=("thousandths", "ones", "tens of thousands"),
        value_mean=(0.002, 5.0, -100_000.0),
        value_std=(0.001, 1.0, 10_000.0),
        backbone=network(),
        picture=PictureFormat(height=SIZE, width=SIZE),
    )


def fit(
    model: keras.Model,
    pictures: np.ndarray,
    targets: np.ndarray,
    loss: object,
    epochs: int,
    rate: float,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains with what is traced fastest: one operator a variable; and nothing at all for a few steps."""
    name, steps = model.output_names[0], epochs * math.ceil(len(pictures) / BATCH)
    optimizer = keras.optimizers.legacy.Adam(rate)
    model.compile(optimizer, {name: loss}, run_eagerly=steps <= STEPS_WORTH_TRACING)
    model.fit(pictures, {name: targets}, epochs=epochs, batch_size=BATCH, callbacks=list(callbacks), verbose=0)


def trained_classifier(task: Classification, pictures: np.ndarray, labels: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = task.build()
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    fit(model, pictures, np.eye(len(CLASSES))[labels], loss, epochs=15, rate=3e-3)
    return model


@pytest.fixture(scope="session")
def classifier(classification: Classification, pictures: np.ndarray, labels: np.ndarray) -> keras.Model:
    return trained_classifier(classification, pictures, labels)


@pytest.fixture(scope="session")
def regressor(regression: Regression, pictures: np.ndarray, labels: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(2)
    model = regression.build()
    targets = np.stack([labels - 1.0, 1.0 - labels, (labels == 1) * 2.0 - 1.0], axis=1)
    fit(model, pictures, targets, keras.losses.MeanSquaredError(), epochs=15, rate=3e-3)
    return model


def job_of(
    task: object, model: keras.Model, pictures: np.ndarray, labels: np.ndarray, **more: object
) -> CompressionJob:
    def fine_tune(
        student: keras.Model,
        epochs: int,
        learning_rate: float,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        fit(student, pictures.astype(np.float32), np.eye(len(CLASSES))[labels], loss, epochs, learning_rate, callbacks)

    return CompressionJob(task, model, pictures[:32], fine_tune, lambda _: 0.0, **more)


@pytest.fixture(scope="session")
def classifier_job(
    classification: Classification, classifier: keras.Model, pictures: np.ndarray, labels: np.ndarray
) -> CompressionJob:
    return job_of(classification, classifier, pictures, labels)


@pytest.fixture(scope="session")
def regressor_job(
    regression: Regression, regressor: keras.Model, pictures: np.ndarray, labels: np.ndarray
) -> CompressionJob:
    return job_of(regression, regressor, pictures, labels)


@pytest.fixture(autouse=True)
def shared_models_stay_as_they_are(request: pytest.FixtureRequest) -> Iterator[None]:
    """Names the test that changes a model which the tests after it use too."""
    shared = [name for name in ("classifier", "regressor") if name in request.fixturenames]
    models = {name: request.getfixturevalue(name) for name in shared}
    before = {name: model.get_weights() for name, model in models.items()}
    yield
    for name, model in models.items():
        for old, new in zip(before[name], model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new, f"{request.node.name} has changed the weights of {name}")


@cache
def predictor_of(job: CompressionJob) -> KerasPredictor:
    """The trained model with its decoding, traced once."""
    return KerasPredictor(job.task.serving_model(job.model))


@cache
def converted(variant: Compression, job: CompressionJob) -> bytes:
    """The variant's file; a conversion takes seconds, and many tests look at the same one."""
    return variant.convert(job)
