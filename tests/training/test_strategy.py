"""Replicas on one CPU: what they share out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorflow.python.data.ops import multi_device_iterator_ops

from models.stack import tf
from pipeline import console, fit, processors, train_stage
from pipeline.config import load
from pipeline.data.input import with_options
from pipeline.strategy import Devices, doubts, policy, shared_out
from pipeline.train import TrainSettings
from tests.conftest import ROOT
from tests.training.program import job_in

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


@pytest.fixture
def flags(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the processor is said to be able to do."""
    told = tmp_path / "cpuinfo"
    told.write_text(f"flags : {request.param}\n")
    monkeypatch.setattr(processors, "TOLD_BY_LINUX", told)
    return request.param


@pytest.mark.parametrize(
    ("precision", "flags", "doubted"),
    [
        ("mixed_bfloat16", "avx2", True),
        ("mixed_bfloat16", "avx2 avx512_bf16", False),
        ("float32", "avx2", False),
        ("auto", "avx2", False),
    ],
    indirect=["flags"],
)
def test_bfloat16_is_doubted_where_the_processor_has_none(precision: str, flags: str, doubted: bool) -> None:
    devices = Devices.model_validate({"precision": precision})
    assert ("precision=float32 is likely faster" in doubts(devices)) is doubted


OWN = pytest.mark.parametrize(
    ("flags", "own"), [("avx2", "float32"), ("avx2 avx512_bf16", "mixed_bfloat16")], indirect=["flags"]
)


@OWN
def test_auto_is_what_the_processor_multiplies(flags: str, own: str) -> None:
    assert policy(Devices(precision="auto")) == own
    assert policy(Devices(precision="mixed_float16")) == "mixed_float16"


@OWN
def test_a_training_computes_in_its_own_precision_and_ships_float32(flags: str, own: str, tmp_path: Path) -> None:
    devices = Devices(precision="auto")
    job = job_in(tmp_path / "run", TrainSettings(epochs=1, batch_size=32, devices=devices, tensorboard=False))
    trained = fit.start(job, resume=False).model
    assert {layer.dtype_policy.name for layer in trained.layers if layer.name.endswith("_conv")} == {own}
    model, result = fit.fit(job, resume=False)
    assert result.precision == own
    assert {layer.compute_dtype for layer in model.layers if layer.name.endswith("_conv")} == {"float32"}


@OWN
def test_hosts_compare_what_they_compute_in(flags: str, own: str) -> None:
    config = load(ROOT / "configs" / "quickstart.yaml", ["train.devices.precision=auto"])
    assert train_stage.common(config, resume=False)["train.devices.precision"] == own


@pytest.mark.parametrize(
    ("flags", "precision", "said"),
    [("avx512_bf16", "auto", "computes in mixed_bfloat16"), ("avx2", "mixed_bfloat16", "float32 is likely faster")],
    indirect=["flags"],
)
def test_a_training_says_what_it_computes_in(
    flags: str, precision: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.terminal.configure()
    job = job_in(tmp_path / "run", TrainSettings())
    config = load(ROOT / "configs" / "quickstart.yaml", [f"train.devices.precision={precision}"])
    train_stage.announce(config, job.store, job.task)
    assert said in " ".join("".join(capsys.readouterr()).split())


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
