"""`convoy describe models`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from models.backbones import BACKBONES
from pipeline import describe_models

ROOT = Path(__file__).parents[1]


def row(kind: str) -> describe_models.Row:
    return next(row for row in describe_models.rows() if row.kind == kind)


def test_every_backbone_has_its_row() -> None:
    assert [row.kind for row in describe_models.rows()] == list(BACKBONES)


def test_a_row_says_what_a_backbone_costs_and_takes() -> None:
    resnet = row("resnet50")
    assert resnet.parameters == 23_587_712  # as keras.applications.ResNet50 without its top
    assert resnet.flops == pytest.approx(2 * 3.86e9, rel=0.01)  # He et al. 2016, table 1, as Caffe counts
    assert (resnet.input_size, resnet.least_size) == (224, 32)
    assert list(resnet.channels.items())[-1] == ("stride_32", 2048)
    assert resnet.weights and resnet.weights.licence == "MIT"
    assert (row("small_resnet").weights, row("small_resnet").least_size) == (None, 8)
    assert (row("inception_resnet_v2").input_size, row("inception_resnet_v2").least_size) == (299, 75)


def test_what_was_verified_comes_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "verified.json"
    monkeypatch.setattr(describe_models, "VERIFIED", file)
    assert "| not measured |" in describe_models.as_markdown()
    file.write_text(json.dumps({"vgg16": {"int8": "yes", "int8_qat": "71 % agreement", "int4": "yes"}}))
    page = describe_models.as_markdown()
    assert "| CC-BY-4.0 | int8, int4 |" in page
    assert "- `vgg16`, `int8_qat`: 71 % agreement" in page
    assert row("vgg16").verified["int8_qat"] == "71 % agreement"


def test_the_table_is_readable_in_a_wide_terminal() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(describe_models.as_table())
    line = next(line for line in console.export_text().splitlines() if line.startswith("mobilenet_v2 "))
    assert line.split()[:5] == ["mobilenet_v2", "2.26", "0.60", "224", "32"]
    assert "2: 96, 4: 144, 8: 192, 16: 576, 32: 1280" in line and "Apache-2.0" in line


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "backbones.md").read_text()
    assert written == describe_models.as_markdown(), "run: convoy describe models --markdown > docs/backbones.md"


def test_the_command_answers_in_json_without_tensorflow() -> None:
    code = (
        "import sys; from pipeline import cli; code = cli.execute(['describe', 'models', '--json']); "
        "assert 'tensorflow' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [model["kind"] for model in json.loads(done.stdout)["models"]] == list(BACKBONES)
