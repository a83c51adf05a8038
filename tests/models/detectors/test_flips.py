"""Test-time flips: what is seen mirrored is found mirrored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.backbones import SmallResNet
from models.detectors.flips import Flips
from models.detectors.layout import Layout
from models.preprocess import PictureFormat
from models.stack import keras, tf
from pipeline.compress import VARIANTS
from pipeline.compress.base import CompressionJob
from pipeline.compress.selective import Network
from pipeline.errors import ConfigError
from pipeline.predictors import KerasPredictor, TFLitePredictor
from pipeline.tasks import Detection
from tests.contracts.subjects import small_detector
from tests.contracts.tables import SMALL

HEIGHT, WIDTH = 32, 48


def task_of(kind: str, *flips: str) -> Detection:
    return Detection.model_validate(
        {
            **SMALL["detection"],
            "strides": (4, 8),
            "picture": PictureFormat(height=HEIGHT, width=WIDTH),
            "backbone": SmallResNet(depth=6, widths=(8, 8)),
            "detector": small_detector(kind),
            "suppression": {"kind": "none", "most": 40, "least_score": 0.0},
            "class_names": ("red", "green"),
            "flips": flips,
        }
    )


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """uint8 [3, H, W, 3] of squares of 4 pixels."""
    drawn = np.random.default_rng(1).integers(0, 256, (3, HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
    return drawn.repeat(4, axis=1).repeat(4, axis=2)


def answers(task: Detection, pictures: np.ndarray) -> dict[str, np.ndarray]:
    keras.utils.set_random_seed(3)
    return KerasPredictor(task.serving_model(task.build()))({"image": pictures})


def test_places_that_lie_mirrored_by_hand() -> None:
    """A map of 2 x 3 cells with two answers each, then one of 1 x 2."""
    layout = Layout(8, 12, (4, 8), 2)
    assert layout.mirrored(1).tolist() == [4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7, 14, 15, 12, 13]
    assert layout.mirrored(0).tolist() == [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14, 15]


def test_views_are_averaged_by_hand() -> None:
    """One map of 1 x 2 cells; what the mirrored view says of its left cell belongs to the right one of the picture."""
    layout, flips = Layout(4, 8, (4,), 1), Flips(["horizontal"])
    plain = [[0.0, 0.0, 2.0, 2.0], [4.0, 1.0, 8.0, 3.0]]
    mirrored = [[2.0, 1.0, 4.0, 3.0], [4.0, 0.0, 8.0, 4.0]]
    scores = [[[0.2], [0.8]], [[0.6], [0.4]]]
    boxes, mean = flips.averaged(layout, tf.constant([plain, mirrored]), tf.constant(scores))
    np.testing.assert_allclose(boxes, [[[0, 0, 3, 3], [4, 1, 7, 3]]])
    np.testing.assert_allclose(mean, [[[0.3], [0.7]]], atol=1e-6)


def test_all_views_are_shown_one_picture_after_the_other() -> None:
    image = tf.reshape(tf.range(8), [2, 2, 2, 1])
    shown = Flips(["vertical", "horizontal"]).shown(image).numpy().reshape(8, 4).tolist()
    assert shown[:4] == [[0, 1, 2, 3], [2, 3, 0, 1], [1, 0, 3, 2], [3, 2, 1, 0]]
    assert shown[4] == [4, 5, 6, 7]


@pytest.mark.parametrize("kind", ["yolo", "retinanet", "ssd"])
@pytest.mark.parametrize(("flips", "axis"), [(["horizontal"], 2), (["vertical"], 1), (["horizontal", "vertical"], 2)])
def test_a_mirrored_picture_is_answered_mirrored(kind: str, flips: list[str], axis: int, pictures: np.ndarray) -> None:
    """The mean of both views is the same whichever comes first; without flips it is not."""
    for given, same in ((flips, True), ([], False)):
        task = task_of(kind, *given)
        found, other = (answers(task, shown) for shown in (pictures, np.flip(pictures, axis)))
        turned = [2, 1, 0, 3] if axis == 2 else [0, 3, 2, 1]
        sides = np.where(np.isin(np.arange(4), [0, 2] if axis == 2 else [1, 3]), 1.0, 0.0)
        back = sides + other["boxes"][..., turned] * (1 - 2 * sides)
        expected = task.comparable(found, {**other, "boxes": back.astype(np.float32)})
        close = np.allclose(expected["scores"], found["scores"], atol=1e-4)
        assert (close and np.allclose(expected["boxes"], found["boxes"], atol=1e-3)) == same


@pytest.mark.parametrize(("variant", "tolerance"), [("float32", 1e-4), ("int8", 0.05)])
def test_every_file_looks_at_them_too(variant: str, tolerance: float, pictures: np.ndarray, tmp_path: Path) -> None:
    task = task_of("yolo", "horizontal", "vertical")
    keras.utils.set_random_seed(3)
    model = task.build()
    job = CompressionJob(task, model, pictures, fine_tune=lambda *_, **__: None, drop=lambda _: 0.0)
    file = tmp_path / "model.tflite"
    file.write_bytes(VARIANTS[variant]().convert(job))
    found = TFLitePredictor(file)({"image": pictures})
    expected = KerasPredictor(task.serving_model(model))({"image": pictures})
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=tolerance)
    single = KerasPredictor(task_of("yolo").serving_model(model))({"image": pictures})
    assert np.abs(single["scores"] - expected["scores"]).max() > 2 * tolerance


def test_layers_keep_their_names_in_files() -> None:
    """By which `int8_selective` and `skip` of `int8_qat` choose what stays in float32."""
    with_flips, without = (set(layers_in_file(task_of("yolo", *flips))) for flips in (["horizontal"], []))
    assert without == {name for name in with_flips if not name.startswith("tf.")}
    assert {"stem_conv", "stage_1_block_1_1_conv"} <= without


def layers_in_file(task: Detection) -> dict[str, list[str]]:
    """Layer -> its operators, as quantizing layer by layer sees them."""
    shown = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    job = CompressionJob(task, task.build(), shown, fine_tune=lambda *_, **__: None, drop=lambda _: 0.0)
    return Network(job).layers


@pytest.mark.parametrize("strides", [(4, 8, 32), (32,)])
def test_places_that_do_not_lie_mirrored_are_refused(strides: tuple[int, ...]) -> None:
    """The second of two columns of 32 pixels ends beyond a picture of 48, so its mirrored place is another; the one row
    of 32 pixels fits."""
    settings = task_of("yolo").model_dump() | {"strides": strides}
    assert Detection.model_validate({**settings, "flips": ["vertical"]}).strides == strides
    with pytest.raises(ValidationError, match=r"stride 32 do not lie mirrored.*\(horizontal\).*picture of 32 x 48"):
        Detection.model_validate({**settings, "flips": ["vertical", "horizontal"]})


def test_regions_cannot_be_averaged() -> None:
    with pytest.raises(ValidationError, match=r"regions of faster_rcnn are others in each view.*retinanet or ssd"):
        task_of("faster_rcnn", "horizontal")


def test_anchored_files_look_once() -> None:
    with pytest.raises(ConfigError, match=r"task\.flips asks for the mean") as failure:
        task_of("retinanet", "horizontal").anchored()
    assert failure.value.place == ("task", "flips")


def test_another_flip_is_named() -> None:
    wrong: Any = "sideways"
    with pytest.raises(ValidationError, match="'horizontal' or 'vertical'"):
        task_of("yolo", wrong)
