"""A server that logs what it is asked: nothing is slower or fails for it, whatever becomes of the log."""

from __future__ import annotations

import base64
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from pipeline.data.requests.picture import LoggedPicture
from pipeline.data.requests.reader import Choice, RequestLog
from pipeline.data.requests.writer import LogLimits, RequestWriter
from serving.local.conversion import tensor_of
from serving.local.server import Server
from serving.local.settings import ServerOptions
from serving.request_log.recorder import Recorder, Sampling
from tests.serving import made_models
from tests.serving.made_models import png
from tests.serving.running import Running, config_of, eventually, floats


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made_models.mean_of_pictures(folder / "mean" / "3")
    made_models.row_sums(folder / "sums" / "1")
    return {"mean": folder / "mean", "sums": folder / "sums"}


@contextmanager
def serving(models: dict[str, Path], log: Recorder) -> Iterator[Running]:
    server = Server(config_of(models), ServerOptions(grpc_port=0, rest_port=0), log)
    try:
        ports = server.start()
        assert ports is not None
        client = Running(server, ports.grpc, ports.rest)
        yield client
        client.channel.close()
    finally:
        server.stop()


def asked(running: Running, level: int) -> float:
    answer = running.predict("mean", image_bytes=np.array([png(level)], object))
    return float(answer["mean"][0])


def outcomes(running: Running) -> dict[str, float]:
    text = running.server._core.metrics_text().decode()
    return {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == ":tensorflow:serving:request_log:requests_total"
    }


def test_requests_of_both_fronts_are_logged(
    models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(RequestWriter(tmp_path, LogLimits()), Sampling(share=1))
    with serving(models, recorder) as running:
        assert [asked(running, level) for level in range(5)] == [0, 1, 2, 3, 4]
        body = {"instances": [{"b64": base64.b64encode(png(level)).decode()} for level in (10, 11)]}
        assert running.rest("/v1/models/mean:predict", body) == (200, {"predictions": [10.0, 11.0]})
        for _ in range(2):
            running.predict("sums", x=floats(1, 2)[np.newaxis])
        assert running.rest("/v1/models/mean:predict", {"instances": ["no picture"]})[0] == 400
        eventually(lambda: outcomes(running).get("logged") == 6)
        assert outcomes(running) == {"logged": 6, "dropped": 0, "unsupported": 2, "stopped": 0}
    log = RequestLog(tmp_path)
    found = list(log.pictures(log.ids(Choice())))
    assert [float(one.outputs["mean"]) for one in found] == [0, 1, 2, 3, 4, 10, 11]
    assert [one.image for one in found] == [png(level) for level in (0, 1, 2, 3, 4, 10, 11)]
    assert {(one.model, one.version, one.signature) for one in found} == {("mean", 3, "serving_default")}
    told = capfd.readouterr().err
    assert told.count("requests to 'sums', signature 'serving_default', are not logged: expected one input") == 1
    assert "request log: 6 logged, 0 dropped, 2 unsupported, 0 stopped" in told


def test_the_share_that_is_drawn(models: dict[str, Path], tmp_path: Path) -> None:
    drawn = random.Random(5)
    expected = [level for level in range(40) if drawn.random() < 0.3]
    recorder = Recorder(RequestWriter(tmp_path, LogLimits()), Sampling(share=0.3, seed=5))
    with serving(models, recorder) as running:
        assert [asked(running, level) for level in range(40)] == list(range(40))
    log = RequestLog(tmp_path)
    assert [float(one.outputs["mean"]) for one in log.pictures(log.ids(Choice()))] == expected


class Stuck(RequestWriter):
    """A log on a disk that does not answer."""

    def __init__(self, folder: Path):
        super().__init__(folder, LogLimits())
        self.begun, self.answers = threading.Event(), threading.Event()

    def write(self, picture: LoggedPicture) -> None:
        self.begun.set()
        self.answers.wait()
        super().write(picture)


def test_a_disk_that_does_not_answer_costs_no_request(
    models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    writer = Stuck(tmp_path)
    recorder = Recorder(writer, Sampling(share=1, waiting_mib=0.002))
    with serving(models, recorder) as running:
        assert [asked(running, level) for level in range(40)] == list(range(40))
        found = outcomes(running)
        assert found["dropped"] > 20 and found["logged"] == 0
        writer.answers.set()
        eventually(lambda: outcomes(running)["logged"] + found["dropped"] == 40)
        eventually(lambda: "requests were dropped so far" in capfd.readouterr().err)
    log = RequestLog(tmp_path)
    assert len(log.ids(Choice())) == 40 - found["dropped"]


def test_what_still_waits_when_the_log_is_closed_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.request_log.recorder.CLOSE_SECONDS", 0.01)
    writer = Stuck(tmp_path)
    recorder = Recorder(writer, Sampling(share=1))
    request = PredictRequest()
    request.inputs["image_bytes"].CopyFrom(tensor_of(np.array([png(1)], object)))
    for _ in range(3):
        recorder.offer(request, PredictResponse())
    writer.begun.wait()  # the first of them
    recorder.close()
    recorder.offer(request, PredictResponse())
    assert recorder.counts() == {"logged": 0, "dropped": 2, "unsupported": 0, "stopped": 1}
    writer.answers.set()
    eventually(lambda: recorder.counts()["logged"] == 1)


def test_a_folder_that_vanishes_ends_the_log_not_the_server(
    models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(RequestWriter(tmp_path / "log", LogLimits()), Sampling(share=1))
    told: list[str] = []
    with serving(models, recorder) as running:
        asked(running, 1)
        eventually(lambda: outcomes(running)["logged"] == 1)
        shutil.rmtree(tmp_path / "log")
        eventually(lambda: "stopped; the server goes on" in "".join(told) or bool(told.append(capfd.readouterr().err)))  # type: ignore[func-returns-value]
        assert asked(running, 2) == 2
        assert outcomes(running)["stopped"] == 1
    assert "has vanished" in "".join(told) and not (tmp_path / "log").exists()


def test_a_fault_of_the_log_costs_no_request(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    class Faulty(Recorder):
        def _put(self, waiting: Any) -> None:
            raise RuntimeError("no memory")

    with serving(models, Faulty(NoWriter(), Sampling(share=1))) as running:
        assert asked(running, 7) == 7
    assert "a fault, the request is not logged: RuntimeError('no memory')" in capfd.readouterr().err


class NoWriter:
    """Keeps nothing."""

    def write(self, picture: LoggedPicture) -> None: ...

    def tend(self) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...
