"""What the answers of a model mean, as its Run or the contract of its export says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

CHOICES = ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "CONVOY_CHOSE_ONEDNN")


def task_of(place: Path) -> Any:
    """The task of a Run, an export folder or a `contract.json`; it answers without TensorFlow.

    Raises:
        RunError: nothing says there what the answers mean.
    """
    chosen = {name: os.environ.get(name) for name in CHOICES}
    from pipeline import trained

    # Convoy chooses Keras 2 for its process. One that only asks a server keeps the Keras that it has.
    for name, value in chosen.items():
        if value is None:
            os.environ.pop(name, None)
    return trained.task_of(place)
