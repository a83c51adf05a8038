"""A quantized student that learns from its float self."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.stack import keras
from pipeline.compress import CompressionJob, CompressSettings
from pipeline.compress.quantization_aware import Int8Qat
from pipeline.compress.self_distillation import taught_by_itself
from pipeline.learners.distilled import Lessons, TaughtByNetwork

TRANSFERS = ["soft_targets", "attention_transfer", "relational"]
LESSONS = Lessons.model_validate({"transfers": [{"kind": kind} for kind in TRANSFERS]})


class Seen:
    """Stands for `pipeline.fit.fine_tune`; keeps what it was called with."""

    def __call__(self, model: keras.Model, epochs: int, learning_rate: float, **options: Any) -> None:
        self.model, self.epochs, self.options = model, epochs, options


@pytest.fixture
def seen(classifier_job: CompressionJob) -> tuple[CompressionJob, Seen]:
    fine_tune = Seen()
    return replace(classifier_job, fine_tune=fine_tune), fine_tune


def test_without_lessons_a_job_is_left_as_it_is(classifier_job: CompressionJob) -> None:
    assert taught_by_itself(classifier_job, None) is classifier_job


def test_it_is_chosen_in_the_configuration() -> None:
    settings = {"variants": [{"kind": "int8_qat", "distillation": {"transfers": [{"kind": "soft_targets"}]}}]}
    (variant,) = CompressSettings.model_validate(settings).variants
    assert variant.distillation == Lessons()
    assert Int8Qat().distillation is None


def test_the_quantized_student_learns_from_the_trained_model(
    seen: tuple[CompressionJob, Seen], pictures: np.ndarray
) -> None:
    job, fine_tune = seen
    before = job.model.get_weights()
    Int8Qat(epochs=1, distillation=LESSONS).fine_tuned(job)
    learner, student = fine_tune.options["learner"], fine_tune.model
    assert isinstance(learner, TaughtByNetwork)
    floats = pictures[:16].astype(np.float32)
    near = lost(learner, job, student, floats)
    assert set(near) == set(TRANSFERS)
    student.set_weights([weight * (1.5 if weight.ndim == 4 else 1.0) for weight in student.get_weights()])
    far = lost(learner, job, student, floats)
    assert all(near[name] < 0.2 * far[name] for name in TRANSFERS)
    assert all(near[name] > 0 for name in TRANSFERS)
    for old, new in zip(before, job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def lost(learner: TaughtByNetwork, job: CompressionJob, student: keras.Model, floats: np.ndarray) -> dict[str, float]:
    """The loss of each transfer, as in a training step."""
    training = learner.training_model(job.task, student)
    return {name: float(np.mean(training(floats, training=True)[name])) for name in TRANSFERS}


def test_the_teacher_has_weights_of_its_own(seen: tuple[CompressionJob, Seen], pictures: np.ndarray) -> None:
    """So that it can be on every replica, and a student that shares them would not change it."""
    job, _ = seen
    (teacher,) = TaughtByNetwork(task=job.task, network=job.model).teachers()
    answer = teacher.open(job.task)
    expected = answer(pictures[:4])["outputs"]["logits"].numpy()
    weights = job.model.get_weights()
    try:
        job.model.set_weights([weight * 0.5 for weight in weights])
        np.testing.assert_array_equal(answer(pictures[:4])["outputs"]["logits"], expected)
    finally:
        job.model.set_weights(weights)
