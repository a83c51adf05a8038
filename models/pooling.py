"""Spatial pooling: features [B, h, w, F] -> one vector a picture, [B, F] or [B, 2F]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from models.stack import keras

Tensor = Any
Pooling = Literal["average", "max", "average_max", "gem"]


def average(features: Tensor) -> Tensor:
    """The mean of each channel [B, F]: for classes that fill the picture, and for counts."""
    return keras.layers.GlobalAveragePooling2D(name="average_pool")(features)


def maximum(features: Tensor) -> Tensor:
    """The largest value of each channel [B, F]: for one small object somewhere."""
    return keras.layers.GlobalMaxPooling2D(name="max_pool")(features)


def average_max(features: Tensor) -> Tensor:
    """Both side by side [B, 2F]."""
    return keras.layers.Concatenate(name="average_max_pool")([average(features), maximum(features)])


def gem(features: Tensor) -> Tensor:
    """The generalised mean with a learned power [B, F], for retrieval; features >= 0. Stays float in int8 files."""
    from models.layers import GeneralizedMeanPooling2D

    return GeneralizedMeanPooling2D(name="gem_pool")(features)


POOLINGS: dict[Pooling, Callable[[Tensor], Tensor]] = {
    "average": average,
    "max": maximum,
    "average_max": average_max,
    "gem": gem,
}
