"""The two ends of a model: the picture that goes in and the raw outputs that come out."""

from __future__ import annotations

from typing import Any

from models.preprocess import PictureFormat
from models.regularisation import l2_penalty
from models.stack import keras

Tensor = Any

IMAGE = "image"
"""Name of the picture among a model's inputs."""
TO_FLOAT = "to_float"
"""Name of the layer that casts the uint8 picture."""


def picture_input(format: PictureFormat) -> tuple[Tensor, Tensor]:
    """Where a model begins.

    Returns:
        (the input `image`, uint8 [B,H,W,C] 0..255; the same picture as float32).
    """
    from models.layers import ToFloat

    image = keras.Input(format.shape, dtype="uint8", name=IMAGE)
    return image, ToFloat(name=TO_FLOAT)(image)


def classifier(features: Tensor, num_outputs: int, dropout: float, output_name: str, l2: float = 0.0) -> Tensor:
    """Pooled features [B, F] -> raw numbers [B, num_outputs], float32 also under mixed precision.

    Args:
        features: [B, F].
        num_outputs: classes (logits) or targets.
        dropout: share of the features hidden at each training step; 0 adds no layer.
        output_name: of the final layer, and so of the model's output.
        l2: factor of the penalty of the final layer's squared kernel; 0 adds none.
    """
    if dropout:
        features = keras.layers.Dropout(dropout, name=f"{output_name}_dropout")(features)
    penalty = l2_penalty(l2)
    return keras.layers.Dense(num_outputs, dtype="float32", kernel_regularizer=penalty, name=output_name)(features)
