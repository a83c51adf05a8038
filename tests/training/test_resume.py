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

WHOLE: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 32,
    "average_decay": 0.9,
    "checkpoint_steps": 5,
    "tensorboard": False,
    "optimizer": {"kind": "adamw", "learning_rate": 0.01, "clip_norm": 1.0},
    "schedule": {"warmup_epochs": 0.5},
    "transfer": {"frozen_epochs": 1, "unfreeze_from": "stride_2", "learning_rate": 0.002},
    "devices": {"replicas": 2},
}
"""Two phases of 17 steps each, on two replicas."""
STUDENT = {
    **WHOLE,
    "transfer": None,
    "optimizer": {"kind": "sgd", "learning_rate": 0.05, "weight_decay": 1e-4},
    "devices": {"replicas": 1},
}


def train(folder: Path, settings: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.training.program", str(folder), json.dumps(settings), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def resumed_and_straight(folder: Path, settings: dict[str, Any], *options: str) -> list[str]:
    """What the program prints of both weights; the straight training goes to `straight` beside the folder."""
    done = train(folder, settings, "--resume", "--straight", str(folder.with_name("straight")), *options)
    lines = [line for line in done.stdout.splitlines() if line.startswith("WEIGHTS")]
    assert len(lines) == 2, done.stderr[-3000:]
    return lines


def killed_at(step: int, folder: Path, settings: dict[str, Any], *options: str) -> None:
    killed = train(folder, settings, "--kill-at", str(step), *options)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]


def test_a_stopped_and_then_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """SIGTERM saves a checkpoint of its step, in the first phase; a kill costs the steps since the last one, in the
    second."""
    folder = tmp_path / "run"
    stopped = train(folder, WHOLE, "--kill-at", "8", "--signal", "SIGTERM")
    assert "Interrupted: Stopped by SIGTERM after step 8" in stopped.stderr
    assert (folder / "checkpoints" / "ckpt-8.index").exists()
    killed_at(22, folder, WHOLE, "--resume")
    resumed, straight = resumed_and_straight(folder, WHOLE)
    assert resumed == straight


def test_a_student_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """With all that is taken over from a teacher, and with averaged weights."""
    digits = Classification.model_validate({**TASK, "class_names": [str(digit) for digit in range(10)]})
    keras.utils.set_random_seed(5)
    stages.keep_model(Run(tmp_path / "teacher"), digits.build(), digits)
    transfers = ["soft_targets", "attention_transfer", "relational"]
    learner = {"kind": "distilled", "teacher": str(tmp_path / "teacher"), "transfers": [{"kind": k} for k in transfers]}
    option, folder = ("--learner", json.dumps(learner)), tmp_path / "run"
    killed_at(12, folder, STUDENT, *option)
    resumed, straight = resumed_and_straight(folder, STUDENT, *option)
    assert resumed == straight
    history = (tmp_path / "straight" / "history.csv").read_text(encoding="utf-8")
    assert [name for name in transfers if f"{name}_loss" not in history] == []
