"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import models as models  # chooses Keras 2 before a test imports TensorFlow
from tests.collector import collect_less_often

ROOT = Path(__file__).parent.parent
LONGEST = (
    *("contracts/test_tasks.py", "contracts/test_variants.py", "test_stages.py", "contracts/test_backbones.py"),
    *("contracts/test_backbone_families.py", "test_bad_input.py", "compress/test_channel_pruning.py"),
    *("training/test_resume.py", "contracts/test_losses.py", "contracts/test_replicas.py", "models/test_published.py"),
    *("compress/test_quantization_aware.py", "compress/test_replicas.py", "drift/test_examine.py"),
    *("learners/test_distilled.py", "learners/test_distilled_run.py", "compress/test_int4.py", "test_cli.py"),
    *("models/test_attention.py", "data/test_input.py", "data/test_buckets.py", "augment/test_properties.py"),
)
"""Files of half a minute and more, the longest first."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, so that at the end no worker waits for another that has just begun with one."""
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


def pytest_collection_finish() -> None:
    collect_less_often()


@pytest.fixture(scope="session")
def convoy_data() -> Path:
    """The folder of real data sets: `CONVOY_DATA`, else `../shared/data`. Skips where it is missing."""
    folder = Path(os.environ.get("CONVOY_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not in {folder}; set CONVOY_DATA")
    return folder
