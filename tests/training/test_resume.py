"""A training killed at any step goes on to the same bits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from models.stack import keras
from pipeline import stages
from pipeline.run import Run
from pipeline.tasks import Classification
from tests.conftest import ROOT
from tests.training.program import TASK

PLAIN: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "average_decay": 0.9,
    "checkpoint_steps": 5,
    "tensorboard": False,
    "optimizer": {"kind": "adamw", "learning_rate": 0.01, "clip_norm": 1.0},
    "schedule": {"warmup_epochs": 0.5},
}
TWO_PHASES = {
    **PLAIN,
    "transfer": {"frozen_epochs": 1, "unfreeze_from": "stride_4", "learning_rate": 0.002},
    "epochs": 1,
    "optimizer": {"kind": "sgd", "learning_rate": 0.05, "weight_decay": 1e-4},
    "devices": {"replicas": 2},
}


def train(folder: Path, settings: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.training.program", str(folder), json.dumps(settings), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def weights_of(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stdout.splitlines() if line.startswith("WEIGHTS")]
    assert lines, done.stderr[-3000:]
    return lines[0]


def killed_at(step: int, folder: Path, settings: dict[str, Any], *options: str) -> None:
    killed = train(folder, settings, "--kill-at", str(step), *options)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]


def test_a_stopped_and_then_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """SIGTERM saves a checkpoint of its step; a kill costs the steps since the last one."""
    folder = tmp_path / "run"
    stopped = train(folder, PLAIN, "--kill-at", "8", "--signal", "SIGTERM")
    assert "Interrupted: Stopped by SIGTERM after step 8" in stopped.stderr
    assert (folder / "checkpoints" / "ckpt-8.index").exists()
    killed_at(21, folder, PLAIN, "--resume")
    assert weights_of(train(folder, PLAIN, "--resume")) == weights_of(train(tmp_path / "straight", PLAIN))


def test_a_student_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """With all that is taken over from a teacher, on two replicas, in two phases, with averaged weights."""
    digits = Classification.model_validate({**TASK, "class_names": [str(digit) for digit in range(10)]})
    keras.utils.set_random_seed(5)
    stages.keep_model(Run(tmp_path / "teacher"), digits.build(), digits)
    transfers = ["soft_targets", "attention_transfer", "relational"]
    learner = {"kind": "distilled", "teacher": str(tmp_path / "teacher"), "transfers": [{"kind": k} for k in transfers]}
    option, folder = ("--learner", json.dumps(learner)), tmp_path / "run"
    killed_at(7, folder, TWO_PHASES, *option)
    killed_at(25, folder, TWO_PHASES, "--resume", *option)
    resumed = weights_of(train(folder, TWO_PHASES, "--resume", *option))
    assert resumed == weights_of(train(tmp_path / "straight", TWO_PHASES, *option))
    history = (tmp_path / "straight" / "history.csv").read_text(encoding="utf-8")
    assert [name for name in transfers if f"{name}_loss" not in history] == []
