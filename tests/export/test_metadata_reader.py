"""A client with Pillow and the metadata against the model's own preprocessing."""

from __future__ import annotations

import numpy as np
import pytest

from models.preprocess import PictureFormat, decode_and_fit
from pipeline.errors import ExportError
from pipeline.export.metadata_reader import Preparation, prepare_picture, read_preparation
from pipeline.export.tflite import publish_tflite
from pipeline.tasks import Classification
from tests.export.conftest import encoded_picture


def test_the_preparation_is_read_from_the_file(task: Classification, variants: dict[str, bytes], tmp_path) -> None:
    file = publish_tflite(task, variants["int8"], tmp_path / "int8.tflite", "int8")
    assert read_preparation(file.read_bytes()) == Preparation(height=24, width=32, mode="RGB", mean=0.0, std=1.0)


def test_a_file_without_metadata(variants: dict[str, bytes]) -> None:
    with pytest.raises(ExportError, match="holds no metadata"):
        read_preparation(variants["float32"])


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_client_gets_the_models_pixels(fit: str, channels: int) -> None:
    for seed in range(4):
        assert mean_difference(encoded_picture(seed, "PNG"), fit, channels) < (0.3 if channels == 3 else 0.7)
        # TensorFlow decodes JPEG with the fast, Pillow with the accurate cosine transform: one to two levels apart.
        assert mean_difference(encoded_picture(seed, "JPEG"), fit, channels) < 3.0


def mean_difference(data: bytes, fit: str, channels: int) -> float:
    format = PictureFormat(height=24, width=32, channels=channels, fit=fit)
    preparation = Preparation(24, 32, "L" if channels == 1 else "RGB", 0.0, 1.0)
    ours = decode_and_fit(data, format).numpy().astype(int)
    return float(np.abs(prepare_picture(data, preparation, fit) - ours).mean())
