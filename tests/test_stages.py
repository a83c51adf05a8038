"""The whole road as a user goes it, by `convoy run`, with networks that train in a second: for one task in a process of
its own, for the others here, where TensorFlow is loaded already."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import cli
from pipeline.console import terminal
from pipeline.data.example import SPLITS, TRAIN
from pipeline.run import Run
from pipeline.summary import Summary
from pipeline.tasks import TASKS
from pipeline.wording import quantity
from tests.conftest import ROOT
from tests.contracts.tables import SMALL, data_settings, write_table

TINY: dict[str, Any] = {
    "seed": 1,
    "train": {
        "epochs": 2,
        "batch_size": 32,
        "tensorboard": False,
        "optimizer": {"kind": "adam", "learning_rate": 0.01},
    },
    "evaluate": {"mistakes": 2, "samples": 2},
    "compress": {"variants": ["float32", "int8"], "calibration": {"count": 32}},
    "export": {"warmup_requests": 2},
    "verify": {"latency_runs": 3, "limits": {"max_drop": 0.2, "max_increase": 0.5, "min_agreement": 0.5}},
}
DIGITS = {"source": "digits", "splits": {"validation": 0.1, "test": 0.2}}
ANCHORED = ("task.detector={kind: retinanet, head_depth: 0}", "export.anchored=true")
MORE = {"detection": (ANCHORED, ("int8", "int8_anchored"))}
"""Of some tasks: more settings, and the files that come of them."""
NETWORK = {"kind": "small_resnet", "depth": 6, "widths": [16, 16]}


def convoy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def write_config(folder: Path, kind: str, data: dict[str, Any], side: int, channels: int) -> str:
    """The name of a configuration file in the folder. JSON is YAML, too."""
    picture = {"height": side, "width": side, "channels": channels}
    task = {"kind": kind, "picture": picture, "backbone": NETWORK, **SMALL.get(kind, {})}
    config = {**TINY, "data": data, "task": task}
    (folder / f"{kind}.yaml").write_text(json.dumps(config), encoding="utf-8")
    return f"{kind}.yaml"


@dataclass(frozen=True)
class Road:
    """A Run that has been gone to its end, in the folder that the commands were given in."""

    folder: Path
    config: str
    run: Run
    said: str

    @property
    def summary(self) -> Summary:
        return Summary.model_validate_json(self.run.summary.read_text(encoding="utf-8"))


def gone(folder: Path, config: str) -> Road:
    done = convoy(folder, "run", config, "--run", "first")
    assert done.returncode == 0, done.stderr[-3000:]
    return Road(folder, config, Run(folder / "first"), done.stdout)


@pytest.fixture(autouse=True)
def _terminal() -> Iterator[None]:
    """As it was before a command spoke."""
    yield
    terminal.configure()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Road:
    folder = tmp_path_factory.mktemp("digits")
    return gone(folder, write_config(folder, "classification", DIGITS, side=8, channels=1))


def require_whole(road: Road, *variants: str) -> None:
    """All that a Run with these variants holds at its end is there, and the summary says so."""
    run, summary = road.run, road.summary
    exported = {variant: f"{variant}.tflite" for variant in variants}
    assert sorted(path.name for path in run.tflite.iterdir()) == sorted(exported.values())
    files = (run.model, run.task, run.history, run.evaluation, run.contract, run.verification, run.report)
    assert all(file.stat().st_size for file in files)
    assert (run.saved_model / "1" / "saved_model.pb").is_file()
    assert set(summary.variants) == {"saved_model", "saved_model_images", *exported}
    for variant in summary.variants.values():
        assert variant.blessed
        assert (run.path / variant.file).exists()
        assert summary.metric.name in variant.metrics
    assert set(summary.data) == set(SPLITS)
    assert summary.train.steps == 2 * round(summary.data[TRAIN] / 32)
    assert str(run.report.relative_to(road.folder)) in road.said


def test_a_classifier_from_digits_to_verified_files(digits: Road) -> None:
    require_whole(digits, "float32", "int8")
    assert (digits.summary.task, digits.summary.metric.name) == ("classification", "accuracy")
    assert sum(digits.summary.data.values()) == 1797
    assert digits.summary.variants["saved_model"].metrics["accuracy"] > 0.5  # of ten classes, after two epochs
    assert digits.summary.variants["int8"].float_ops == 0


@pytest.mark.parametrize("kind", sorted(set(TASKS) - {"classification"}))
def test_every_other_task_from_a_table_to_verified_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = write_table(tmp_path / "pictures", 64)
    config = write_config(tmp_path, kind, data_settings(table, TASKS[kind].label_field), 16, 3)
    # Determinism is switched on for a whole process, which other tests share here.
    more, files = MORE.get(kind, ((), ("int8",)))
    settings = ("train.devices.deterministic=false", "compress.variants=[int8]", *more)
    assert cli.execute(["run", config, *settings, "--run", "first"]) == 0
    said = capsys.readouterr()
    assert f"/saved_model/1 and {quantity(len(files), 'TFLite file')}" in said.err
    assert "; 0 outputs" not in said.err
    road = Road(tmp_path, config, Run(tmp_path / "first"), said.out)
    require_whole(road, *files)
    assert {f"tflite/{file}.tflite" for file in files} <= json.loads(road.run.contract.read_text())["checksums"].keys()
    assert (road.summary.task, road.summary.metric.name) == (kind, TASKS[kind].metric.name)


def test_nothing_to_resume_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, "classification", DIGITS, side=8, channels=1)
    settings = ("train.devices.deterministic=false", "--run", "fresh", "--resume")
    assert cli.execute(["train", config, *settings]) == 7
    said = " ".join(capsys.readouterr().err.split())
    assert "There is no checkpoint in fresh/checkpoints to resume from" in said
    assert not Run(tmp_path / "fresh").model.exists()


def test_a_second_run_reuses_the_training_and_an_impossible_limit_still_gives_the_report(digits: Road) -> None:
    second = Run(digits.folder / "second")
    shutil.copytree(digits.run.path, second.path)
    second.report.unlink()
    trained = (second.model.stat().st_mtime_ns, second.model.read_bytes())
    limit = ("compress.variants=[float32]", "verify.exact_difference=0")
    done = convoy(digits.folder, "run", digits.config, *limit, "--run", "second")
    assert done.returncode == 6, done.stderr[-3000:]
    assert "train: reused" in done.stderr
    assert (second.model.stat().st_mtime_ns, second.model.read_bytes()) == trained
    assert "float32" in done.stderr.rpartition("Error:")[2]
    summary = Summary.model_validate_json(second.summary.read_text(encoding="utf-8"))
    assert not summary.variants["float32"].blessed
    assert "predictions differ" in summary.variants["float32"].why
    assert "float32" in second.report.read_text(encoding="utf-8")
