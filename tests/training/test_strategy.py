"""Replicas on one CPU: what they share out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tensorflow.python.data.ops import multi_device_iterator_ops

from models.stack import tf
from pipeline.data.input import with_options
from pipeline.strategy import shared_out
from tests.conftest import ROOT

PROGRAM = """
from models.stack import tf
from pipeline.strategy import Devices, configure

configure(Devices(replicas={replicas}), seed=1)
print(len(tf.config.list_logical_devices("CPU")), tf.config.threading.get_intra_op_parallelism_threads())
"""
ALL = 0
"""TensorFlow's word for as many threads as it sees fit, or as the environment says."""


def devices_and_threads(replicas: int, **variables: str) -> tuple[int, int]:
    """The CPU devices of a new process and the threads of an operation there."""
    inherited = {name: value for name, value in os.environ.items() if name != "TF_NUM_INTRAOP_THREADS"}
    command = [sys.executable, "-c", PROGRAM.format(replicas=replicas)]
    done = subprocess.run(
        command, cwd=ROOT, env=inherited | variables, capture_output=True, text=True, timeout=120, check=True
    )
    devices, threads = done.stdout.split()
    return int(devices), int(threads)


@pytest.mark.parametrize("replicas", [2, 64])
def test_an_operation_of_one_of_several_replicas_has_its_share_of_the_processors(replicas: int) -> None:
    share = max(len(os.sched_getaffinity(0)) // replicas, 1)
    assert devices_and_threads(replicas) == (replicas, share)


def test_one_replica_has_all_processors() -> None:
    assert devices_and_threads(1) == (1, ALL)


def test_the_environment_is_asked_first() -> None:
    assert devices_and_threads(2, TF_NUM_INTRAOP_THREADS="3") == (2, ALL)


def test_nothing_brings_batches_to_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread would let the end of a training wait for up to a minute."""
    monkeypatch.setattr(multi_device_iterator_ops, "OwnedMultiDeviceIterator", refused)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with pytest.raises(AssertionError, match="brought"):
        iter(strategy.distribute_datasets_from_function(lambda _: tf.data.Dataset.range(3)))
    alone = shared_out(strategy, lambda _: tf.data.Dataset.range(3))
    assert [int(number) for number in alone] == [0, 1, 2]


def refused(*_: object, **__: object) -> None:
    raise AssertionError("brought")


def test_no_thread_tunes_the_input() -> None:
    """It too would be waited for."""
    options = with_options(tf.data.Dataset.range(3)).options()
    assert options.autotune.enabled is False
