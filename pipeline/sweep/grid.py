"""Carries out a sweep: makes each variant of the grid, judges its file, and keeps both, so that it can be resumed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.stack import keras
from pipeline import console
from pipeline.compress.base import Compression, CompressionJob
from pipeline.compress.inspect import inspect_file
from pipeline.compress.kernels import slow_operators
from pipeline.errors import ConvoyError, Interrupted, StorageError
from pipeline.evaluate import evaluate_predictor
from pipeline.files import new_folder, write_file
from pipeline.latency import measure_latency
from pipeline.predictors import Arrays, KerasPredictor, Predictor, TFLitePredictor
from pipeline.sweep.rows import Row

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.metrics.base import Evaluator
    from pipeline.tasks.base import Task

MODEL, ROW = "model.tflite", "row.json"


@dataclass(frozen=True)
class Timing:
    """How latency is measured.

    Args:
        threads: of the interpreter.
        runs: calls, of which the median counts.
    """

    threads: int
    runs: int


class Examiner:
    """Judges files beside the trained model, on the same examples.

    Args:
        task: resolved.
        model: trained.
        batches: gives the Examples, with `mask`, each time.
        timing: how latency is measured.
    """

    def __init__(self, task: Task, model: keras.Model, batches: Callable[[], tf.data.Dataset], timing: Timing):
        self.task, self._model, self._batches, self._timing = task, model, batches, timing

    @cached_property
    def trained(self) -> float:
        """The trained model's metric."""
        return float(self._trained_answers.result()[self.task.metric.name])

    def examine(self, file: Path) -> dict[str, Any]:
        """The fields of a Row that are measured on a file, but for `seconds` and `says`."""
        answers = self._ask(TFLitePredictor(file, workers=os.cpu_count() or 1))
        value, content = float(answers.result()[self.task.metric.name]), inspect_file(file)
        if not math.isfinite(value):
            return {"error": "its answers are not finite"}
        timed = TFLitePredictor(file, self._timing.threads)
        return {
            "metric": value,
            "drop": self.task.metric.drop(self.trained, value),
            "agreement": answers.agreement_with(self._trained_answers),
            "bytes": content.bytes,
            "zipped_bytes": content.zipped_bytes,
            "latency_ms": measure_latency(timed, self._one_picture, self._timing.runs).median,
            "float_ops": content.float_operators,
            "slow_operators": slow_operators(file.read_bytes()),
            "sparsity": content.sparsity,
            "weight_bytes": content.weight_bytes,
        }

    @cached_property
    def _trained_answers(self) -> Evaluator:
        return self._ask(KerasPredictor(self.task.serving_model(self._model)))

    @cached_property
    def _one_picture(self) -> Arrays:
        inputs = self.task.encode(next(iter(self._batches())))[0]
        return {name: value.numpy()[:1] for name, value in inputs.items()}

    def _ask(self, predictor: Predictor) -> Evaluator:
        return evaluate_predictor(predictor, self._batches(), self.task)


def sweep(
    variants: Sequence[Compression], job: CompressionJob, examiner: Examiner, folder: Path, shared: Mapping[str, Any]
) -> list[Row]:
    """Makes and judges each variant, unless an earlier sweep has done so with the same settings.

    A variant that cannot be made is a row with the reason.

    Args:
        folder: gets a folder for each variant, with its file and its row.
        shared: all that decides a row besides the variant's own settings, as plain JSON values.

    Raises:
        StorageError: a file cannot be written; the rows before are kept.
    """
    rows = []
    for variant in variants:
        place = folder / variant.variant_name
        key = key_of(variant, shared)
        row = finished_row(place, key) or new_row(variant, job, examiner, place, key)
        console.say(f"sweep: {described(row, examiner.task.metric.name)}")
        rows.append(row)
    return rows


def key_of(variant: Compression, shared: Mapping[str, Any]) -> str:
    """Changes with everything that decides a row."""
    content = json.dumps({"variant": variant.model_dump(mode="json"), **shared}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def finished_row(place: Path, key: str) -> Row | None:
    """The row of an earlier sweep; None where there is none, where settings differ, or where it failed then."""
    file = place / ROW
    if not file.is_file() or not (place / MODEL).is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Row(**content["row"]) if content["key"] == key else None
    except (ValueError, KeyError, TypeError):  # of another version, or damaged: made anew
        return None


def new_row(variant: Compression, job: CompressionJob, examiner: Examiner, place: Path, key: str) -> Row:
    """Makes one variant, judges and keeps it."""
    began, worked = time.perf_counter(), time.process_time()
    known: dict[str, Any] = {
        "name": variant.variant_name,
        "settings": variant.model_dump(mode="json", exclude={"name"}),
    }
    try:
        made = variant.compress(job)
        known["cpu_seconds"] = round(time.process_time() - worked, 2)
        known["seconds"] = round(time.perf_counter() - began, 2)
        with new_folder(place) as temporary:
            write_file(temporary / MODEL, made.content)
            row = Row(**known, says=made.says, **examiner.examine(temporary / MODEL))
            write_file(temporary / ROW, json.dumps({"key": key, "row": asdict(row)}, indent=2) + "\n")
    except (StorageError, Interrupted):
        raise
    except ConvoyError as error:
        return Row(**known, error=" ".join(str(error).split()))
    except Exception as error:  # whatever a library raises for one variant, the others are still worth having
        return Row(**known, error=f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
    return row


def described(row: Row, metric: str) -> str:
    """A row in one line."""
    if not row.made:
        return f"{row.name} failed: {row.error}"
    says = f"; {row.says}" if row.says else ""
    return (
        f"{row.name}, {row.bytes:,} bytes ({row.zipped_bytes:,} zipped), {metric} {row.metric:.4f}, "
        f"drop {row.drop:.4f}, {row.latency_ms:.3g} ms{says}"
    )
