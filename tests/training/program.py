"""Trains a tiny network in a process of its own and prints a hash of its weights, so that a test can kill it.

python -m tests.training.program FOLDER SETTINGS [--learner SETTINGS] [--resume] [--kill-at STEP] [--signal NAME]
    [--straight FOLDER]

`--straight` then trains the same again, in another folder and from the beginning, and prints that hash too.
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
from tests.collector import collect_less_often

TASK = {
    "picture": {"height": 8, "width": 8, "channels": 1},
    "backbone": {"kind": "small_resnet", "depth": 6, "widths": [4, 8]},
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
    parser.add_argument("--straight", type=Path)
    arguments = parser.parse_args()
    settings = TrainSettings.model_validate_json(arguments.settings)
    collect_less_often()
    configure(settings.devices, seed=3)
    if arguments.kill_at:
        end_at(arguments.kill_at, signal.Signals[arguments.signal])
    learner = TypeAdapter(AnyLearner).validate_json(arguments.learner)
    print_weights(job_in(arguments.folder, settings, learner), resume=arguments.resume)
    if arguments.straight:
        print_weights(job_in(arguments.straight, settings, learner), resume=False)


def print_weights(job: TrainingJob, *, resume: bool) -> None:
    """Trains, and prints a hash of the weights, the number of steps, and that of replicas."""
    model, result = fit(job, resume=resume)
    weights = b"".join(weight.tobytes() for weight in model.get_weights())
    print("WEIGHTS", hashlib.sha256(weights).hexdigest(), result.steps, result.replicas)


if __name__ == "__main__":
    main()
