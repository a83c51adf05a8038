"""The trained model of a Run and its task, as every later stage and `predict` read them."""

from __future__ import annotations

import importlib

from models.stack import keras
from pipeline.run import Run
from pipeline.tasks import AnyTask, Task


def load_task(run: Run) -> Task:
    """The task as it was trained, with the class names and statistics of the data; RunError where there is none."""
    from pydantic import TypeAdapter

    task: Task = TypeAdapter(AnyTask).validate_python(run.read_json(run.task, "train"))
    return task


def load_model(run: Run) -> keras.Model:
    """The trained model, uncompiled; RunError where there is none."""
    importlib.import_module("models.layers")  # registers the layers of our own, which the file knows by name
    return keras.models.load_model(run.require(run.model, "train"), compile=False)
