"""Fixtures that many tests share."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

import models as models  # chooses Keras 2 before a test imports TensorFlow

ROOT = Path(__file__).parent.parent


def pytest_collection_finish() -> None:
    """Looks for cycles among TensorFlow's millions of objects less often: a quarter of a worker's time went there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


@pytest.fixture(scope="session")
def convoy_data() -> Path:
    """The folder of real data sets: `CONVOY_DATA`, else `../shared/data`. Skips where it is missing."""
    folder = Path(os.environ.get("CONVOY_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not in {folder}; set CONVOY_DATA")
    return folder
