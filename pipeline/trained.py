"""The trained model of a Run and its task, as every later stage and `predict` read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models import saved
from models.stack import keras
from pipeline.errors import RunError
from pipeline.run import Run
from pipeline.tasks import AnyTask, Task


def load_task(run: Run) -> Task:
    """The task as it was trained, with the class names and statistics of the data; RunError where there is none."""
    return task_from(run.read_json(run.task, "train"), run.task)


def task_from(content: Any, file: Path) -> Task:
    """A resolved task from its plain values in `file`; RunError where they are none."""
    from pydantic import TypeAdapter, ValidationError

    try:
        task: Task = TypeAdapter(AnyTask).validate_python(content)
    except ValidationError as error:
        raise RunError(f"{file} holds no task that this version of Convoy knows: {error}") from error
    return task


def load_model(run: Run) -> keras.Model:
    """The trained model, uncompiled; RunError where there is none or its file is damaged."""
    file = run.require(run.model, "train")
    try:
        return saved.load(file)
    except (ValueError, OSError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise RunError(f"{file} is damaged ({reason}). Run `convoy train {run.path}` again.") from error
