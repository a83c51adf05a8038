"""What networks are built of where Keras does not publish them: convolutions and residual blocks, by name.

B = batch, h, w = positions, F = features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.stack import keras

Tensor = Any


@dataclass(frozen=True)
class Style:
    """How the convolutions and BatchNormalizations of a network are made.

    Args:
        momentum: of the running statistics. Keras' 0.99 is too slow for runs of a few hundred steps.
        epsilon: added to each variance.
        initializer: of the kernels.
    """

    momentum: float = 0.9
    epsilon: float = 1e-3
    initializer: str = "he_normal"

    def bn(self, x: Tensor, name: str) -> Tensor:
        """A BatchNormalization."""
        return keras.layers.BatchNormalization(momentum=self.momentum, epsilon=self.epsilon, name=name)(x)

    def convolution(
        self, x: Tensor, width: int, name: str, kernel_size: int = 3, stride: int = 1, use_bias: bool = False
    ) -> Tensor:
        """[B, h, w, F] -> [B, h/stride, w/stride, width]."""
        layer = keras.layers.Conv2D(
            width, kernel_size, stride, "same", use_bias=use_bias, kernel_initializer=self.initializer, name=name
        )
        return layer(x)

    def padded_convolution(
        self, x: Tensor, width: int, name: str, kernel_size: int = 3, stride: int = 2, use_bias: bool = False
    ) -> Tensor:
        """A convolution padded alike on all sides, as Caffe and PyTorch do it; `same` pads an even picture only below
        and to the right where the stride is 2."""
        x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name.removesuffix('_conv')}_pad")(x)
        layer = keras.layers.Conv2D(
            width, kernel_size, stride, use_bias=use_bias, kernel_initializer=self.initializer, name=name
        )
        return layer(x)

    def depthwise(self, x: Tensor, name: str, kernel_size: int, stride: int) -> Tensor:
        """Each channel convolved by itself."""
        layer = keras.layers.DepthwiseConv2D(
            kernel_size, stride, "same", use_bias=False, depthwise_initializer=self.initializer, name=name
        )
        return layer(x)


def every_other(x: Tensor, stride: int, name: str) -> Tensor:
    """The same as the stride of a 1x1 convolution that follows, for which oneDNN has no sound gradient: with fewer than
    16 input channels it writes past its buffer, and the process crashes (uxlfoundation/oneDNN issue 6035)."""
    return keras.layers.MaxPooling2D(1, stride, name=name)(x)
