"""How good is a `.tflite`, on pictures that `verify` does not judge by? What techniques choose by while compressing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from models.stack import keras
from pipeline.data.example import REAL, TEST, TRAIN, VALIDATION, DataInfo
from pipeline.data.input import evaluation_batches, evaluation_split
from pipeline.evaluate import evaluate_predictor
from pipeline.predictors import Arrays, KerasPredictor, Predictor, TFLitePredictor

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.data.store import Store
    from pipeline.tasks.base import Task

Answer = TypeVar("Answer")

BATCH = 32
COMPARED = 64
"""Pictures that `Judge.distance` asks; its value is smooth, so that few do."""


def held_out_split(info: DataInfo) -> str:
    """The split that a choice may be made on: `validation` where it is not what models are judged on, else `train`."""
    has_validation = info.num_examples.get(VALIDATION, 0) > 0
    return VALIDATION if evaluation_split(info) == TEST and has_validation else TRAIN


def held_out_batches(store: Store, task: Task, most: int) -> tf.data.Dataset:
    """At most `most` Examples of that split."""
    return first_batches(store, task, held_out_split(store.info), most)


def first_batches(store: Store, task: Task, split: str, most: int) -> tf.data.Dataset:
    """The first Examples of a split, at most `most`, in the store's (mixed) order, as `evaluation_batches` gives them;
    the last batch is not padded."""
    batches = evaluation_batches(store, task, split, min(BATCH, most))
    return batches.unbatch().filter(lambda example: example[REAL]).take(most).batch(BATCH)


class Judge:
    """Holds the content of `.tflite` files against the trained model. What the model answers is computed once, when it
    is first asked for.

    Args:
        task: resolved.
        model: trained, `image` uint8 [B, H, W, C] in, raw outputs out.
        batches: gives the same Examples with `mask` each time, such as `held_out_batches`.
    """

    def __init__(self, task: Task, model: keras.Model, batches: Callable[[], tf.data.Dataset]):
        self._task, self._model, self._batches = task, model, batches

    def drop(self, content: bytes) -> float:
        """How much worse the task's metric is than the trained model's, in its own unit; negative where better."""
        return self._task.metric.drop(self._trained_score, self._ask(content, self._score))

    def distance(self, content: bytes) -> float:
        """How far the predictions lie from the trained model's: the mean difference of all numbers, each measured by
        its spread over the pictures. Unlike `drop` it shows a change that alters no answer."""
        expected, inputs = self._trained_answers, self._inputs
        found = self._ask(content, lambda predictor: predictor(inputs))
        return float(np.mean([_apart(expected[name], found[name]) for name in expected]))

    @cached_property
    def _trained(self) -> KerasPredictor:
        return KerasPredictor(self._task.serving_model(self._model))

    @cached_property
    def _trained_score(self) -> float:
        return self._score(self._trained)

    @cached_property
    def _inputs(self) -> Arrays:
        """The first examples as the model takes them, [n, ...] each, n <= COMPARED."""
        first = self._batches().unbatch().take(COMPARED).batch(COMPARED).map(lambda batch: self._task.encode(batch)[0])
        return {name: value.numpy() for name, value in next(iter(first)).items()}

    @cached_property
    def _trained_answers(self) -> Arrays:
        return self._trained(self._inputs)

    def _score(self, predictor: Predictor) -> float:
        result = evaluate_predictor(predictor, self._batches(), self._task).result()
        return float(result[self._task.metric.name])

    def _ask(self, content: bytes, question: Callable[[Predictor], Answer]) -> Answer:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.tflite")
            file.write_bytes(content)
            return question(TFLitePredictor(file, workers=os.cpu_count() or 1))


def _apart(expected: np.ndarray, found: np.ndarray) -> float:
    spread = expected.astype(np.float64).std(axis=0) + 1e-9
    return float(np.mean(np.abs(expected - found) / spread))
