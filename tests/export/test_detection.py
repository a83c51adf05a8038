"""Detectors as files: what metadata and contract say of boxes, and MediaPipe's ObjectDetector, which reads them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from models.stack import keras
from pipeline.compress import VARIANTS
from pipeline.compress.base import CompressionJob
from pipeline.export.contract import describe_tflite
from pipeline.export.tflite import labelled, publish_tflite
from pipeline.predictors import TFLitePredictor
from pipeline.tasks import Detection
from tests.contracts.tables import SMALL

MEDIAPIPE = os.environ.get("CONVOY_MEDIAPIPE_PYTHON") or None
HEIGHT, WIDTH = 48, 64
NAMES = ("red", "green", "blue")
MOST = 7
"""Prime: MediaPipe once took the boxes for `most` / `count` classes each."""


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """uint8 [4, H, W, 3], the first of one colour."""
    drawn = np.random.default_rng(1).integers(0, 256, (4, HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    drawn[0] = 128
    return drawn.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def task() -> Detection:
    return Detection.model_validate(
        {
            **SMALL["detection"],
            "strides": (4, 8),
            "picture": PictureFormat(height=HEIGHT, width=WIDTH),
            "backbone": SmallResNet(depth=6, widths=(8, 8)),
            "suppression": {"kind": "class_wise", "most": MOST, "candidates": 20, "least_score": 0.875},
            "threshold": 0.9,
            "class_names": NAMES,
        }
    )


@pytest.fixture(scope="module")
def files(task: Detection, pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    keras.utils.set_random_seed(3)
    job = CompressionJob(task, task.build(), pictures, fine_tune=lambda *_, **__: None, drop=lambda _: 0.0)
    folder = tmp_path_factory.mktemp("detection")
    return {
        name: publish_tflite(task, VARIANTS[name]().convert(job), folder / f"{name}.tflite", name)
        for name in ("float32", "int8")
    }


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_the_contract_says_what_the_outputs_are(task: Detection, files: dict[str, Path], name: str) -> None:
    described = {entry["name"]: entry for entry in describe_tflite(task, files[name])["outputs"]}
    assert {name: (entry["content"], entry["shape"]) for name, entry in described.items()} == {
        "boxes": ("boxes", [1, MOST, 4]),
        "classes": ("categories", [1, MOST]),
        "scores": ("scores", [1, MOST]),
        "count": ("count", [1]),
    }
    assert {entry["dtype"] for entry in described.values()} == {"float32"}
    assert {name: entry["threshold"] for name, entry in described.items() if entry["threshold"]} == {
        "scores": task.threshold
    }
    assert not any(entry["labelled"] for entry in described.values())


def test_as_many_objects_as_classes_are_not_taken_for_their_scores(task: Detection) -> None:
    scores = task.meanings()["scores"]
    assert not labelled(task, scores, (1, len(NAMES)))


@pytest.fixture(scope="module")
def by_mediapipe(
    files: dict[str, Path], pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Variant -> what `mediapipe_detect.py` prints of its file."""
    if MEDIAPIPE is None:
        pytest.skip("CONVOY_MEDIAPIPE_PYTHON names no interpreter that has mediapipe 1.2")
    saved = tmp_path_factory.mktemp("mediapipe") / "pictures.npy"
    np.save(saved, pictures)
    script = Path(__file__).with_name("mediapipe_detect.py")
    command = [MEDIAPIPE, str(script), str(saved), *map(str, files.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return dict(zip(files, json.loads(done.stdout).values(), strict=True))


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_mediapipe_reads_what_the_outputs_are(task: Detection, by_mediapipe: dict[str, Any], name: str) -> None:
    metadata = by_mediapipe[name]["metadata"]
    assert metadata["minParserVersion"] == "1.2.0"
    (graph,) = metadata["subgraphMetadata"]
    assert graph["outputTensorGroups"] == [
        {"name": "detection_result", "tensorNames": ["location", "category", "score"]}
    ]
    found = {table["name"]: table for table in graph["outputTensorMetadata"]}
    contents = {name: table["content"] for name, table in found.items()}
    assert contents["location"] == {
        "contentPropertiesType": 3,
        "contentProperties": {"index": [0, 1, 2, 3], "type": 1, "coordinateType": 0},
        "range": {"min": 2, "max": 2},
    }
    for name in ("category", "score"):
        assert contents[name] == {"contentPropertiesType": 1, "contentProperties": {}, "range": {"min": 2, "max": 2}}
    assert contents["number of detections"] == {"contentPropertiesType": 1, "contentProperties": {}}
    labels = {
        name: [(file["name"], file["type"]) for file in table.get("associatedFiles", ())]
        for name, table in found.items()
    }
    assert labels == {"category": [("labels.txt", 3)], "location": [], "score": [], "number of detections": []}
    thresholds = {name: table["processUnits"] for name, table in found.items() if "processUnits" in table}
    limit = {"globalScoreThreshold": pytest.approx(task.threshold)}
    assert thresholds == {"score": [{"optionsType": 3, "options": limit}]}


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_mediapipe_finds_the_same_objects(
    files: dict[str, Path], pictures: np.ndarray, by_mediapipe: dict[str, Any], name: str
) -> None:
    ours = TFLitePredictor(files[name])({"image": pictures})
    counts = [len(found) for found in by_mediapipe[name]["found"]]
    assert counts == ours["count"].tolist()  # the Python API puts 0 in place of the threshold in the metadata
    assert min(counts) == 0
    assert any(1 < count < MOST for count in counts)
    for index, found in enumerate(by_mediapipe[name]["found"]):
        labels, scores, boxes = [row[0] for row in found], [row[1] for row in found], [row[2:] for row in found]
        shown = slice(len(found))
        assert labels == [NAMES[int(number)] for number in ours["classes"][index, shown]]
        np.testing.assert_allclose(scores, ours["scores"][index, shown], rtol=1e-5)
        corners = ours["boxes"][index, shown] * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        places = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        # mediapipe cuts each number to whole pixels.
        np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), places, atol=1.0)
