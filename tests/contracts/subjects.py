"""What the contracts are held against: every task with every learner, tiny, on the same pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.detectors import DETECTORS
from models.stack import keras, tf
from pipeline import stages
from pipeline.data.input import InputSettings, training_batches
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.store import Store
from pipeline.learners import LEARNERS, Learner
from pipeline.run import Run
from pipeline.tasks import TASKS, Task
from tests.contracts.tables import SMALL, data_settings, data_with_holes

SIZE = 16
BATCH = 8
SMALLEST: dict[str, dict[str, Any]] = {
    "small_resnet": {"depth": 6, "widths": [8, 8]},
    "mobilenet": {"alpha": 0.25},
    "mobilenet_v2": {"alpha": 0.35},
}
"""Settings that make a backbone small; one that is not named here is taken as it is."""


OTHERWISE_LARGE: dict[str, dict[str, Any]] = {
    "faster_rcnn": {"proposals": 24, "candidates": 60, "region_bins": 3, "region_cells": 2.0, "region_width": 16},
}
"""Detector -> settings that make it small, beside the one that all have; one that is not named here needs no others."""


def small_detector(kind: str) -> dict[str, Any]:
    """A detector as small as a test takes it."""
    return {"kind": kind, "head_width": 8, **OTHERWISE_LARGE.get(kind, {})}


VARIETIES: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (kind, {}) for kind in TASKS},
    **{
        f"detection-{kind}": ("detection", {"detector": small_detector(kind)})
        for kind in DETECTORS
        if kind != SMALL["detection"]["detector"]["kind"]
    },
    "detection-flips": ("detection", {"flips": ["horizontal", "vertical"]}),
}
"""Name -> task and settings: every task, and detection with each of its architectures."""
PLAINEST = "classification"
"""The task that stands for all where a learner does the same with each."""
ONCE = [
    *((name, "supervised") for name in TASKS),
    *((PLAINEST, learner) for learner in LEARNERS if learner != "supervised"),
]
"""Each task once, and each learner."""
TRAINED = [*ONCE, *((name, "supervised") for name in VARIETIES if name not in TASKS)]
"""The same, and each architecture. The lists begin alike: pytest orders by the place in a list, and so each subject is
made once for all tests."""
PAIRS = [*TRAINED, *(pair for pair in itertools.product(TASKS, LEARNERS) if pair not in TRAINED)]
"""Each task with each learner, and the other varieties with the usual one."""


def task_class(name: str) -> type[Task]:
    """The task of a variety."""
    return TASKS[VARIETIES[name][0]]


def store_for(task: type[Task], table: Path) -> Store:
    """The table's pictures, prepared with what the task learns from; made once for all that learn the same."""
    return prepare(DataSettings.model_validate(data_settings(table, task.label_field)), table.parent / "stores")


def store_with_holes(task: type[Task], table: Path) -> Store:
    """The same where some of the labels are not known."""
    return prepare(DataSettings.model_validate(data_with_holes(table, task.label_field)), table.parent / "stores")


def weighted(task: Task, store: Store) -> Task:
    """The task with its losses weighted by class, where it knows classes."""
    if "class_weights" not in type(task).model_fields:
        return task
    return type(task).model_validate({**task.model_dump(), "class_weights": {"kind": "balanced"}}).resolve(store.info)


def tiny_task(kind: str, store: Store, backbone: str = "small_resnet", size: int = SIZE) -> Task:
    """A variety with its defaults, a small network, and what the data decides."""
    task, settings = VARIETIES[kind]
    network = {
        "picture": {"height": size, "width": size},
        "backbone": {"kind": backbone, **SMALLEST.get(backbone, {})},
    }
    return TASKS[task].model_validate({**network, **SMALL.get(task, {}), **settings}).resolve(store.info)


def trained_run(task: Task, store: Store) -> Path:
    """A Run with a network of the task as it is made, for learners that need a trained one; made once."""
    run = Run(store.path.parent / f"{task.name}_{store.path.name}")
    if not run.model.exists():
        keras.utils.set_random_seed(2)
        stages.keep_model(run, task.build(), task)
    return run.path


NEEDS: dict[str, Callable[[Task, Store], dict[str, Any]]] = {
    "distilled": lambda task, store: {
        "teacher": str(trained_run(task, store)),
        "transfers": [
            {"kind": "soft_targets", "temperature": 2},
            {"kind": "attention_transfer", "weight": 1},
            {"kind": "relational", "weight": 0.1},
        ],
    },
}
"""Learner -> the settings that it cannot do without, and what they name made; one that is not named here needs none."""


def tiny_learner(kind: str, task: Task, store: Store) -> Learner:
    """The learner with its defaults and with what it needs."""
    settings = NEEDS[kind](task, store) if kind in NEEDS else {}
    return LEARNERS[kind].model_validate(settings)


@dataclass(frozen=True)
class Subject:
    """A task with a learner: its model, what is fitted, and one batch.

    Args:
        inputs, targets: by name, as the fitted model takes them.
    """

    task: Task
    learner: Learner
    store: Store
    model: keras.Model
    fitted: keras.Model
    inputs: dict[str, tf.Tensor]
    targets: dict[str, tf.Tensor]

    def compile(self, optimizer: keras.optimizers.Optimizer, **options: Any) -> keras.Model:
        """The fitted model, compiled as `pipeline.fit` does it."""
        losses, metrics = self.learner.losses(self.task), self.task.metrics()
        self.fitted.compile(optimizer, loss=losses, weighted_metrics=metrics, jit_compile=False, **options)
        return self.fitted


def subject(task: Task, learner: str, store: Store, batch_size: int = BATCH) -> Subject:
    """Random weights from a seed, and the first batch of the training split."""
    keras.backend.clear_session()
    chosen = tiny_learner(learner, task, store)
    keras.utils.set_random_seed(1)
    model = task.build()
    fitted = chosen.training_model(task, model)
    stream = chosen.batches(task, training_batches(store, task, (), InputSettings(), batch_size, seed=1))
    inputs, targets = next(iter(stream))
    return Subject(task, chosen, store, model, fitted, inputs, targets)


def gradients(subject: Subject) -> dict[str, Any]:
    """Name of each trainable weight of the fitted model -> gradient of one step on the batch, or None."""

    class Recorder(keras.optimizers.SGD):
        """Keeps what a step would apply, whichever way the model computes its step."""

        def apply_gradients(self, pairs: Any, *arguments: Any, **options: Any) -> Any:
            self.pairs = list(pairs)
            return super().apply_gradients(self.pairs, *arguments, **options)

    recorder = Recorder(0.0)
    subject.compile(recorder, run_eagerly=True).train_on_batch(subject.inputs, subject.targets)
    found = {id(weight): gradient for gradient, weight in recorder.pairs}
    return {weight.name: found.get(id(weight)) for weight in subject.fitted.trainable_weights}
