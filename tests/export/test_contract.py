"""contract.json against the files it speaks of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.export import ExportSettings
from pipeline.export.contract import write_contract
from pipeline.export.saved_model import export_saved_model
from pipeline.export.tflite import publish_tflite
from pipeline.tasks import Classification
from tests.export.conftest import CLASS_NAMES


@pytest.fixture(scope="module")
def folder(
    task: Classification,
    model: Any,
    variants: dict[str, bytes],
    pictures: list[bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("export")
    version = export_saved_model(task, model, folder / "saved_model", pictures, ExportSettings(warmup_requests=1))
    tflite = {
        name: publish_tflite(task, variants[name], folder / "tflite" / f"{name}.tflite", name)
        for name in ("float32", "int8")
    }
    write_contract(folder, task, version, tflite, {"seed": 3, "versions": {"tensorflow": "2.21.0"}})
    return folder


@pytest.fixture(scope="module")
def contract(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "contract.json").read_text(encoding="utf-8"))


def test_checksums_are_those_of_all_files(folder: Path, contract: dict[str, Any]) -> None:
    files = {path for path in folder.rglob("*") if path.is_file()} - {folder / "contract.json"}
    assert contract["checksums"] == {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_signatures(contract: dict[str, Any]) -> None:
    signatures = contract["saved_model"]["signatures"]
    assert contract["saved_model"]["path"] == "saved_model/1"
    assert set(signatures) == {"serving_default", "images", "classify"}
    (image,) = signatures["images"]["inputs"]
    assert (image["name"], image["shape"], image["dtype"], image["range"]) == (
        "image",
        [None, 24, 32, 3],
        "uint8",
        [0, 255],
    )
    (scores,) = signatures["serving_default"]["outputs"]
    assert scores == {
        "name": "scores",
        "shape": [None, 3],
        "dtype": "float32",
        "range": [0.0, 1.0],
        "meaning": "Probability of each class, in the labels' order; they sum to 1.",
        "content": "feature",
        "threshold": 0.0,
        "labelled": True,
    }
    assert [entry["dtype"] for entry in signatures["classify"]["outputs"]] == ["string", "float32"]
    assert signatures["classify"]["method"] == "tensorflow/serving/classify"


def test_tflite(contract: dict[str, Any]) -> None:
    int8 = contract["tflite"]["int8"]
    assert int8["path"] == "tflite/int8.tflite"
    assert int8["inputs"][0]["quantization"] == {"scale": 1.0, "zero_point": 0}
    assert int8["outputs"][0]["dtype"] in ("uint8", "float32")
    float32 = contract["tflite"]["float32"]
    assert "quantization" not in float32["inputs"][0]
    assert float32["inputs"][0]["shape"] == [1, 24, 32, 3]
    assert float32["outputs"][0]["labelled"]


def test_the_rest(contract: dict[str, Any], task: Classification) -> None:
    assert contract["format"] == 1
    assert contract["labels"] == list(CLASS_NAMES)
    assert Classification.model_validate(contract["task"]) == task
    assert contract["environment"]["seed"] == 3
    preprocessing = contract["preprocessing"]
    assert (preprocessing["height"], preprocessing["width"], preprocessing["fit"]) == (24, 32, "stretch")
