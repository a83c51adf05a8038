"""Two Runs for all tests of this folder, each exported once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.deploy import deploy, settings_for
from serving.deployment import Deployment
from serving.publish import read_export
from serving.rollout import Rollout
from tests.serving.deploy.runs import MODEL, encoded_picture, make_run, without_warm_up


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three Runs, two with different networks, the last as the first but for its warm-up; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    made = [make_run(folder / f"run{seed}", seed) for seed in (1, 2)]
    return [*made, without_warm_up(Path(shutil.copytree(made[0], folder / "run3")))]


@pytest.fixture
def own_run(runs: list[Path], tmp_path: Path) -> Path:
    """A copy of the first Run, to be changed."""
    return Path(shutil.copytree(runs[0], tmp_path / "own_run"))


@pytest.fixture(scope="session")
def made(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A production folder as `deploy` makes it; not to be changed."""
    return deployed(runs[0], tmp_path_factory.mktemp("made") / "production").path


@pytest.fixture
def folder(runs: list[Path], tmp_path: Path) -> Deployment:
    """A production folder of a test's own, with version 1."""
    return deployed(runs[0], tmp_path / "production")


@pytest.fixture
def rollout(folder: Deployment) -> Callable[..., Rollout]:
    """Makes the verbs of the folder."""
    return lambda **settings: Rollout(folder, folder.settings(), **settings)


def deployed(run: Path, path: Path, **told: object) -> Deployment:
    deployment, export = Deployment(path), read_export(run)
    deploy(export, deployment, settings_for(export, deployment, MODEL, told), encoded_picture(1))
    return deployment
