"""Predictor x examples -> metrics. One loop for the trained model, a SavedModel, a `.tflite`, a server."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from models.settings import Settings
from pipeline.data.example import IMAGE, REAL
from pipeline.errors import TrainingError
from pipeline.metrics.base import Evaluator

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.predictors import Predictor
    from pipeline.tasks.base import Task


class EvaluateSettings(Settings):
    """How the trained model and the exported files are scored."""

    batch_size: int = Field(default=64, ge=1)
    """Pictures at a time; decides speed and memory, not the result."""
    mistakes: int = Field(default=16, ge=0)
    """How many of the worst answers are kept as pictures for the report."""
    samples: int = Field(default=16, ge=0)
    """How many training pictures, as the model sees them, are kept for the report."""


def evaluate_predictor(
    predictor: Predictor,
    batches: tf.data.Dataset,
    task: Task,
    progress: Callable[..., None] | None = None,
) -> Evaluator:
    """Answers every example once and collects the answers.

    Args:
        predictor: inputs by name -> decoded predictions by name, numpy.
        batches: Examples with `mask`, as `evaluation_batches` gives them.
        progress: told the number of examples answered so far.
    """
    evaluator, done = task.evaluator(), 0
    for batch in batches.map(lambda examples: (examples, task.encode(examples)[0])):
        examples, inputs = batch
        predictions = predictor({name: value.numpy() for name, value in inputs.items()})
        real = examples[REAL].numpy()
        evaluator.update(labels_of(examples, real), {name: value[real] for name, value in predictions.items()})
        done += int(real.sum())
        if progress is not None:
            progress(done)
    return evaluator


def finite_result(task: Task, evaluator: Evaluator) -> dict[str, Any]:
    """The evaluator's result; TrainingError where the model's answers are NaN or infinite."""
    result = evaluator.result()
    if not math.isfinite(result[task.metric.name]):
        raise TrainingError(
            f"The trained model's answers to {result.get('non_finite_answers', 'some')} of {result['num_examples']} "
            "pictures are not finite. Train again with a lower train.optimizer.learning_rate, or with "
            "train.optimizer.clip_norm=1.0."
        )
    return result


def labels_of(examples: dict[str, Any], real: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of a batch that evaluators need, numpy, without padding and pictures."""
    return {name: value.numpy()[real] for name, value in examples.items() if name not in (IMAGE, REAL)}
