"""Backbones as the contracts build them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models import heads, pooling
from models.backbones import BACKBONES
from models.preprocess import PictureFormat
from models.stack import keras

SIZE = 64
"""At 32 pixels the coarsest level of most networks is a single one, which BatchNormalization makes all alike."""


@dataclass(frozen=True)
class Built:
    """A backbone with a head of five classes, of uint8 pictures [size, size, channels]."""

    kind: str
    levels: Mapping[str, Any]
    model: keras.Model
    size: int

    def pictures(self, count: int = 2) -> np.ndarray:
        shape = (count, *self.model.input_shape[1:])
        return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def built(kind: str, channels: int = 3, **settings: Any) -> Built:
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    size = max(SIZE, BACKBONES[kind].least_size)
    image, floats = heads.picture_input(PictureFormat(height=size, width=size, channels=channels))
    levels = BACKBONES[kind](kind=kind, **settings).features(floats)
    pooled = pooling.POOLINGS["average"](list(levels.values())[-1])
    model = keras.Model(image, {"logits": heads.classifier(pooled, 5, 0.0, "logits")}, name=kind)
    return Built(kind, levels, model, size)
