"""Small models for the tests of `models`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models import heads, pooling
from models.backbones import Backbone
from models.preprocess import PictureFormat
from models.stack import keras

Build = Callable[..., keras.Model]


@pytest.fixture
def build() -> Build:
    """build(backbone, size, channels, pool) -> a classifier of 5 classes on uint8 [size, size, channels]."""

    def classifier(backbone: Backbone, size: int = 32, channels: int = 3, pool: str = "average") -> keras.Model:
        image, floats = heads.picture_input(PictureFormat(height=size, width=size, channels=channels))
        deepest = list(backbone.features(floats).values())[-1]
        return keras.Model(image, heads.classifier(pooling.POOLINGS[pool](deepest), 5, 0.0, "logits"))

    return classifier


@pytest.fixture
def pictures() -> Callable[..., np.ndarray]:
    """pictures(count, size, channels) -> uint8 [count, size, size, channels], the same on every call."""

    def make(count: int = 2, size: int = 32, channels: int = 3) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (count, size, size, channels)).astype(np.uint8)

    return make
