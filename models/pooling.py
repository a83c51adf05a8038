"""Spatial pooling: features [B, h, w, F] -> one vector a picture, [B, F] or [B, 2F]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from models.stack import keras

Tensor = Any
Pooling = Literal["average", "max", "average_max", "gem", "attention"]


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
    """The generalised mean with a learned power [B, F], for retrieval; features >= 0."""
    from models.layers import GeneralizedMeanPooling2D

    return GeneralizedMeanPooling2D(name="gem_pool")(features)


def attention(features: Tensor) -> Tensor:
    """The mean of each channel [B, F] weighted by position: what counts is where the features say that something is.

    A 1x1 convolution scores positions, a softmax makes weights of the scores (Ilse et al. 2018, "Attention-based deep
    multiple instance learning", section 2.4, with a linear score). All positions weigh nearly the same to begin with.
    """
    from models.layers import MatrixProduct

    height, width, channels = features.shape[1:]
    name, positions = "attention_pool", height * width
    start = keras.initializers.RandomNormal(stddev=0.01)
    # No bias: softmax does not see what is added to all scores.
    scores = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=start, name=f"{name}_scores")(features)
    weights = keras.layers.Reshape((1, positions), name=f"{name}_row")(scores)
    weights = keras.layers.Softmax(name=f"{name}_weights")(weights)
    vectors = keras.layers.Reshape((positions, channels), name=f"{name}_vectors")(features)
    pooled = MatrixProduct(name=f"{name}_sum")([weights, vectors])  # [B, 1, F]
    return keras.layers.Reshape((channels,), name=name)(pooled)


POOLINGS: dict[Pooling, Callable[[Tensor], Tensor]] = {
    "average": average,
    "max": maximum,
    "average_max": average_max,
    "gem": gem,
    "attention": attention,
}
