"""A production folder behind a real server: every verb as a user gives it, while clients keep asking."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli import execute
from pipeline.export.contract import checksum
from serving import history
from serving.client import Client, ClientSettings, connect
from serving.deployment import Deployment
from serving.docker.compose import health_check
from tests.conftest import ROOT
from tests.serving.deploy.runs import MODEL, WARM_UP, change_contract, encoded_picture
from tests.serving.processes import CONVOY, PORTS, Serving

FLAGS = ("--grpc-port", "0", "--rest-port", "0", "--max-num-load-retries", "0")


@dataclass(frozen=True)
class Served:
    """A production folder, and a server of it."""

    folder: Path
    server: Serving

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.server.grpc_port}"

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.server.rest_port}"

    def client(self, **chosen: Any) -> Client:
        return connect(self.url, MODEL, settings=ClientSettings(attempts=1), **chosen)


@pytest.fixture(scope="module")
def served(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Version 1 deployed by the command, and `convoy serve FOLDER`."""
    folder = tmp_path_factory.mktemp("served") / "production"
    assert execute(["deploy", str(runs[0]), "--to", str(folder), "--poll-seconds", "1"]) == 0
    command = [sys.executable, "-c", CONVOY, "serve", str(folder), *FLAGS]
    log = folder.parent / "serve.log"
    with log.open("w") as told:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=told, text=True)
    assert process.stdout is not None
    try:
        ports = next((found for line in process.stdout if (found := PORTS.search(line))), None)
        assert ports is not None, log.read_text()
        yield Served(folder, Serving(process, int(ports[1]), int(ports[2])))
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@dataclass
class Asking:
    """A client that asks for `stable` again and again while something else happens."""

    client: Client
    answers: list[np.ndarray] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Asking:
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self._thread.join()

    def _ask(self) -> None:
        picture = encoded_picture(5)
        while not self.done.is_set():
            try:
                self.answers.append(self.client.predict([picture])["scores"])
            except Exception as error:  # whatever it is, the test names it
                self.errors.append(error)


def convoy(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = execute([*arguments, "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, document


def state(served: Served) -> dict[int, str]:
    with served.client() as client:
        return {one.version: one.state for one in client.status()}


def pictures(folder: Path) -> Path:
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(encoded_picture(number))
    return folder


def test_the_examples_work(served: Served) -> None:
    examples = served.folder / "examples"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with served.client(label="stable") as client:
        scores = client.predict([examples / "picture.jpg"])["scores"][0].tolist()

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    picture = examples / "picture.jpg"
    over_rest = run(sys.executable, "-I", examples / "predict.py", picture, "--server", served.rest)
    assert list(json.loads(over_rest.split(" ", 1)[1])["scores"].values()) == pytest.approx(scores, rel=1e-6)
    over_grpc = run(sys.executable, examples / "predict_grpc.py", picture, "--server", served.url)
    assert json.loads(over_grpc.removeprefix("scores "))[0] == pytest.approx(scores, rel=1e-6)
    if shutil.which("curl"):
        by_curl = json.loads(run("sh", examples / "predict.sh", served.rest))
        assert by_curl["predictions"][0] == pytest.approx(scores, rel=1e-6)


def test_the_health_check_tells_a_server_that_serves(served: Served) -> None:
    line = health_check(Deployment(served.folder).settings()).replace("/8501", f"/{served.server.rest_port}")
    assert subprocess.run(["bash", "-c", line], check=False, timeout=60).returncode == 0
    unlabelled = line.replace("labels/stable", "labels/none")
    assert subprocess.run(["bash", "-c", unlabelled], check=False, timeout=60).returncode == 1


def test_alerts_and_dashboard_name_metrics_that_exist(served: Served) -> None:
    with served.client(label="stable") as client:
        client.predict([encoded_picture(1)])
    with urllib.request.urlopen(f"{served.rest}/monitoring/prometheus/metrics", timeout=60) as answer:
        shown = answer.read().decode()
    texts = [(served.folder / "monitoring" / name).read_text() for name in ("alerts.yml", "dashboards/serving.json")]
    used = set(re.findall(r":tensorflow:serving:\w+(?::\w+)?", " ".join(texts)))
    assert len(used) >= 8
    assert [name for name in sorted(used) if f"\n{name}" not in shown] == []


def test_the_whole_roll_out(
    served: Served, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, server = str(served.folder), ("--server", served.url)
    place = str(pictures(tmp_path / "pictures"))
    with served.client(label="stable") as client, Asking(client) as asking:
        code, done = convoy(capsys, "publish", str(runs[1]), "--to", folder)
        assert (code, done["version"], done["after"]["versions"]) == (0, 2, [1])

        code, done = convoy(capsys, "canary", folder, *server)
        assert (code, done["after"]) == (0, {"versions": [1, 2], "labels": {"stable": 1, "canary": 2}})
        assert state(served) == {2: "AVAILABLE", 1: "AVAILABLE"}
        first = asking.answers[-1]

        loose = ("--min-agreement", "0", "--pictures", place)
        code, done = convoy(capsys, "canary", folder, *server, *loose, "--max-latency-ratio", "0.0001")
        assert code == 6 and not done["changed"]
        assert done["comparison"]["pictures"] == 6 and done["comparison"]["passed"] is False
        assert "latency ratio" in done["comparison"]["why"] and done["error"]["kind"] == "VerificationError"
        assert convoy(capsys, "promote", folder, *server)[0] == 6
        code, done = convoy(capsys, "canary", folder, *server, *loose, "--max-latency-ratio", "10000")
        assert code == 0 and done["comparison"]["passed"]

        code, done = convoy(capsys, "promote", folder, *server)
        assert (code, done["after"]) == (0, {"versions": [1, 2], "labels": {"stable": 2}})
        with served.client(label="stable") as fresh:
            assert fresh.metadata().version == 2
            second = fresh.predict([encoded_picture(5)])["scores"]
        assert not np.allclose(first, second)

        code, done = convoy(capsys, "rollback", folder, "--server", served.rest)
        assert (code, done["after"]) == (0, {"versions": [1], "labels": {"stable": 1}})
        assert np.allclose(client.predict([encoded_picture(5)])["scores"], first)
        assert convoy(capsys, "rollback", folder, *server)[1]["changed"] is False
    assert asking.errors == []
    assert all(np.allclose(one, first) or np.allclose(one, second) for one in asking.answers)


def test_a_version_that_cannot_be_loaded_is_withdrawn(
    served: Served, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    (run / "export" / WARM_UP).write_bytes(bytes(range(200)))
    digest = checksum(run / "export" / WARM_UP)
    change_contract(run, lambda contract: contract["checksums"].update({WARM_UP: digest}))
    folder = str(served.folder)
    with served.client(label="stable") as client, Asking(client) as asking:
        _, published = convoy(capsys, "publish", str(run), "--to", folder)
        code, done = convoy(capsys, "canary", folder, "--server", served.url)
        assert code == 9
        assert f"cannot load version {published['version']}" in done["error"]["message"]
    assert asking.errors == []
    last = history.changes(Deployment(served.folder))[-1]
    assert last["verb"] == "withdraw" and published["version"] not in last["after"]["versions"]


def test_a_server_that_is_not_there(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    code, done = convoy(
        capsys, "promote", str(served.folder), "--version", "1", "--server", "grpc://127.0.0.1:1", "--wait", "0"
    )
    assert code == 9 and "grpc://127.0.0.1:1" in done["error"]["message"]
    code, done = convoy(capsys, "canary", str(served.folder), "--pictures", "x")
    assert code == 2 and "give --server URL" in done["error"]["message"]


def test_a_folder_that_is_no_production_folder(
    tmp_path: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["publish", str(runs[0]), "--to", str(tmp_path)], ["promote", str(tmp_path)]):
        code, done = convoy(capsys, *arguments)
        assert code == 7 and "convoy deploy RUN --to" in done["error"]["message"]
    code, done = convoy(capsys, "deploy", str(tmp_path), "--to", str(tmp_path / "x"))
    assert code == 7 and "convoy export" in done["error"]["message"]


def test_a_run_without_warm_up_gives_a_picture_of_its_data(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, done = convoy(capsys, "deploy", str(runs[2]), "--to", str(tmp_path / "production"))
    assert code == 7 and "convoy prepare" in done["error"]["message"]  # there is neither


def test_a_canary_is_ended_by_the_command(
    folder: Deployment, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(folder.path)
    assert convoy(capsys, "publish", str(runs[1]), "--to", place)[0] == 0
    assert convoy(capsys, "canary", place)[1]["after"]["labels"] == {"stable": 1, "canary": 2}
    assert convoy(capsys, "canary", place, "--end", "--version", "2")[0] == 2
    assert convoy(capsys, "canary", place, "--end")[1]["after"] == {"versions": [1], "labels": {"stable": 1}}
