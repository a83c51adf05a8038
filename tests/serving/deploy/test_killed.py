"""Every verb is killed before each of its steps: nothing is half-written, and running it again completes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.deployment import Deployment
from serving.publish import read_export
from serving.rollout import Rollout
from tests.conftest import ROOT
from tests.serving.deploy.conftest import deployed
from tests.serving.deploy.test_rollout import age


def killed(verb: str, run: Path, folder: Path, scratch: Path, stride: int = 1) -> int:
    """How many steps the verb has; it was killed before every one (or every `stride`-th) of them."""
    arguments = [verb, str(run), str(folder), str(scratch), str(stride)]
    command = [sys.executable, "-m", "tests.serving.deploy.killed", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


@pytest.fixture
def begun(runs: list[Path], tmp_path: Path) -> Rollout:
    """A folder with versions 1 (stable), 2 and 3, where the trials take place."""
    deployment = deployed(runs[0], tmp_path / "trial")
    verbs = Rollout(deployment, deployment.settings())
    for run in runs[1:]:
        verbs.publish(read_export(run))
    return verbs


def template(deployment: Deployment, tmp_path: Path) -> Path:
    """The folder as it is now, away from where the trials take place."""
    return deployment.path.rename(tmp_path / "template")


def test_deploy(runs: list[Path], tmp_path: Path) -> None:
    """Many files are written alike: every ninth step is enough."""
    assert killed("deploy", runs[0], tmp_path / "none", tmp_path, stride=9) > 50


def test_publish_and_prune(begun: Rollout, runs: list[Path], tmp_path: Path) -> None:
    folder = template(begun.deployment, tmp_path)
    (folder / "models" / "flowers" / "3").rename(tmp_path / "gone")
    assert killed("publish", runs[2], folder, tmp_path, stride=2) > 10


def test_canary(begun: Rollout, runs: list[Path], tmp_path: Path) -> None:
    assert killed("canary", runs[0], template(begun.deployment, tmp_path), tmp_path) > 5


def test_promote(begun: Rollout, runs: list[Path], tmp_path: Path) -> None:
    begun.canary(2)
    age(begun.deployment)
    assert killed("promote", runs[0], template(begun.deployment, tmp_path), tmp_path) > 5


def test_rollback(begun: Rollout, runs: list[Path], tmp_path: Path) -> None:
    begun.canary(2)
    age(begun.deployment)
    begun.promote()
    age(begun.deployment)
    assert killed("rollback", runs[0], template(begun.deployment, tmp_path), tmp_path) > 5
