"""Techniques that train do so on two replicas as well, and their files hold what they are to hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.compress.replicas import SETTINGS
from tests.compress.stored_kernels import (
    most_in_a_group_of_four,
    most_values_of_a_channel,
    share_of_zeros,
    stored_kernels,
)
from tests.conftest import ROOT

CHECKS = {
    "pruned_2_4": lambda kernel: most_in_a_group_of_four(kernel) == 2,
    "channel_pruned": lambda kernel: kernel.shape[-1] in (4, 8) and kernel.shape[0] in (4, 8),
    "pcqat": lambda kernel: (
        kernel.dtype == np.int8 and share_of_zeros(kernel) >= 0.74 and most_values_of_a_channel(kernel) <= 8
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the program has filled."""
    folder = tmp_path_factory.mktemp("replicas")
    command = [sys.executable, "-m", "tests.compress.replicas", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("kind", SETTINGS)
def test_on_two_replicas(kind: str, files: Path) -> None:
    _, _, *between, _ = stored_kernels((files / f"{kind}.tflite").read_bytes())
    assert len(between) == 8
    assert all(np.isfinite(kernel.astype(np.float32)).all() and CHECKS[kind](kernel) for kernel in between)
