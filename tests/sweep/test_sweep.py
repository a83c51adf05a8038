"""A sweep of a Run, from the command line to the report, each command in a process of its own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import sweep_stage
from pipeline.config import load
from pipeline.run import Run
from tests.conftest import ROOT
from tests.test_stages import convoy

CONFIG = """
seed: 1
data: {source: digits, splits: {validation: 0.1, test: 0.03}}
task:
  kind: classification
  picture: {height: 8, width: 8, channels: 1}
  backbone: {kind: small_resnet, depth: 6, widths: [8, 8]}
compress:
  calibration: {count: 20}
  judged_pictures: 20
  sweep: {variants: [float32, int8], latency_runs: 3, limits: {max_drop: 1.0}}
"""
UNTRAINED = """
from pathlib import Path
from pipeline import stages
from pipeline.config import load
from pipeline.run import Run
config, run = load(Path("sweep.yaml")), Run(Path("run"))
stages.prepare(config, run)
task = config.task.resolve(stages.open_store(run).info)
stages.keep_model(run, task.build(), task)
"""
"""A Run with random weights: how good they are, a sweep does not ask."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sweep")
    (place / "sweep.yaml").write_text(CONFIG, encoding="utf-8")
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    subprocess.run([sys.executable, "-c", UNTRAINED], cwd=place, env=environment, check=True, capture_output=True)
    return place


def test_a_sweep_leaves_a_table_a_plot_and_the_picks_and_the_report_shows_them(folder: Path) -> None:
    done = convoy(folder, "compress", "sweep.yaml", "--run", "run", "--sweep", "--quiet")
    assert done.returncode == 0, done.stderr[-3000:]
    run = Run(folder / "run")
    result = json.loads(run.sweep_result.read_text(encoding="utf-8"))
    held = json.loads(run.data.read_text(encoding="utf-8"))["info"]["num_examples"]
    assert (result["split"], result["pictures"]) == ("test", held["test"])
    assert [row["name"] for row in result["rows"]] == ["float32", "int8"]
    assert result["picks"]["phone"]["name"] == "int8"
    assert " ".join(result["picks"]["phone"]["why"].split()) in " ".join(done.stdout.split())
    assert result["host"]["threads"] == 1 and result["host"]["description"]
    with (run.sweep / "variants.csv").open(newline="", encoding="utf-8") as stream:
        lines = {line["name"]: line for line in csv.DictReader(stream)}
    for name, line in lines.items():
        assert int(line["bytes"]) == (run.sweep / "variants" / name / "model.tflite").stat().st_size
    assert "2 int8" in (run.sweep / "variants.svg").read_text(encoding="utf-8")
    assert convoy(folder, "report", "run", "--quiet").returncode == 0
    assert "Best for phone" in run.report.read_text(encoding="utf-8")


def test_limits_that_nothing_meets_end_with_their_exit_code_and_the_closest(folder: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("model.tflite")}
    done = convoy(folder, "compress", "sweep.yaml", "compress.sweep.limits.max_bytes=10", "--run", "run", "--sweep")
    assert done.returncode == 6, done.stderr[-3000:]
    message = " ".join(done.stderr.split())
    assert "The closest is int8" in message and "(limit 10)" in message
    result = json.loads(Run(folder / "run").sweep_result.read_text(encoding="utf-8"))
    assert result["picks"] == {} and result["closest"]["name"] == "int8"
    assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("model.tflite")} != {}


def test_rows_of_another_tensorflow_are_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, run = load(folder / "sweep.yaml"), Run(folder / "run")
    before = sweep_stage.made_from(config, run)
    assert sweep_stage.made_from(config, run) == before
    monkeypatch.setattr(sweep_stage, "installed", lambda name: "99" if name == "tensorflow" else "1")
    assert sweep_stage.made_from(config, run) != before
