"""The two sides of benchmarks.training_overhead; each runs in a process of its own."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tf_keras as keras

from benchmarks.training_overhead import Side
from models.preprocess import PictureFormat
from pipeline import callbacks, console, fit, stages
from pipeline.config import Config
from pipeline.run import Run
from pipeline.tasks import Classification

LEAD_IN = 8
"""Steps at the beginning of an epoch that are not timed: more than the batches that wait prepared."""
FOREVER = 1_000_000
NUM_CLASSES = 10
SEED = 1


class Turns(callbacks.Callback):
    """Stops at the beginning of each epoch until it is this side's turn, and times the steps after LEAD_IN.

    Args:
        connection: gets the pictures per second of the epoch before (0 before the first), then waits for any message.
    """

    def __init__(self, connection: Connection, side: Side):
        super().__init__()
        self.connection, self.side = connection, side
        self.rate = self.began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Waits."""
        self.connection.send(self.rate)
        self.connection.recv()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts and stops the clock once the step's loss is known."""
        if batch + 1 not in (LEAD_IN, LEAD_IN + self.side.steps):
            return
        float((logs or {})["loss"])
        now = time.perf_counter()
        self.rate = self.side.steps * self.side.case.batch_size / (now - self.began)
        self.began = now


def convoy(side: Side, connection: Connection) -> None:
    """The stage `train` of `convoy`, with one callback more."""
    config, run = configuration(side), Run(side.folder / "run")
    console.terminal.configure(console.Level.QUIET)
    stages.prepare(config, run)
    hooks = fit.phase_callbacks

    def with_turns(*arguments: Any, **options: Any) -> list[keras.callbacks.Callback]:
        return [*hooks(*arguments, **options), Turns(connection, side)]

    with mock.patch.object(fit, "phase_callbacks", with_turns):
        stages.train(config, run)


def configuration(side: Side) -> Config:
    """Default settings but for the network, the batch and the augmentation."""
    case = side.case
    files = write_idx(side.folder, *pictures(side, (LEAD_IN + side.steps + 1) * case.batch_size))
    return Config.model_validate(
        {
            "data": {
                "source": {"kind": "idx", **files},
                "splits": {"validation": 1 / (LEAD_IN + side.steps + 1), "test": 0.0},
            },
            "task": {
                "kind": "classification",
                "picture": {"height": case.size, "width": case.size},
                "backbone": case.backbone,
            },
            "augment": side.augment,
            "train": {"epochs": FOREVER, "batch_size": case.batch_size},
        }
    )


def write_idx(folder: Path, images: np.ndarray, labels: np.ndarray) -> dict[str, str]:
    """The pictures in the format of MNIST; the settings that name the files."""
    written = {}
    for name, values in (("images", images), ("labels", labels)):
        header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
        file = folder / f"{name}-idx{values.ndim}-ubyte"
        file.write_bytes(header + values.tobytes())
        written[name] = str(file)
    return written


def bare(side: Side, connection: Connection) -> None:
    """`tf_keras` as its tutorials use it: compile, then fit on tensors in memory."""
    case = side.case
    keras.utils.set_random_seed(SEED)
    task = Classification(
        picture=PictureFormat(height=case.size, width=case.size),
        backbone=case.backbone,
        class_names=tuple(str(number) for number in range(NUM_CLASSES)),
    )
    model = task.build()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    images, labels = pictures(side, (LEAD_IN + side.steps) * case.batch_size)
    model.fit(images, labels, case.batch_size, epochs=FOREVER, verbose=0, callbacks=[Turns(connection, side)])


def pictures(side: Side, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise: uint8 [count,H,W,3] and class numbers uint8 [count]."""
    size = side.case.size
    images = np.random.default_rng(SEED).integers(0, 256, (count, size, size, 3), np.uint8)
    return images, (np.arange(count) % NUM_CLASSES).astype(np.uint8)


TRAINERS: dict[str, Callable[[Side, Connection], None]] = {"bare": bare, "convoy": convoy}
