"""Replicas on one CPU: what they share out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorflow.python.data.ops import multi_device_iterator_ops

from models.stack import tf
from pipeline import processors
from pipeline.data.input import with_options
from pipeline.strategy import Devices, doubts, policy, shared_out
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


def test_nothing_brings_batches_to_a_single_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize(
    ("precision", "flags", "doubted"),
    [
        ("mixed_bfloat16", "avx2", True),
        ("mixed_bfloat16", "avx2 avx512_bf16", False),
        ("float32", "avx2", False),
    ],
)
def test_bfloat16_is_doubted_where_the_processor_has_none(
    precision: str, flags: str, doubted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"flags : {flags}\n")
    monkeypatch.setattr(processors, "TOLD_BY_LINUX", told)
    devices = Devices.model_validate({"precision": precision})
    assert ("precision=float32 is likely faster" in doubts(devices)) is doubted


@pytest.mark.parametrize(("flags", "own"), [("avx2", "float32"), ("avx2 avx512_bf16", "mixed_bfloat16")])
def test_auto_is_what_the_processor_multiplies(
    flags: str, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"flags : {flags}\n")
    monkeypatch.setattr(processors, "TOLD_BY_LINUX", told)
    assert policy(Devices(precision="auto")) == own
    assert policy(Devices(precision="mixed_float16")) == "mixed_float16"


@pytest.mark.parametrize(
    ("capabilities", "own"),
    [
        ([(9, 0), (8, 6)], "mixed_bfloat16"),
        ([(8, 0), (7, 5)], "mixed_float16"),
        ([(6, 1), (8, 0)], "float32"),
        ([None], "float32"),
    ],
)
def test_auto_is_what_all_gpus_multiply(
    capabilities: list[tuple[int, int] | None], own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    details = [{"compute_capability": one} if one else {} for one in capabilities]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(len(details))))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda number: details[number])
    assert policy(Devices(precision="auto")) == own
