"""`convoy serve` as its user meets it: a process, its ports, its signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from pipeline import cli, cli_serving
from pipeline.errors import ConfigError, RunError
from tests.conftest import ROOT
from tests.serving import made_models
from tests.serving.running import SECONDS, eventually, floats, predict_request

READY = "serving: gRPC at 127.0.0.1:"


@contextmanager
def serving(model: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address of its gRPC front."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", str(model)]
    process = subprocess.Popen(
        [*command, "--grpc-port", "0", "--rest-port", "-1", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith(READY), line
        yield process, line.removeprefix("serving: gRPC at ")
    finally:
        process.kill()
        process.communicate()


def test_the_second_signal_ends_what_the_first_waits_for(tmp_path: Path) -> None:
    made_models.endless(tmp_path / "1")
    with serving(tmp_path, "--drain-seconds", "600") as (process, address), grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        running = stub.Predict.future(predict_request("default", x=floats(1)), timeout=10 * SECONDS)
        _wait_until_it_runs(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert any("a second signal ends it at once" in line for line in process.stderr)
        assert process.poll() is None and not running.done()
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 128 + signal.SIGTERM


def test_slow_clients_and_a_signal(serving_models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    answer: list[bytes] = []

    def stop_once_ready() -> None:
        eventually(lambda: READY in "".join(said) or bool(said.append(capfd.readouterr().out)))  # type: ignore[func-returns-value]
        try:
            port = int("".join(said).rpartition("REST at http://127.0.0.1:")[2])
            with socket.create_connection(("127.0.0.1", port), SECONDS) as slow:
                slow.sendall(b"GET /v1/models/default HTTP/1.1\r\n")
                answer.append(slow.recv(100))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop_once_ready)
    stopping.start()
    arguments = ["serve", str(serving_models / "scale"), "--grpc-port", "0", "--rest-port", "0"]
    code = cli.execute([*arguments, "--rest-threads", "1", "--grpc-threads", "1", "--rest-header-seconds", "0.2"])
    stopping.join()
    assert code == 0
    assert answer[0].startswith(b"HTTP/1.1 408")


def test_an_address_that_others_reach_is_warned_of(serving_models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["serve", str(serving_models / "scale"), "--host", "0.0.0.0", "--tls-key", __file__]
    assert cli.execute([*arguments, "--grpc-port", "0", "--rest-port", "-1"]) == ConfigError.exit_code
    told = capfd.readouterr().err
    assert "0.0.0.0 can be reached from other machines, and nobody is asked who they are" in told
    assert "needs both --tls-key and --tls-certificate" in told


def test_a_run_that_has_no_export_says_what_to_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").touch()
    assert cli.execute(["serve", str(tmp_path)]) == RunError.exit_code
    assert "the stage `export` has not been run" in capfd.readouterr().err


def test_a_run_is_served_from_its_export(tmp_path: Path) -> None:
    for file in ("config.yaml", "export/saved_model/1/saved_model.pb", "export/tflite/int8.tflite"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert _base_path(tmp_path) == tmp_path / "export" / "saved_model"
    assert _base_path(tmp_path, "int8") == tmp_path / "export" / "tflite" / "int8.tflite"


def _base_path(run: Path, variant: str | None = None) -> Path:
    config, file = cli_serving._models(run, "flowers", variant)
    (model,) = config.model_config_list.config
    assert (model.name, file) == ("flowers", None)
    return Path(model.base_path)


def test_an_unknown_variant_is_answered_with_the_nearest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "export" / "tflite").mkdir(parents=True)
    (tmp_path / "export" / "tflite" / "int8.tflite").touch()
    assert cli.execute(["serve", str(tmp_path), "--variant", "int9"]) == ConfigError.exit_code
    assert "Did you mean 'int8'?" in capfd.readouterr().err


def test_monitoring_may_be_switched_off(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text('prometheus_config { enable: true path: "/metrics" }')
    assert cli_serving._prometheus_path(file) == "/metrics"
    file.write_text("prometheus_config { }")
    assert cli_serving._prometheus_path(file) is None
    assert cli_serving._prometheus_path(None) == "/monitoring/prometheus/metrics"


def _wait_until_it_runs(pid: int) -> None:
    """Until the endless request has used some of the processor."""

    def ticks() -> int:
        return sum(int(value) for value in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])

    begun = ticks()
    eventually(lambda: ticks() > begun + 50)
