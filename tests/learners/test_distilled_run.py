"""The road from a teacher's Run to a student's, as the command line goes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import before_training, stages
from pipeline.config import Config, load
from pipeline.errors import ConfigError, RunError
from pipeline.opening import opened
from pipeline.run import Run
from pipeline.tasks import Task
from tests.learners.given import run_of, task

TEXT = """\
seed: 1
data: {{source: digits, splits: {{validation: 0.1, test: 0.6}}}}
task:
  kind: classification
  picture: {{height: 8, width: 8, channels: 1}}
  backbone: {{kind: small_resnet, depth: 6, widths: [4, 8]}}
learner:
  kind: distilled
  teacher: {teacher}
  transfers: [soft_targets, {{kind: attention_transfer, levels: [stride_2]}}, relational]
train: {{epochs: 1, batch_size: 64, tensorboard: false}}
evaluate: {{samples: 0, mistakes: 0}}
compress:
  variants: [{{kind: int8_qat, epochs: 1, distillation: {{transfers: [soft_targets, attention_transfer]}}}}]
"""
DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration file beside a teacher of digits at twice the size."""
    settings = {"backbone": {"kind": "small_resnet", "depth": 6, "widths": [8, 8]}, "class_names": DIGITS}
    run_of(tmp_path / "teacher", digits(settings))
    (tmp_path / "student.yaml").write_text(TEXT.format(teacher=tmp_path / "teacher"), encoding="utf-8")
    return tmp_path


def digits(settings: dict[str, Any]) -> Task:
    return task(size=16, channels=1, **settings)


def config_in(folder: Path, *overrides: str) -> Config:
    return load(folder / "student.yaml", overrides)


def test_a_student_is_trained_compressed_and_its_page_names_the_teacher(folder: Path, capsys) -> None:
    run, config = Run(folder / "run"), config_in(folder)
    stages.prepare(config, run)
    stages.train(config, run)
    stages.evaluate(config, run)
    stages.compress(config, run)
    stages.report(config, run)
    teacher = str(folder / "teacher")
    (source,) = json.loads(run.learned_from.read_text()).items()
    assert source[0] == teacher
    assert f"learns from {teacher} (small_resnet, " in capsys.readouterr().err
    page = run.report.read_text(encoding="utf-8")
    assert f"<dt>teacher</dt><dd>{teacher}: small_resnet, " in page
    assert (run.variants / "int8_qat" / "model.tflite").stat().st_size > 1000
    assert json.loads((run.variants / "int8_qat" / "variant.json").read_text())["distillation"]["label_weight"] == 1.0
    speeds = before_training.profile(config, run, seconds=1.0)
    assert speeds.stages[-1].kind == "compute"


def test_a_training_does_not_go_on_with_another_teacher(folder: Path) -> None:
    run, config = Run(folder / "run"), config_in(folder)
    stages.train(config, run)
    taught = Run(folder / "teacher")
    taught.model.write_bytes(taught.model.read_bytes() + b"changed")
    with pytest.raises(RunError, match=r"teacher has changed since the Run .* began to learn from it"):
        stages.train(config, run, resume=True)


def test_a_teacher_that_does_not_fit_is_refused_with_file_and_line_before_training(folder: Path) -> None:
    gone = "learner.teacher=runs/gone"
    with (
        pytest.raises(ConfigError, match=r"override 'learner.teacher=runs/gone': .*There is no runs/gone"),
        opened(folder / "student.yaml", [gone], folder / "run") as job,
    ):
        stages.prepare(job.config, job.run)
    other = run_of(folder / "teacher", digits({"class_names": DIGITS[::-1]}))
    expected = rf"student.yaml:9: The teacher {other.path} answers in another order .* entry 0 is '9' with the teacher"
    with pytest.raises(ConfigError, match=expected), opened(folder / "student.yaml", [], folder / "run") as job:
        stages.train(job.config, job.run)
    assert not (folder / "run" / "checkpoints").exists()
