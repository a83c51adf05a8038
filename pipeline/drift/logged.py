"""What a server answered, as the task's own predictions: Classify and Regress call them by other names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.stack import tf
from pipeline.data.requests.picture import LoggedPicture
from pipeline.tasks.base import Task

Arrays = Mapping[str, np.ndarray]


class Translation:
    """From outputs of a signature to predictions of a task.

    Args:
        task: resolved.
        predictions: some of it, [n, ...] by name, n >= 1: their names, shapes and types are what is expected.
    """

    def __init__(self, task: Task, predictions: Arrays):
        self._expected = {name: value[:1] for name, value in predictions.items()}
        tensors = {name: tf.constant(value) for name, value in self._expected.items()}
        self._names = {
            signature: _same(outputs, tensors) for signature, outputs in task.example_signatures(tensors).items()
        }

    def predictions(self, picture: LoggedPicture) -> dict[str, np.ndarray] | None:
        """The prediction that was logged, without a batch axis; None where it does not fit the task."""
        names = self._names.get(picture.signature, {name: name for name in self._expected})
        found = {}
        for name, value in self._expected.items():
            logged = picture.outputs.get(names.get(name, ""))
            if logged is None or logged.shape != value.shape[1:] or logged.dtype.kind != value.dtype.kind:
                return None
            found[name] = logged
        return found


def _same(outputs: Mapping[str, Any], predictions: Mapping[str, Any]) -> dict[str, str]:
    """Prediction -> the output of a signature that passes it on."""
    return {
        name: output for name, value in predictions.items() for output, passed in outputs.items() if passed is value
    }
