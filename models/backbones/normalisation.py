"""From pixels to what a network's weights expect, as a fixed 1x1 convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.stack import keras

Tensor = Any

NORMALISE = "normalise"
"""Name of the layer that brings pixels to a network's range; never trained."""


@dataclass(frozen=True)
class Normalisation:
    """What a network's weights expect: channel -> scale * (channel + offset), pixels 0..255 in RGB order.

    Args:
        scale: per channel.
        offset: per channel, in grey levels.
        reverse: whether the network takes BGR; `scale` and `offset` stay in RGB order.
    """

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    reverse: bool = False

    def matrix(self, channels: int) -> list[list[float]]:
        """The kernel [channels in][channels out] of the 1x1 convolution."""
        if channels in (2, 4):  # the last says what is known, 0 or 255: it becomes 0..1
            return [*([*row, 0.0] for row in self.matrix(channels - 1)), [0.0] * (channels - 1) + [1 / 255]]
        if channels == 1:
            return [[sum(self.scale) / 3]]
        order = self._order()
        return [[self.scale[i] if i == source else 0.0 for source in order] for i in range(3)]

    def bias(self, channels: int) -> list[float]:
        """The bias [channels out] of the 1x1 convolution."""
        if channels in (2, 4):
            return [*self.bias(channels - 1), 0.0]
        products = [scale * offset for scale, offset in zip(self.scale, self.offset, strict=True)]
        return [sum(products) / 3] if channels == 1 else [products[source] for source in self._order()]

    def assign(self, layer: keras.layers.Layer) -> None:
        """Makes a `normalise` layer compute this."""
        channels = layer.bias.shape[0]
        layer.set_weights([np.array([[self.matrix(channels)]]), np.array(self.bias(channels))])

    def _order(self) -> tuple[int, int, int]:
        return (2, 1, 0) if self.reverse else (0, 1, 2)


# int8 holds a normalised picture without rounding where its range is a power of two around 128.
CENTRED = Normalisation(scale=(1 / 64,) * 3, offset=(-128.0,) * 3)  # -2..2
UNIT_CENTRED = Normalisation(scale=(1 / 128,) * 3, offset=(-128.0,) * 3)  # -1..1, EfficientNetV2 S
LITE = Normalisation(scale=(1 / 128,) * 3, offset=(-127.0,) * 3)  # -1..1, EfficientNet-Lite
SYMMETRIC = Normalisation(scale=(1 / 127.5,) * 3, offset=(-127.5,) * 3)  # -1..1, keras.applications mode "tf"
CAFFE = Normalisation(scale=(1.0,) * 3, offset=(-123.68, -116.779, -103.939), reverse=True)  # mode "caffe"
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
STANDARDISED = Normalisation(  # mode "torch": mean and deviation of ImageNet
    scale=(1 / (255 * DEVIATION[0]), 1 / (255 * DEVIATION[1]), 1 / (255 * DEVIATION[2])),
    offset=(-255 * MEAN[0], -255 * MEAN[1], -255 * MEAN[2]),
)


def normalise(image: Tensor, normalisation: Normalisation) -> Tensor:
    """float32 [B,H,W,C] 0..255 -> float32 [B,H,W,C]; in float32 also under mixed precision."""
    channels = image.shape[-1]
    layer = keras.layers.Conv2D(
        channels,
        kernel_size=1,
        kernel_initializer=keras.initializers.Constant([[normalisation.matrix(channels)]]),
        bias_initializer=keras.initializers.Constant(normalisation.bias(channels)),
        trainable=False,
        dtype="float32",
        name=NORMALISE,
    )
    return layer(image)
