"""Detectors whose boxes and suppression are left to MediaPipe: what the file gives, and what MediaPipe makes of it."""

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
from pipeline.errors import ConfigError
from pipeline.export.anchored import publish_anchored
from pipeline.export.tflite import publish_tflite
from pipeline.predictors import TFLitePredictor
from pipeline.tasks import Classification, Detection
from tests.contracts.tables import SMALL

MEDIAPIPE = os.environ.get("CONVOY_MEDIAPIPE_PYTHON") or None
HEIGHT, WIDTH = 48, 64
NAMES = ("red", "green", "blue")
IOU = 0.3
"""What MediaPipe takes where an app sets nothing else."""
SIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "float32": ("retinanet", {"head_depth": 0, "middle_scale": 0.02, "size_scale": 0.05}),
    "int8": ("ssd", {"middle_scale": 0.02, "size_scale": 0.04}),
}
"""Variant -> the detector that is tried with it. Its boxes stay where their anchors are: those that lie beside the
picture MediaPipe takes for one."""


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """uint8 [3, H, W, 3], of so little contrast that no score is at its limit: of equal ones MediaPipe takes any."""
    drawn = np.random.default_rng(1).integers(112, 144, (3, HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    return drawn.repeat(8, axis=1).repeat(8, axis=2)


def task_of(kind: str, settings: dict[str, Any]) -> Detection:
    anchors = {"kind": "fitted", "pixels": [[7, 7], [18, 12]]}
    return Detection.model_validate(
        {
            **SMALL["detection"],
            "strides": (4, 8),
            "picture": PictureFormat(height=HEIGHT, width=WIDTH),
            "backbone": SmallResNet(depth=6, widths=(8, 8)),
            "detector": {"kind": kind, "anchors": anchors, **settings},
            "suppression": {"kind": "class_agnostic", "iou": IOU, "most": 240, "candidates": 720, "least_score": 0.0},
            "class_names": NAMES,
        }
    )


@pytest.fixture(scope="module", params=SIDES)
def files(request: Any, pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Detection, Path, Path]:
    """The task, a variant's file, and the same anchored."""
    task, folder = task_of(*SIDES[request.param]), tmp_path_factory.mktemp("anchored")
    keras.utils.set_random_seed(3)
    model = task.build()
    job = CompressionJob(task, model, pictures, fine_tune=lambda *_, **__: None, drop=lambda _: 0.0)
    content = VARIANTS[request.param]().convert(job)
    plain = publish_tflite(task, content, folder / "plain.tflite", request.param)
    return task, plain, publish_anchored(task, model, content, folder / "anchored.tflite", request.param)


def decoded(task: Detection, given: dict[str, np.ndarray]) -> np.ndarray:
    """Boxes as SSD's decoders make them, float64 [B,P,4] of x_min, y_min, x_max, y_max; they may leave the picture."""
    boxes = task.anchored().boxes
    y, x, height, width = np.moveaxis(given["location"].astype(np.float64), -1, 0)
    across, down, wide, high = boxes.anchors.T
    x, y = x / boxes.middle_scale * wide + across, y / boxes.middle_scale * high + down
    width, height = np.exp(width / boxes.size_scale) * wide, np.exp(height / boxes.size_scale) * high
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=-1)


def test_steps_from_anchors_are_the_boxes_of_the_variant(files: Any, pictures: np.ndarray) -> None:
    task, plain, anchored = files
    given = TFLitePredictor(anchored)({"image": pictures})
    assert given["location"].shape == (3, 240, 4) and given["score"].shape == (3, 240, 3)
    boxes = np.clip(decoded(task, given), 0.0, 1.0).astype(np.float32)
    expected = TFLitePredictor(plain)({"image": pictures})
    found = {name: values.numpy() for name, values in task.suppression.select(boxes, given["score"]).items()}
    assert expected["count"].min() > 20
    for name, values in task.comparable(expected, found).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5, err_msg=name)


def test_mediapipe_makes_the_same_boxes_of_them(
    files: Any, pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if MEDIAPIPE is None:
        pytest.skip("CONVOY_MEDIAPIPE_PYTHON names no interpreter that has mediapipe 1.2")
    task, _, anchored = files
    saved = tmp_path_factory.mktemp("mediapipe") / "pictures.npy"
    np.save(saved, pictures)
    script = Path(__file__).with_name("mediapipe_detect.py")
    done = subprocess.run(
        [MEDIAPIPE, str(script), str(saved), str(anchored)], capture_output=True, text=True, check=True, timeout=120
    )
    (printed,) = json.loads(done.stdout).values()
    given = TFLitePredictor(anchored)({"image": pictures})
    # MediaPipe suppresses before boxes are cut off at the picture's edges.
    expected = task.suppression.select(decoded(task, given).astype(np.float32), given["score"])
    ours = {name: values.numpy() for name, values in expected.items()}
    assert [len(found) for found in printed["found"]] == ours["count"].tolist()
    for index, found in enumerate(printed["found"]):
        shown = slice(len(found))
        assert [row[0] for row in found] == [NAMES[int(number)] for number in ours["classes"][index, shown]]
        np.testing.assert_allclose([row[1] for row in found], ours["scores"][index, shown], rtol=1e-5)
        corners = ours["boxes"][index, shown] * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        # The upper left corner is moved into the picture, and all numbers are cut to whole pixels.
        places = np.concatenate([np.maximum(corners[:, :2], 0.0), corners[:, 2:] - corners[:, :2]], axis=1)
        np.testing.assert_allclose([row[2:] for row in found], places, atol=1.0)
    (graph,) = printed["metadata"]["subgraphMetadata"]
    assert [one["name"] for one in graph["customMetadata"]] == ["DETECTOR_METADATA"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            Detection(class_names=NAMES),
            "boxes of YOLO are not steps from anchors. Choose task.detector=retinanet or ssd",
        ),
        (Classification(class_names=NAMES), "the task 'classification' has none"),
    ],
)
def test_what_has_no_anchors_is_refused(task: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as failure:
        task.anchored()
    assert failure.value.place == ("export", "anchored")
