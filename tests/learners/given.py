"""Tiny tasks and Runs with networks that were never trained: what a teacher knows does not matter here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.stack import keras, tf
from pipeline import stages
from pipeline.run import Run
from pipeline.tasks import TASKS, Task

CLASSES = ("cat", "dog", "owl")
RESOLVED: dict[str, dict[str, Any]] = {
    "classification": {"class_names": CLASSES},
    "multi_label": {"class_names": CLASSES},
    "regression": {"value_names": ("x", "y"), "value_mean": (1.0, -2.0), "value_std": (0.5, 4.0)},
}


def task(kind: str = "classification", size: int = 16, channels: int = 3, **settings: Any) -> Task:
    """A task as the data has resolved it."""
    picture = {"height": size, "width": size, "channels": channels}
    backbone = {"kind": "small_resnet", "depth": 8, "widths": (4, 4, 8)}
    return TASKS[kind].model_validate({"picture": picture, "backbone": backbone, **RESOLVED[kind], **settings})


def wide(kind: str = "classification", **settings: Any) -> Task:
    """The same with another network."""
    return task(kind, backbone={"kind": "small_resnet", "depth": 6, "widths": (8, 16)}, **settings)


def run_of(folder: Path, taught: Task, seed: int = 3) -> Run:
    """A Run that holds a network of a task."""
    keras.utils.set_random_seed(seed)
    run, model = Run(folder), taught.build()
    for weight in model.trainable_weights:  # so that its answers differ from picture to picture
        weight.assign(weight * 3.0 + 0.1 * tf.random.stateless_normal(weight.shape, (seed, 1)))
    stages.keep_model(run, model, taught)
    return run


def pictures(count: int = 6, size: int = 16, channels: int = 3) -> np.ndarray:
    """uint8 noise."""
    return np.random.default_rng(1).integers(0, 256, (count, size, size, channels), dtype=np.uint8)
