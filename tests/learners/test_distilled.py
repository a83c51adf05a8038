"""Training with a teacher: what is learned, what is not touched, and what ships."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ConfigDict

from models import distillation
from models.graphs import with_float_input
from models.stack import keras, tf
from pipeline import fit, stages
from pipeline.learners import Distilled, Supervised
from pipeline.learners.distilled import Distillation
from pipeline.learners.teachers import Network, Teacher
from pipeline.run import Run
from pipeline.strategy import Precision, mirrored
from pipeline.tasks import Task
from pipeline.train import TrainingJob, TrainSettings
from tests.learners.given import pictures, task, wide
from tests.training.program import job_in

ALL = ({"kind": "soft_targets"}, {"kind": "attention_transfer"}, {"kind": "relational"})


class Known(Distillation):
    """Its teachers are at hand, so that a test can look at them afterwards."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    known: Any

    def teachers(self) -> Sequence[Teacher]:
        taught, models = self.known
        return [Network(f"teacher {number}", taught, lambda model=one: model) for number, one in enumerate(models)]


def known(taught: Task, *models: keras.Model, transfers: Sequence[Any] = ALL, **settings: Any) -> Known:
    return Known.model_validate({"known": (taught, models), "transfers": transfers, **settings})


def compiled(learner: Distillation, student: Task, model: keras.Model) -> keras.Model:
    fitted = learner.training_model(student, model)
    losses, metrics = learner.losses(student), student.metrics()
    fitted.compile(keras.optimizers.SGD(0.01), losses, weighted_metrics=metrics, run_eagerly=True)  # steps are few
    return fitted


def batch(learner: Distillation, student: Task, targets: Any, count: int = 6) -> Any:
    labelled = tf.data.Dataset.from_tensors(({"image": pictures(count)}, targets))
    return next(iter(learner.batches(student, labelled)))


def unknown(count: int = 6) -> dict[str, np.ndarray]:
    return {"logits": np.zeros((count, 3), np.float32)}


def test_each_transfer_is_a_loss_and_they_add_up() -> None:
    student = task()
    learner = known(wide(), wide().build(), transfers=(*ALL, {"kind": "soft_targets", "temperature": 1, "weight": 5}))
    fitted = compiled(learner, student, student.build())
    inputs, targets = batch(learner, student, {"logits": np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]})
    found = fitted.train_on_batch(inputs, targets, return_dict=True)
    names = ["logits", "soft_targets", "attention_transfer", "relational", "soft_targets_2"]
    assert found["loss"] == pytest.approx(sum(found[f"{name}_loss"] for name in names), rel=1e-5)
    assert all(found[f"{name}_loss"] > 0 for name in names)


def test_the_values_are_those_of_the_two_networks() -> None:
    student, teacher, model = task(), wide().build(), task().build()
    fitted = known(wide(), teacher, transfers=ALL[:1]).training_model(student, model)
    shown = pictures()
    pairs = model(shown, training=False)["logits"], teacher(shown, training=False)["logits"]
    expected = distillation.softened_softmax(*pairs, 4.0)
    np.testing.assert_allclose(fitted(shown, training=False)["soft_targets"][:, 0], expected, rtol=1e-4)


def test_several_teachers_count_the_mean() -> None:
    student, model, teachers = task(), task().build(), [wide().build() for _ in range(2)]
    both, *each = (
        known(wide(), *some, transfers=ALL[:2]).training_model(student, model)(pictures(), training=False)
        for some in (teachers, teachers[:1], teachers[1:])
    )
    for name in ("soft_targets", "attention_transfer"):
        np.testing.assert_allclose(both[name], (each[0][name] + each[1][name]) / 2, rtol=1e-4)


def test_the_teacher_stays_as_it_is_and_belongs_to_nobody() -> None:
    student, teacher, model = task(), wide().build(), task().build()
    learner = known(wide(), teacher)
    fitted = compiled(learner, student, model)
    before = [weight.numpy() for weight in teacher.weights]
    student_before = model.get_weights()
    for _ in range(3):
        fitted.train_on_batch(*batch(learner, student, unknown()))
    for old, new in zip(before, teacher.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert any((old != new).any() for old, new in zip(student_before, model.get_weights(), strict=True))
    assert {id(weight) for weight in fitted.weights} == {id(weight) for weight in model.weights}
    assert {id(weight) for weight in fitted.trainable_weights} == {id(weight) for weight in model.trainable_weights}


@pytest.mark.parametrize("label_weight", [1.0, 0.0])
def test_unknown_labels_learn_from_the_teacher(label_weight: float) -> None:
    student, model = task(), task().build()
    learner = known(wide(), wide().build(), transfers=ALL[:1], label_weight=label_weight)
    fitted = compiled(learner, student, model)
    inputs, targets = batch(learner, student, unknown())
    values = [fitted.train_on_batch(inputs, targets, return_dict=True) for _ in range(20)]
    assert {value["logits_loss"] for value in values} == {0.0}
    assert values[-1]["soft_targets_loss"] < 0.7 * values[0]["soft_targets_loss"]


def test_labels_count_by_their_weight_and_keep_their_masks() -> None:
    student = task("multi_label", class_weights={"kind": "given", "weights": {"cat": 1.0, "dog": 2.0, "owl": 3.0}})
    learner = known(wide("multi_label"), wide("multi_label").build(), label_weight=0.25)
    loss, own = learner.losses(student)["logits"], student.losses()["logits"]
    known_labels = np.array([[1, 0, np.nan], [np.nan] * 3], np.float32)
    logits = np.array([[2, -1, 5], [1, 1, 1]], np.float32)
    np.testing.assert_allclose(loss.call(known_labels, logits), 0.25 * own.call(known_labels, logits))
    assert float(loss.call(known_labels, logits)[1]) == 0.0


def test_relations_count_only_while_training() -> None:
    student = task()
    fitted = known(wide(), wide().build()).training_model(student, student.build())
    shown = pictures()
    assert np.all(fitted(shown, training=False)["relational"] == 0.0)
    assert np.all(fitted(shown, training=True)["relational"] > 0.0)


def test_a_student_with_float_input_sees_the_same() -> None:
    student, model, teacher = task(), task().build(), wide().build()
    learner = known(wide(), teacher, transfers=ALL[:2])
    expected = learner.training_model(student, model)(pictures(), training=False)
    floats = learner.training_model(student, with_float_input(model))(pictures().astype(np.float32), training=False)
    for name, values in expected.items():
        np.testing.assert_allclose(floats[name], values, rtol=1e-4, atol=1e-6)


def test_mixed_precision_compares_in_float32() -> None:
    student = task()
    with Precision("mixed_bfloat16"):
        model = student.build()
        learner = known(wide(), wide().build())
        fitted = compiled(learner, student, model)
    assert {layer.dtype for layer in fitted.layers if isinstance(layer, distillation.Computed)} == {"float32"}
    found = fitted.train_on_batch(*batch(learner, student, unknown()), return_dict=True)
    assert np.isfinite(list(found.values())).all()


# ------------------------------------------------------------------------------------------------- the whole training


SETTINGS = {
    "epochs": 1,
    "batch_size": 32,
    "tensorboard": False,
    "average_decay": 0.5,
    "transfer": {"frozen_epochs": 1, "learning_rate": 0.002},
    "devices": {"deterministic": False},
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """The digits, in two phases with averaged weights, taught by a wider network."""
    folder = tmp_path_factory.mktemp("student")
    job = job_in(folder / "run", TrainSettings.model_validate(SETTINGS))
    taught = job.task.model_copy(update={"backbone": wide().backbone})
    stages.keep_model(Run(folder / "teacher"), taught.build(), taught)
    return replace(job, learner=Distilled.model_validate({"teacher": str(folder / "teacher"), "transfers": ALL}))


def test_only_the_student_ships_and_its_best_weights_are_kept(job: TrainingJob) -> None:
    model, result = fit.fit(job, resume=False)
    assert [weight.shape for weight in model.weights] == [weight.shape for weight in job.task.build().weights]
    assert list(model.output_names) == ["logits"]
    assert not any(isinstance(layer, distillation.Computed) for layer in model.layers)
    with job.history.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["phase"] for row in rows] == ["frozen", "unfrozen"]
    best = max(rows, key=lambda row: float(row["val_accuracy"]))
    assert result.best_step == int(best["step"])
    for row in rows:
        parts = [float(row[f"val_{name}_loss"]) for name in job.learner.losses(job.task)]
        assert float(row["val_loss"]) == pytest.approx(sum(parts), rel=1e-4)
    validated = fit.validation_data(job)
    fitted = compiled(job.learner, job.task, model)
    found = fitted.evaluate(validated, verbose=0, return_dict=True)
    assert found["logits_accuracy"] == pytest.approx(float(best["val_accuracy"]), abs=1e-6)


def test_checkpoints_do_not_hold_the_teacher(job: TrainingJob) -> None:
    saved = {}
    for name, learner in (("taught", job.learner), ("alone", Supervised())):
        folder = job.checkpoints.parent / name
        settings = job.settings.model_copy(update={"transfer": None})
        one = replace(job, learner=learner, checkpoints=folder, settings=settings)
        training = fit.start(one, resume=False)
        training.checkpoints.bind(training.fitted, fit.compile_phase(training, fit.phases(one.settings, 1)[0]), None)
        training.checkpoints.save()
        saved[name] = [shape for _, shape in tf.train.list_variables(str(folder / "ckpt-0"))]
    assert sorted(map(str, saved["taught"])) == sorted(map(str, saved["alone"]))


def test_fine_tuning_learns_from_the_teacher_too(job: TrainingJob) -> None:
    devices = mirrored(job.settings.devices)
    with devices.scope():
        model = with_float_input(job.task.build())
    before = model.get_weights()
    taught = replace(job, learner=job.learner.model_copy(update={"label_weight": 0.0}))
    fit.fine_tune(taught, devices, model, epochs=1, learning_rate=1e-3)
    assert any((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))
