"""One tiny classifier, its pictures, and its variants for all tests of this folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from pipeline.tasks import Classification

CLASS_NAMES = ("rose", "Gänseblümchen", "lily, white")
TINY = SmallResNet(depth=8, widths=(4, 8, 8))
PICTURE = PictureFormat(height=24, width=32)


def encoded_picture(seed: int, format: str = "JPEG") -> bytes:
    """A smooth random picture of a size of its own."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    size = tuple(int(side) for side in generator.integers(20, 60, 2))
    stream = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(stream, format, quality=95)
    return stream.getvalue()


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    return [encoded_picture(seed, "PNG" if seed % 3 == 0 else "JPEG") for seed in range(12)]


@pytest.fixture(scope="session")
def task() -> Classification:
    return Classification(picture=PICTURE, backbone=TINY, class_names=CLASS_NAMES)


@pytest.fixture(scope="session")
def model(task: Classification):
    from models.stack import keras

    keras.utils.set_random_seed(7)
    model = task.build()
    # Spread the logits, so that answers differ between pictures and rounding cannot swap them.
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * 8, bias])
    return model


@pytest.fixture(scope="session")
def decoded(task: Classification, pictures: list[bytes]) -> np.ndarray:
    """uint8 [12, H, W, 3]."""
    from models.preprocess import decode_and_fit_batch
    from models.stack import tf

    return decode_and_fit_batch(tf.constant(pictures), task.picture).numpy()


@pytest.fixture(scope="session")
def expected(task: Classification, model, decoded: np.ndarray) -> dict[str, np.ndarray]:
    """What the trained model itself answers."""
    return {name: value.numpy() for name, value in task.serving_model(model)({"image": decoded}).items()}


@pytest.fixture(scope="session")
def version(task: Classification, model, pictures: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published SavedModel."""
    from pipeline.export import ExportSettings
    from pipeline.export.saved_model import export_saved_model

    settings = ExportSettings(warmup_requests=8, warmup_batch_sizes=(1, 3))
    return export_saved_model(task, model, tmp_path_factory.mktemp("saved_model"), pictures, settings)


@pytest.fixture(scope="session")
def variants(task: Classification, model, decoded: np.ndarray) -> dict[str, bytes]:
    """Converted files, before they are published."""
    from pipeline.compress import VARIANTS
    from pipeline.compress.base import CompressionJob

    job = CompressionJob(task, model, decoded, fine_tune=lambda *_, **__: None, drop=lambda _: 0.0)
    return {name: VARIANTS[name]().convert(job) for name in ("float32", "float16", "int8")}
