"""Exported parts asked as the whole network is, so that they can be judged beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from models.heads import IMAGE
from pipeline.latency import measure_latency
from pipeline.predictors import Arrays, Predictor, SavedModelPredictor
from pipeline.tasks.base import Task


class WholePredictor:
    """The parts of a network, called one after the other as production calls them.

    Args:
        task: says what of a picture each part sees.
        parts: signature -> its predictor, in the order in which they are called.
    """

    def __init__(self, task: Task, parts: Mapping[str, Predictor]):
        self._task, self._parts = task, parts

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Pictures of the whole network, `image` [B,H,W,C] -> the last part's predictions."""
        *_, (_, _, found) = self._calls(inputs)
        return found

    def latency(self, inputs: Arrays, runs: int) -> dict[str, float]:
        """Signature -> median milliseconds of so many calls for the first picture of `inputs`."""
        calls = self._calls({IMAGE: inputs[IMAGE][:1]})
        return {name: measure_latency(self._parts[name], given, runs).median for name, given, _ in calls}

    def _calls(self, inputs: Arrays) -> Iterator[tuple[str, Arrays, dict[str, np.ndarray]]]:
        """The signature of each part, what it is given, what it answers."""
        pictures = self._task.part_pictures(np.asarray(inputs[IMAGE]))
        known: dict[str, np.ndarray] = {}
        for name, part in self._parts.items():
            given = {**known, IMAGE: pictures[name]}
            found = part(given)
            yield name, given, found
            known.update(found)


def open_parts(file: Path, names: Sequence[str], threads: int = 1) -> dict[str, Predictor]:
    """Signature -> its predictor, of a SavedModel's folder or of a `.tflite`."""
    from ai_edge_litert.interpreter import Interpreter

    from pipeline.tracking.siamese import SignaturePredictor

    if file.is_dir():
        return {name: SavedModelPredictor(file, name) for name in names}
    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    interpreter.allocate_tensors()
    return {name: SignaturePredictor(interpreter, name) for name in names}
