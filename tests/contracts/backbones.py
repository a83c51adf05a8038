"""Backbones as the contracts build them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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

    def least_with_all_kinds(self) -> Any:
        """The features [1, H, W, F] of the finest level behind which the backbone has no other kind of layer.

        What is done to each layer shows on this part; the rest is the same layers again, and most of the time.
        """
        image = self.model.inputs
        whole = kinds(keras.Model(image, list(self.levels.values())[-1]).layers)
        return next(one for one in self.levels.values() if kinds(keras.Model(image, one).layers) == whole)


def kinds(layers: Iterable[keras.layers.Layer]) -> set[tuple[Any, ...]]:
    """The classes of layers, with what makes one of a class another thing to convert."""
    options = ("padding", "use_bias", "activation", "axis", "interpolation", "max_value")
    return {(type(layer), *(str(getattr(layer, option, None)) for option in options)) for layer in layers}


def built(kind: str, channels: int = 3, **settings: Any) -> Built:
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    size = max(SIZE, BACKBONES[kind].least_size)
    image, floats = heads.picture_input(PictureFormat(height=size, width=size, channels=channels))
    levels = BACKBONES[kind](kind=kind, **settings).features(floats)
    pooled = pooling.POOLINGS["average"](list(levels.values())[-1])
    model = keras.Model(image, {"logits": heads.classifier(pooled, 5, 0.0, "logits")}, name=kind)
    return Built(kind, levels, model, size)
