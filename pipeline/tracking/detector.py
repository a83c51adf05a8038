"""A trained model as tracking asks it: frames in, detections in pixels of the frame out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from models.preprocess import fit_window
from pipeline.data.frames import fitted
from pipeline.errors import ConfigError
from pipeline.predictors import Predictor
from pipeline.tasks import Detection
from pipeline.tracking.tracker import Detections


class FrameDetector(Protocol):
    """Whatever finds objects in frames."""

    @property
    def class_names(self) -> Sequence[str]:
        """What the numbers of classes stand for."""

    @property
    def threshold(self) -> float:
        """Score from which on an object counts as found."""

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """Frames uint8 [h,w,3] of one size -> what is in each."""


class ModelDetector:
    """A model of the task `detection`.

    Args:
        task: resolved.
        predictor: gives its decoded predictions.
    """

    def __init__(self, task: Detection, predictor: Predictor):
        self._task, self._predictor = task, predictor

    @property
    def class_names(self) -> Sequence[str]:
        """The task's."""
        return self._task.class_names

    @property
    def threshold(self) -> float:
        """The task's."""
        return self._task.found_from

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """One call of the predictor for all."""
        format = self._task.picture
        predictions = self._predictor({"image": np.stack([fitted(frame, format) for frame in frames])})
        height, width = frames[0].shape[:2]
        window = np.asarray(fit_window(format, height, width))
        rows = [{name: value[row] for name, value in predictions.items()} for row in range(len(frames))]
        placed = [self._task.placed(row, window) for row in rows]
        return [_in_pixels(one, height, width) for one in placed]


def open_detector(model: Path) -> ModelDetector:
    """The detector of a Run, an export folder, a SavedModel or a `.tflite`, also in a bucket.

    Raises:
        RunError: there is no model, or nothing says what its answers mean.
        ConfigError: it answers no boxes.
    """
    from pipeline.export.anchored_reader import answering
    from pipeline.mirror import fetched
    from pipeline.predictors import open_predictor
    from pipeline.trained import model_files, task_of

    with fetched(model) as local:
        task = task_of(local)
        if not isinstance(task, Detection):
            raise ConfigError(
                f"{model} is a model of the task {task.name!r}; tracking needs one of the task 'detection'."
            )
        return ModelDetector(task, answering(task, local, open_predictor(model_files(local))))


def _in_pixels(prediction: dict[str, np.ndarray], height: int, width: int) -> Detections:
    there = slice(int(prediction["count"]))
    boxes = np.asarray(prediction["boxes"], np.float64)[there] * (width, height, width, height)
    classes = np.asarray(prediction["classes"])[there].astype(np.int64)
    return Detections(boxes, np.asarray(prediction["scores"], np.float64)[there], classes)
