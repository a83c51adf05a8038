"""The trained model of a Run and its task, as every later stage and `predict` read them."""

from __future__ import annotations

import json
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


def task_of(model: Path) -> Task:
    """The resolved task of a Run, or of the contract that lies in an export folder, beside (or above) an exported file.

    Raises:
        RunError: there is no such model, or nothing says what its answers mean.
    """
    if not model.exists():
        raise RunError(f"There is no {model}. Give a Run, an export folder, a SavedModel or a .tflite file.")
    run = Run(model)
    if run.task.exists():
        return load_task(run)
    contract = contract_of(model)
    try:
        return task_from(json.loads(contract.read_text(encoding="utf-8"))["task"], contract)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{contract} is damaged ({error!r}). Run `convoy export` again.") from error


def contract_of(model: Path) -> Path:
    """`contract.json` in the folder itself, or up to two folders above (export/saved_model/VERSION)."""
    for folder in (model, *list(model.absolute().parents)[:2]):
        if (folder / "contract.json").is_file():
            return folder / "contract.json"
    raise RunError(
        f"Nothing says what the answers of {model} mean: it is no Run with a trained model, and no contract.json lies "
        "beside it. `convoy export` writes one; copy it along with the exported file."
    )


def model_files(model: Path) -> Path:
    """What is to be opened: in an export folder, its SavedModel."""
    return model / "saved_model" if (model / "contract.json").is_file() else model


def load_model(run: Run) -> keras.Model:
    """The trained model, uncompiled; RunError where there is none or its file is damaged."""
    file = run.require(run.model, "train")
    try:
        return saved.load(file)
    except (ValueError, OSError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise RunError(f"{file} is damaged ({reason}). Run `convoy train {run.path}` again.") from error
