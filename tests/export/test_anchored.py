"""Detectors whose boxes and suppression are left to MediaPipe: what the file gives, and what MediaPipe makes of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from models.stack import keras
from pipeline import predict
from pipeline.compress import VARIANTS, convert, flatbuffer
from pipeline.compress.base import CompressionJob
from pipeline.errors import ConfigError
from pipeline.export.anchored import publish_anchored
from pipeline.export.anchored_reader import answering
from pipeline.export.tflite import publish_tflite
from pipeline.predictors import TFLitePredictor
from pipeline.tasks import Classification, Detection
from pipeline.tracking.detector import open_detector
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


def test_a_file_is_answered_for_by_its_own_metadata(files: Any, pictures: np.ndarray) -> None:
    task, plain, anchored = files
    network = TFLitePredictor(plain)
    assert answering(task, plain, network) is network
    expected = network({"image": pictures})
    found = answering(task, anchored, TFLitePredictor(anchored))({"image": pictures})
    for name, values in task.comparable(expected, found).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5, err_msg=name)
    content, width = anchored.read_bytes(), np.float32(7 / WIDTH).tobytes()  # of the smaller anchors, and nothing else
    assert content.count(width) == (HEIGHT // 4) * (WIDTH // 4)
    other = anchored.with_name("other.tflite")
    other.write_bytes(content.replace(width, np.float32(21 / WIDTH).tobytes()))
    wrong = answering(task, other, TFLitePredictor(other))({"image": pictures})
    assert np.abs(task.comparable(expected, wrong)["boxes"] - expected["boxes"]).max() > 0.05


def test_pictures_and_frames_are_answered_for_by_either_file(files: Any, pictures: np.ndarray, tmp_path: Path) -> None:
    task, plain, anchored = files
    (plain.parent / "contract.json").write_text(json.dumps({"task": task.model_dump(mode="json")}))
    Image.fromarray(pictures[0]).save(tmp_path / "a.png")
    expected, found = (predict.predict(file, [tmp_path])[0].answer["objects"] for file in (plain, anchored))
    assert [one["label"] for one in found] == [one["label"] for one in expected] != []
    np.testing.assert_allclose([one["box"] for one in found], [one["box"] for one in expected], atol=1e-5)
    ours, theirs = (open_detector(file)([pictures[0]])[0] for file in (plain, anchored))
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-3)


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


def test_a_tail_is_found_in_whatever_order_its_operators_come() -> None:
    layers = keras.layers
    image = keras.Input((4,), name="image")
    first = keras.Model(image, {name: layers.Dense(3, name=name)(image) for name in "ab"})
    inputs = {name: keras.Input((3,), name=name) for name in "ab"}
    kinds = {"a": "softmax", "b": "tanh"}
    tail = keras.Model(inputs, {f"{name}_out": layers.Activation(kinds[name])(one) for name, one in inputs.items()})
    begin, end = (convert.tflite_file(model) for model in (first, tail))
    other = flatbuffer.unpack(end)
    other.subgraphs[0].operators.reverse()
    assert len(other.subgraphs[0].operators) == 2
    found = flatbuffer.unpack(flatbuffer.without_tail(flatbuffer.join(begin, end), flatbuffer.pack(other)))
    assert _outputs(found) == _outputs(flatbuffer.unpack(begin))
    assert len(found.subgraphs[0].operators) == 2


def _outputs(model: Any) -> list[tuple[bytes, bytes]]:
    """Name in the signature, name of the tensor."""
    tensors = model.subgraphs[0].tensors
    return sorted((entry.name, tensors[entry.tensorIndex].name) for entry in model.signatureDefs[0].outputs)


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
