"""Trained Siamese networks as a follower asks them, whatever runs behind them.

S = side of the crops, P = places, k, F = the template's features, m = windows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, RunError
from pipeline.predictors import SAVED_MODEL, Arrays, KerasPredictor, Predictor, SavedModelPredictor
from pipeline.tasks.single_object import SingleObjectTracking

TEMPLATE, SEARCH = "template", "search"


class DividedNetwork:
    """The two parts of a network.

    Args:
        task: resolved.
        template, search: predictors, as `pipeline.export.parts` makes them.
    """

    def __init__(self, task: SingleObjectTracking, template: Predictor, search: Predictor):
        self.side, self.threshold = task.side, task.found_from
        self._template, self._search = template, search

    def template(self, crops: np.ndarray) -> np.ndarray:
        """uint8 [1,S,S,3] -> float32 [1,k,k,F]."""
        return self._template({"image": crops})["template"]

    def search(self, crops: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [m,S,S,3] and a template [1,k,k,F] -> scores [m,P], boxes [m,P,4]."""
        found = self._search({"image": crops, "template": np.repeat(template, len(crops), axis=0)})
        return found["scores"], found["boxes"]


class SignaturePredictor:
    """One signature of a `.tflite` with several, example by example.

    Args:
        interpreter: of the file, with its tensors allocated.
        signature: its name.
    """

    def __init__(self, interpreter: Any, signature: str):
        self._run = interpreter.get_signature_runner(signature)
        self._types = {name: detail["dtype"] for name, detail in self._run.get_input_details().items()}

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """[B, ...] in, [B, ...] out."""
        given = {name: inputs[name].astype(dtype) for name, dtype in self._types.items()}
        count = len(next(iter(given.values())))
        rows = [self._run(**{name: one[row : row + 1] for name, one in given.items()}) for row in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def open_network(place: Path) -> DividedNetwork:
    """The network of a Run, or of its exported parts (a SavedModel's folder, a `.tflite`), also in a bucket.

    Raises:
        RunError: there is no model, or nothing says what its answers mean.
        ConfigError: it was trained on another task.
    """
    from pipeline.mirror import fetched
    from pipeline.trained import task_of

    with fetched(place) as local:
        task = task_of(local)
        if not isinstance(task, SingleObjectTracking):
            raise ConfigError(
                f"{place} is a model of the task {task.name!r}; following one object needs one of the task "
                "'single_object_tracking'."
            )
        return DividedNetwork(task, *_predictors(local, task))


def _predictors(place: Path, task: SingleObjectTracking) -> tuple[Predictor, Predictor]:
    from pipeline.run import Run

    if Run(place).model.is_file():
        return _of_run(Run(place), task)
    if place.suffix == ".tflite":
        return _of_file(place)
    if (place / SAVED_MODEL).is_file():
        return SavedModelPredictor(place, TEMPLATE), SavedModelPredictor(place, SEARCH)
    raise RunError(
        f"{place} is nothing to follow objects with. Expected a Run that has been trained, or, of its exported parts, "
        "the folder of the SavedModel or a .tflite file."
    )


def _of_run(run: Any, task: SingleObjectTracking) -> tuple[Predictor, Predictor]:
    from pipeline.export.parts import decoded_parts
    from pipeline.trained import load_model

    parts = decoded_parts(task, load_model(run))
    return KerasPredictor(parts[TEMPLATE]), KerasPredictor(parts[SEARCH])


def _of_file(file: Path) -> tuple[Predictor, Predictor]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(file), num_threads=1)
        interpreter.allocate_tensors()
        return SignaturePredictor(interpreter, TEMPLATE), SignaturePredictor(interpreter, SEARCH)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"LiteRT cannot follow objects with {file}: {error}") from error
