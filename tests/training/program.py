"""Trains a tiny network in a process of its own and prints a hash of its weights, so that a test can kill it.

python -m tests.training.program FOLDER SETTINGS [--learner SETTINGS] [--resume] [--kill-at STEP] [--signal NAME]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline import callbacks
from pipeline.augment import Rotation
from pipeline.data.input import InputSettings
from pipeline.data.prepare import DataSettings, prepare
from pipeline.fit import fit
from pipeline.learners import AnyLearner, Learner, Supervised
from pipeline.strategy import configure
from pipeline.tasks import Classification
from pipeline.train import TrainingJob, TrainSettings

TASK = {
    "picture": {"height": 8, "width": 8, "channels": 1},
    "backbone": {"kind": "small_resnet", "depth": 8, "widths": [4, 4, 8]},
    "head": {"dropout": 0.3},
}


def job_in(folder: Path, settings: TrainSettings, learner: Learner | None = None) -> TrainingJob:
    """A training of the embedded digits at 8 pixels, with dropout and rotation."""
    data = DataSettings.model_validate({"source": {"kind": "digits"}, "splits": {"validation": 0.1, "test": 0.6}})
    store = prepare(data, folder.parent / "store", lambda *_, **__: None)
    return TrainingJob(
        task=Classification.model_validate(TASK).resolve(store.info),
        learner=learner or Supervised(),
        store=store,
        operations=(Rotation(degrees=10),),
        input=InputSettings(),
        settings=settings,
        seed=3,
        checkpoints=folder / "checkpoints",
        history=folder / "history.csv",
        tensorboard=folder / "tensorboard",
        progress=lambda *_, **__: None,
    )


def end_at(step: int, number: int) -> None:
    """Has the process send itself a signal after a step."""
    original = callbacks.StepCounter.on_train_batch_end

    def counted(self: callbacks.StepCounter, batch: int, logs: dict[str, Any] | None = None) -> None:
        original(self, batch, logs)
        if self.step == step:
            os.kill(os.getpid(), number)

    callbacks.StepCounter.on_train_batch_end = counted


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("settings")
    parser.add_argument("--learner", default='{"kind": "supervised"}')
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--signal", default="SIGKILL")
    arguments = parser.parse_args()
    settings = TrainSettings.model_validate_json(arguments.settings)
    configure(settings.devices, seed=3)
    if arguments.kill_at:
        end_at(arguments.kill_at, signal.Signals[arguments.signal])
    learner = TypeAdapter(AnyLearner).validate_json(arguments.learner)
    model, result = fit(job_in(arguments.folder, settings, learner), resume=arguments.resume)
    weights = b"".join(weight.tobytes() for weight in model.get_weights())
    print("WEIGHTS", hashlib.sha256(weights).hexdigest(), result.steps, result.replicas)


if __name__ == "__main__":
    main()
