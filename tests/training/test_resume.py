"""A training killed at any step goes on to the same bits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    "average_decay": None,
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


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a training that nobody disturbs."""
    return weights_of(train(tmp_path_factory.mktemp("straight") / "run", PLAIN))


def kill_and_resume(folder: Path, settings: dict[str, Any], kills: tuple[int, ...], *options: str) -> str:
    """The weights of a training that is killed at each of some steps, the first after a checkpoint."""
    for step in kills:
        resume = ["--resume"] if folder.exists() else []
        killed = train(folder, settings, "--kill-at", str(step), *resume, *options)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    return weights_of(train(folder, settings, "--resume", *options))


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, straight: str) -> None:
    assert kill_and_resume(tmp_path / "run", PLAIN, (9, 21)) == straight


def test_phases_and_replicas_go_on_to_the_same_bits(tmp_path: Path) -> None:
    undisturbed = weights_of(train(tmp_path / "straight", TWO_PHASES))
    assert kill_and_resume(tmp_path / "run", TWO_PHASES, (7, 25)) == undisturbed


def test_a_student_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """With all that is taken over from a teacher, on two replicas, in two phases, with averaged weights."""
    digits = Classification.model_validate({**TASK, "class_names": [str(digit) for digit in range(10)]})
    keras.utils.set_random_seed(5)
    stages.keep_model(Run(tmp_path / "teacher"), digits.build(), digits)
    transfers = ["soft_targets", "attention_transfer", "relational"]
    learner = {"kind": "distilled", "teacher": str(tmp_path / "teacher"), "transfers": [{"kind": k} for k in transfers]}
    settings, option = {**TWO_PHASES, "average_decay": 0.9}, ("--learner", json.dumps(learner))
    undisturbed = weights_of(train(tmp_path / "straight", settings, *option))
    assert undisturbed != weights_of(train(tmp_path / "alone", settings))
    assert kill_and_resume(tmp_path / "run", settings, (7, 25), *option) == undisturbed


def test_sigterm_saves_a_checkpoint_of_its_step_and_can_be_resumed(tmp_path: Path, straight: str) -> None:
    stopped = train(tmp_path / "stopped", PLAIN, "--kill-at", "8", "--signal", "SIGTERM")
    assert "Interrupted: Stopped by SIGTERM after step 8" in stopped.stderr
    assert (tmp_path / "stopped" / "checkpoints" / "ckpt-8.index").exists()
    assert weights_of(train(tmp_path / "stopped", PLAIN, "--resume")) == straight


def test_a_checkpoint_cut_short_is_named_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder, PLAIN, "--kill-at", "12")
    data = next((folder / "checkpoints").glob("ckpt-10.data*"))
    data.write_bytes(data.read_bytes()[:100])
    resumed = train(folder, PLAIN, "--resume")
    assert "RunError: The checkpoint" in resumed.stderr
    assert "ckpt-10 is damaged" in resumed.stderr
    assert "'ckpt-5'" in resumed.stderr
    assert data.stat().st_size == 100
