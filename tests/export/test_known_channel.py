"""A model that is told what is missing answers encoded pictures as it answers the pixels of the training input."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import keras, tf
from pipeline.compress.base import CompressionJob
from pipeline.compress.post_training import Float32
from pipeline.export import ExportSettings, contract, saved_model, tflite
from pipeline.export.metadata_reader import prepare_picture, read_preparation
from pipeline.predictors import SavedModelPredictor, TFLitePredictor
from pipeline.tasks import Classification


def pictures() -> list[bytes]:
    """PNG with a hole, PNG without, grey PNG, JPEG."""
    colours = np.random.default_rng(0).integers(0, 256, (20, 26, 3), np.uint8)
    alpha = np.full((20, 26, 1), 255, np.uint8)
    alpha[3:12, 5:15] = 0
    found = []
    for pixels, kind in (
        (np.dstack([colours, alpha]), "PNG"),
        (colours, "PNG"),
        (colours[..., 0], "PNG"),
        (colours, "JPEG"),
    ):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        found.append(stream.getvalue())
    return found


@pytest.mark.parametrize("channels", [2, 4])
def test_bytes_pixels_and_a_client_agree(tmp_path: Path, channels: int) -> None:
    keras.utils.set_random_seed(0)
    picture = PictureFormat(height=16, width=16, channels=channels, missing="mean")
    task = Classification(
        picture=picture, backbone={"kind": "small_resnet", "depth": 8, "widths": [4, 4, 4]}, class_names=("a", "b")
    )
    model, data = task.build(), pictures()
    pixels = np.stack([preprocess.decode_and_fit(tf.constant(one), picture).numpy() for one in data])
    assert pixels[0, ..., -1].min() == 0 and pixels[1:, ..., -1].min() == 255
    version = saved_model.export_saved_model(
        task, model, tmp_path / "saved_model", data, ExportSettings(warmup_requests=2)
    )
    by_bytes = SavedModelPredictor(version, "serving_default")({"image_bytes": np.array(data, object)})["scores"]
    by_pixels = SavedModelPredictor(version, "images")({"image": pixels})["scores"]
    np.testing.assert_array_equal(by_bytes, by_pixels)

    job = CompressionJob(
        task=task, model=model, calibration=pixels, fine_tune=lambda *_, **__: None, drop=lambda _: 0.0
    )
    file = tflite.publish_tflite(task, Float32().convert(job), tmp_path / "tflite" / "float32.tflite", "float32")
    preparation = read_preparation(file.read_bytes())
    assert preparation.mode == {2: "LA", 4: "RGBA"}[channels]
    client = np.stack([prepare_picture(one, preparation, picture.fit, picture.missing) for one in data])
    assert np.abs(client.astype(int) - pixels).mean() < 0.5
    answers = TFLitePredictor(file)({"image": client.astype(np.float32)})["scores"]
    np.testing.assert_allclose(answers, by_pixels, atol=0.02)

    contract.write_contract(tmp_path, task, version, {"float32": file}, {})
    described = json.loads((tmp_path / "contract.json").read_text())["preprocessing"]
    assert described["missing"] == "mean" and "missing" in described["colour"]
