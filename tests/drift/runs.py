"""Runs with networks that were never trained, and logs of what they would have answered."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.stack import keras
from pipeline import stages
from pipeline.config import load
from pipeline.data.input import encoded_pictures
from pipeline.data.requests.picture import LoggedPicture
from pipeline.data.requests.reader import RequestLog
from pipeline.predictors import Predictor, trained_predictor
from pipeline.run import Run
from pipeline.tasks import TASKS
from pipeline.trained import load_task
from tests.contracts.tables import SMALL, data_settings, write_table
from tests.data.requests.given import NOON, written

NETWORK = {"kind": "small_resnet", "depth": 6, "widths": [8, 8]}
SIDE = 16

Answers = Mapping[str, np.ndarray]
Change = Callable[[Image.Image], Image.Image]


def make_run(folder: Path, kind: str, pictures: int = 300) -> Run:
    """A Run of this task: prepared, with a network of random weights."""
    data = data_settings(write_table(folder / "pictures", pictures), TASKS[kind].label_field)
    task = {"kind": kind, "picture": {"height": SIDE, "width": SIDE}, "backbone": NETWORK, **SMALL.get(kind, {})}
    settings = {"data": {**data, "missing_classes": "warn"}, "task": task, "compress": {"variants": []}}
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    config, run = load(folder / "config.yaml"), Run(folder / "run")
    stages.prepare(config, run)
    keras.utils.set_random_seed(1)
    task = config.task.resolve(stages.open_store(run).info)
    model = task.build()
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    kernel, bias = last.get_weights()
    last.set_weights([kernel / 4, bias])  # so that no answer is quite sure
    stages.keep_model(run, model, task)
    return run


def same(picture: Image.Image) -> Image.Image:
    return picture


def darker(picture: Image.Image) -> Image.Image:
    return picture.point(lambda value: value * 0.5)


def changed(data: bytes, change: Change) -> bytes:
    stream = io.BytesIO()
    change(Image.open(io.BytesIO(data)).convert("RGB")).save(stream, "PNG")
    return stream.getvalue()


def answered(run: Run, pictures: list[bytes]) -> Answers:
    """What the Run's model answers, [n, ...] by name."""
    fit = load_task(run).picture
    size = fit.width, fit.height
    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize(size)) for data in pictures]
    return predictor_of(run)({"image": np.stack(pixels)})


@functools.cache
def predictor_of(run: Run) -> Predictor:
    return trained_predictor(run)


def logged(
    run: Run, folder: Path, change: Change = same, signature: str = "serving_default", **more: Any
) -> RequestLog:
    """A log of pictures of the Run's test split, with its model's answers as a signature gives them.

    Args:
        more: of LoggedPicture.
    """
    store = stages.open_store(run)
    pictures = [changed(data, change) for data in encoded_pictures(store, "test", store.info.num_examples["test"])]
    outputs = _of_signature(run, answered(run, pictures), signature)
    common: dict[str, Any] = {"came_as": "file", "model": "m", "signature": signature, "version": 1}
    rows = [{name: values[row] for name, values in outputs.items()} for row in range(len(pictures))]
    own: list[dict[str, Any]] = [
        {"id": f"r{number:04}", "image": data, "seconds": NOON + number, "outputs": row}
        for number, (data, row) in enumerate(zip(pictures, rows, strict=True))
    ]
    return written(folder, [LoggedPicture(**{**common, **one, **more}) for one in own])


def _of_signature(run: Run, predictions: Answers, signature: str) -> Answers:
    given = load_task(run).example_signatures(predictions).get(signature, predictions)
    return {name: np.asarray(value) for name, value in given.items()}
