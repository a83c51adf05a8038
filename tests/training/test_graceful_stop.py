"""Ctrl-C and SIGTERM end a training with a checkpoint, whenever they come."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from models.stack import keras
from pipeline.callbacks import GracefulStop
from pipeline.checkpoints import Checkpoints, Position
from pipeline.errors import Interrupted


def test_a_signal_after_the_last_step_is_not_lost(tmp_path: Path) -> None:
    """As it is while the last validation runs."""
    before = signal.getsignal(signal.SIGTERM)
    checkpoints = Checkpoints(tmp_path, Position())
    checkpoints.bind(keras.Sequential([keras.layers.Dense(1, input_shape=(1,))]), keras.optimizers.SGD(), None)
    said = "Stopped by SIGTERM after step 0; go on with --resume"
    with pytest.raises(Interrupted, match=said), GracefulStop(checkpoints):
        os.kill(os.getpid(), signal.SIGTERM)
    assert checkpoints.written() == ["ckpt-0"]
    assert signal.getsignal(signal.SIGTERM) == before
