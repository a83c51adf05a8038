"""Several hosts train one model: what `TF_CONFIG` means, waiting for each other, and two real processes that do it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import saved
from pipeline.callbacks import read_history
from pipeline.errors import ConfigError, TrainingError
from pipeline.hosts import VARIABLE, Cluster, cluster_of, meet
from pipeline.run import Run
from pipeline.team import Alone, Chief, Helper, team_of
from tests.conftest import ROOT
from tests.training.program import TASK

TWO = ["a:1", "b:1"]
CONFIG: dict[str, Any] = {
    "seed": 3,
    "data": {"source": "digits", "splits": {"validation": 0.1, "test": 0.6}},
    "task": {"kind": "classification", **TASK},
    "augment": [{"kind": "rotation", "degrees": 10}],
    "train": {
        "epochs": 2,
        "batch_size": 128,
        "average_decay": 0.9,
        "tensorboard": False,
        "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    },
    "evaluate": {"mistakes": 0, "samples": 2},
    "compress": {"variants": ["float32"], "calibration": {"count": 8}},
    "export": {"warmup_requests": 1},
    "verify": {"latency_runs": 1},
}
"""Two epochs of four steps, with dropout, batch normalisation and averaged weights."""
STOPPED_AFTER = 3
SECONDS = 600
"""After which a process that hangs is ended."""
PROGRAM = "from pipeline.cli import main; main()"
STOPPING = (
    f"import signal; from tests.training.program import end_at; end_at({STOPPED_AFTER}, signal.SIGTERM); {PROGRAM}"
)


def variable(cluster: object, role: str = "worker", index: object = 0, **more: object) -> dict[str, str]:
    """The environment of a host."""
    return {VARIABLE: json.dumps({"cluster": cluster, "task": {"type": role, "index": index}, **more})}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({VARIABLE: ""}, None),
        ({VARIABLE: "{}"}, None),
        ({VARIABLE: '{"cluster": {}}'}, None),
        (variable({"worker": ["a:1"]}), None),
        (variable({"chief": ["a:1"]}, "chief", environment="cloud"), None),
        (variable({"worker": TWO}), Cluster(("a:1", "b:1"), 0)),
        (variable({"worker": TWO}, index=1, environment="cloud"), Cluster(("a:1", "b:1"), 1)),
        (variable({"worker": TWO, "chief": ["c:1"]}, "chief"), Cluster(("c:1", "a:1", "b:1"), 0)),
        (variable({"worker": TWO, "chief": ["c:1"]}, "worker", 1), Cluster(("c:1", "a:1", "b:1"), 2)),
        (variable({"worker": ["[::1]:2222", "10.0.0.7:2222"]}), Cluster(("[::1]:2222", "10.0.0.7:2222"), 0)),
    ],
)
def test_which_hosts_there_are(environment: dict[str, str], expected: Cluster | None) -> None:
    assert cluster_of(environment) == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({VARIABLE: "worker-0"}, "is no JSON (Expecting value: line 1 column 1 (char 0)): 'worker-0'"),
        ({VARIABLE: "[1]"}, "is [1]"),
        ({VARIABLE: json.dumps({"cluster": {"worker": TWO}})}, "it has no task"),
        ({VARIABLE: json.dumps({"cluster": {"worker": TWO}, "task": {"type": "worker"}})}, "it has no task.index"),
        (variable({"worker": TWO}, index=2), "this is worker 2, but its cluster has 2 of these"),
        (variable({"worker": TWO}, "chief"), "this is chief 0, but its cluster has 0 of these"),
        (variable({"worker": TWO}, index=-1), "task.index: Input should be greater than or equal to 0"),
        (variable({"worker": TWO}, index="one"), "task.index: Input should be a valid integer"),
        (variable({"worker": TWO, "ps": ["c:1"]}), "cluster.ps: got 'ps', but the roles of a Convoy training are"),
        (variable({"worker": TWO}, "evaluator"), "task.type: got 'evaluator', but the roles of"),
        (variable({"worker": TWO, "chief": ["c:1", "d:1"]}), "names 2 chiefs, c:1, d:1, and there is but one"),
        (variable({"worker": ["a:1", "a:1"]}), "names a host twice: a:1, a:1"),
        (variable({"worker": ["a:1", "b"]}), "cluster.worker.1: 'b' is no HOST:PORT, such as trainer-0:2222"),
        (variable({"worker": ["a:1", "b:70000"]}), "'b:70000' is no HOST:PORT"),
        (variable({"worker": "a:1"}), "cluster.worker: Input should be a valid tuple"),
        (variable(["a:1"]), "cluster: Input should be a valid dictionary"),
    ],
)
def test_what_cannot_be_understood_is_one_message(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        cluster_of(environment)
    assert "Expected the hosts and which of them this is, such as {" in str(caught.value)


def test_who_writes_is_chosen_once(tmp_path: Path) -> None:
    assert isinstance(team_of({}), Alone)
    chief, helper = (team_of(variable({"worker": TWO}, index=index)) for index in (0, 1))
    assert isinstance(chief, Chief)
    assert isinstance(helper, Helper)
    with chief.folder(tmp_path) as own, helper.folder(tmp_path) as scratch:
        assert own == tmp_path
        assert scratch.is_dir()
        assert scratch != tmp_path
    assert not scratch.exists()


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def test_hosts_wait_for_those_that_come_later(capsys: pytest.CaptureFixture[str]) -> None:
    first = Cluster(tuple(free_ports(2)), 0)
    second = Cluster(first.addresses, 1)
    waiting = threading.Thread(target=meet, args=(first, 20))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    with socket.create_server(("127.0.0.1", int(second.own.rpartition(":")[2]))):  # what TensorFlow's server is
        waiting.join(20)
    assert not waiting.is_alive()
    said = capsys.readouterr().err
    assert f"{first.own} waits for {second.own}" in said
    assert f"2 hosts, this is {first.own}; the chief is {first.own}" in said


def test_a_host_that_is_missing_is_named_in_time() -> None:
    cluster = Cluster(tuple(free_ports(3)), 1)
    missing = re.escape(f"2 of 3 hosts did not answer within 1 s: {cluster.addresses[0]}, {cluster.addresses[2]}.")
    with pytest.raises(TrainingError, match=missing):
        meet(cluster, 1)


def test_a_port_of_another_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cluster = Cluster((f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:1"), 0)
        with pytest.raises(ConfigError, match=r"cannot be listened on here \(Address already in use\)"):
            meet(cluster, 1)


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    out: str
    said: str


def started(folder: Path, program: str, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    try:
        out, said = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, said = process.communicate()
    return Ended(process.returncode, out, said)


def on_two_hosts(
    folder: Path, *arguments: str, helper: tuple[str, ...] = (), program: str = PROGRAM
) -> tuple[Ended, Ended]:
    """The same command on a chief and on a helper, whose temporary folder is `scratch`.

    Args:
        helper: more arguments of the helper.
        program: what the helper runs.
    """
    addresses = free_ports(2)
    (folder / "scratch").mkdir(exist_ok=True)
    places = [variable({"worker": addresses}, index=index) for index in (0, 1)]
    chief = started(folder, PROGRAM, places[0], *arguments)
    other = started(folder, program, {**places[1], "TMPDIR": str(folder / "scratch")}, *arguments, *helper)
    return ended(chief), ended(other)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hosts")
    (made / "digits.yaml").write_text(json.dumps(CONFIG), encoding="utf-8")
    return made


def test_hosts_that_were_given_different_settings(folder: Path) -> None:
    chief, helper = on_two_hosts(folder, "train", "digits.yaml", "--run", "other", helper=("train.batch_size=64",))
    assert (chief.code, helper.code) == (2, 2), chief.said + helper.said
    assert "train.batch_size: 128 there, 64 here" in helper.said
    assert not (folder / "other").exists()


def test_two_hosts_stop_resume_and_end_with_the_model_of_one(folder: Path) -> None:
    """One of the two is told to end: both stop after the same step. Resumed, they reach what one process with two
    replicas does without a stop, and the chief alone goes on."""
    alone = started(folder, PROGRAM, {}, "train", "digits.yaml", "--run", "runs/one", "train.devices.replicas=2")
    assert ended(alone).code == 0
    stopped = on_two_hosts(folder, "train", "digits.yaml", "--run", "runs/two", program=STOPPING)
    assert [host.code for host in stopped] == [130, 130], stopped[0].said + stopped[1].said
    assert f"Stopped by another host after step {STOPPED_AFTER}; go on with --resume" in stopped[0].said
    assert f"Stopped by {signal.SIGTERM.name} after step {STOPPED_AFTER}" in stopped[1].said

    chief, helper = on_two_hosts(folder, "run", "digits.yaml", "--run", "runs/two", "--resume")
    assert (chief.code, helper.code) == (0, 0), chief.said + helper.said
    assert "goes on with the remaining stages" in helper.out
    assert list((folder / "scratch").iterdir()) == []
    assert_same_training(Run(folder / "runs" / "one"), Run(folder / "runs" / "two"))
    assert_gone_to_the_end(Run(folder / "runs" / "two"))


def assert_same_training(one: Run, two: Run) -> None:
    """Same weights, same numbers in each epoch, same replicas and steps."""
    expected, found = (saved.load(run.model).get_weights() for run in (one, two))
    assert max(np.abs(a - b).max() for a, b in zip(expected, found, strict=True)) < 1e-5
    rows, again = read_history(one.history), read_history(two.history)
    assert [row["step"] for row in again] == [row["step"] for row in rows] == ["4", "8"]
    for name in ("val_loss", "val_accuracy"):
        assert [float(row[name]) for row in again] == pytest.approx([float(row[name]) for row in rows], abs=1e-5)
    results = [run.read_json(run.training, "train") for run in (one, two)]
    assert [(result["replicas"], result["steps"]) for result in results] == [(2, 8), (2, 8)]


def assert_gone_to_the_end(run: Run) -> None:
    """All stages are done, nothing is there twice or half, and what ships knows of no cluster."""
    assert run.read_json(run.summary, "verify")["variants"]
    assert run.report.is_file()
    assert list(run.path.rglob("*.partial*")) == list(run.path.rglob("*temp*")) == []
    assert sorted(path.name for path in run.checkpoints.glob("*.index")) == ["ckpt-4.index", "ckpt-8.index"]
    graphs = [file.read_bytes() for file in run.saved_model.rglob("*.pb")]
    assert graphs
    assert not any(b"/job:worker" in graph for graph in graphs)
