"""The same encoded pictures, prepared in other ways than for training, must get the same answers.

A SavedModel decodes and resizes inside its graph. A `.tflite` leaves that to its client, so one is played here who has
Pillow and the file's metadata, and none of the model's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.example import IMAGE
from pipeline.export.metadata_reader import prepare_picture, read_preparation
from pipeline.metrics.base import Arrays
from pipeline.tasks.base import Task
from pipeline.verification import Differences, ParityResult

if TYPE_CHECKING:
    from pipeline.predictors import Predictor

BYTES = "image_bytes"


@dataclass(frozen=True)
class Asked:
    """A batch of examples without padding.

    Args:
        labels: what evaluators need.
        inputs: of Predictors: the task's inputs as for training, and the encoded pictures as `image_bytes`, bytes [B].
    """

    labels: Arrays
    inputs: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.inputs[BYTES])


def check_decoding(
    task: Task, by_bytes: Predictor, by_pixels: Predictor, asked: Asked, min_agreement: float
) -> ParityResult:
    """A SavedModel's answers to encoded pictures against its answers to the pixels of the training input."""
    answers = by_pixels(asked.inputs), by_bytes(asked.inputs)
    return _compare(task, asked, answers, "the SavedModel itself", min_agreement)


def check_preparation(task: Task, file: Path, predictor: Predictor, asked: Asked, min_agreement: float) -> ParityResult:
    """A `.tflite`'s answers to pictures prepared by a client against its answers to those of the training input.

    Args:
        file: with metadata.
        predictor: of that file; takes real numbers and quantizes them.
    """
    preparation = read_preparation(file.read_bytes())
    wanted = task.picture.fit, task.picture.missing
    pixels = np.stack([prepare_picture(data, preparation, *wanted) for data in asked.inputs[BYTES]])
    normalised = (pixels.astype(np.float32) - preparation.mean) / preparation.std
    answers = predictor(asked.inputs), predictor({**asked.inputs, IMAGE: normalised})
    apart = np.abs(pixels.astype(np.int16) - asked.inputs[IMAGE]).mean()
    return _compare(task, asked, answers, "a client as the metadata says", min_agreement, float(apart))


def _compare(
    task: Task,
    asked: Asked,
    answers: tuple[Arrays, Arrays],
    way: str,
    min_agreement: float,
    pixel_difference: float | None = None,
) -> ParityResult:
    evaluators, differences = (task.evaluator(), task.evaluator()), Differences()
    for evaluator, predictions in zip(evaluators, answers, strict=True):
        evaluator.update(asked.labels, predictions)
    differences.update(answers[0], task.comparable(*answers))
    agreement = evaluators[1].agreement_with(evaluators[0])
    passed = agreement >= min_agreement
    return ParityResult(way, len(asked), agreement, differences.largest, pixel_difference, passed)
