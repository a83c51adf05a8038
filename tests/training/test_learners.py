"""A learner's batches are what is trained on, validated on, and fine-tuned on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.backbones import MobileNet
from models.graphs import with_float_input
from models.preprocess import PictureFormat
from models.stack import keras, tf
from pipeline import fit, strategy
from pipeline.learners import Supervised
from pipeline.tasks.base import Task
from pipeline.train import TrainingJob, TrainSettings
from tests.training.program import job_in

SEEN: Counter[int] = Counter()
"""Parts of a batch (inputs, targets, weights) -> how many such batches were read."""


class Counting(Supervised):
    """Counts the batches that are read after it."""

    def batches(self, task: Task, batches: tf.data.Dataset) -> tf.data.Dataset:
        parts = len(batches.element_spec)

        def count() -> np.int64:
            SEEN[parts] += 1
            return np.int64(0)

        def counted(*batch: Any) -> Any:
            with tf.control_dependencies([tf.numpy_function(count, [], tf.int64)]):
                return tf.nest.map_structure(tf.identity, batch)

        return batches.map(counted)


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    settings = TrainSettings.model_validate({"epochs": 1, "tensorboard": False, "devices": {"deterministic": False}})
    SEEN.clear()
    return replace(job_in(tmp_path / "run", settings), learner=Counting())


def test_training_and_validation_read_the_learners_batches(job: TrainingJob) -> None:
    fit.fit(job, resume=False)
    assert SEEN[2] >= job.steps_per_epoch
    assert SEEN[3] == -(-job.store.info.num_examples["validation"] // job.settings.batch_size)


def test_fine_tuning_reads_the_learners_batches(job: TrainingJob) -> None:
    devices = strategy.mirrored(job.settings.devices)
    with devices.scope():
        model = with_float_input(job.task.build())
    before = model.get_weights()
    fit.fine_tune(job, devices, model, epochs=1, learning_rate=1e-3)
    assert SEEN[2] >= job.steps_per_epoch
    assert any((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))


def test_statistics_of_a_published_network_settle_within_a_short_training(job: TrainingJob) -> None:
    backbone, picture = MobileNet(kind="mobilenet", alpha=0.25), PictureFormat(height=32, width=32, channels=1)
    published = job.task.model_copy(update={"backbone": backbone, "picture": picture})
    model = fit.build(replace(job, task=published))
    momenta = {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {0.9}
