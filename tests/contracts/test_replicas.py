"""One step on two replicas is one step on one with the same global batch: for every task, every learner, penalties."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.contracts.replicas import REPLICAS, STEPS, Step

UNBIASED_VARIANCE = 0.01
"""BatchNormalization's moving variance divides by n - 1 of a replica's n values, so it is a little larger on two."""


@pytest.fixture(scope="module")
def weights(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the program has filled."""
    folder = tmp_path_factory.mktemp("replicas")
    command = [sys.executable, "-m", "tests.contracts.replicas", str(table), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_on_two_replicas_is_a_step_on_one(step: Step, weights: Path) -> None:
    one, two = (np.load(weights / f"{step.name}-{replicas}.npz") for replicas in REPLICAS)
    assert set(one.files) == set(two.files)
    for name in one.files:
        tolerance = UNBIASED_VARIANCE if name.startswith("rest/") else 1e-5
        np.testing.assert_allclose(two[name], one[name], rtol=tolerance, atol=1e-6, err_msg=name)
    moved = [np.abs(one[f"after/{name}"] - one[f"before/{name}"]).max() for name in names(one)]
    assert min(moved) > 1e-5


def names(arrays: np.lib.npyio.NpzFile) -> list[str]:
    return [name.removeprefix("before/") for name in arrays.files if name.startswith("before/")]
