"""ResNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from models.backbones.base import Application, Built, Member, Published
from models.backbones.normalisation import CAFFE, STANDARDISED, normalise
from models.blocks import Style
from models.stack import keras

Tensor = Any

WIDTHS = (64, 128, 256, 512)
"""Number of channels of the stages `conv2` to `conv5`; of the narrow middle of their blocks from ResNet-50 on."""
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Depth -> number of blocks of each stage (He et al. 2016, table 1)."""
STYLE = Style(momentum=0.9, epsilon=1e-5)


def _levels(blocks: Sequence[int]) -> dict[str, str]:
    ends = {f"stride_{4 * 2**stage}": f"conv{stage + 2}_block{count}_out" for stage, count in enumerate(blocks)}
    return {"stride_2": "conv1_relu", **ends}


class ResNet(Application):
    """ResNet (He et al. 2016): accurate, for servers; blocks that are narrow in the middle."""

    members: ClassVar[Mapping[str, Member]] = {
        f"resnet{depth}": Member(_levels(BLOCKS[depth]), 224, CAFFE, f"ResNet{depth}") for depth in (50, 101, 152)
    }
    published: ClassVar[Published | None] = Published("MIT", "Kaiming He, KaimingHe/deep-residual-networks")

    kind: Literal["resnet50", "resnet101", "resnet152"] = "resnet50"
    """How many weighted layers it has."""


class BasicResNet(Built):
    """ResNet of 18 or 34 layers (He et al. 2016): blocks of two 3x3 convolutions; plain and quick to train."""

    members: ClassVar[Mapping[str, Member]] = {
        f"resnet{depth}": Member(_levels(BLOCKS[depth]), 224, STANDARDISED) for depth in (18, 34)
    }

    kind: Literal["resnet18", "resnet34"] = "resnet18"
    """How many weighted layers it has."""

    def build(self, image: Tensor) -> dict[str, Tensor]:
        x = normalise(image, self.member.normalisation)
        x = _convolution(x, WIDTHS[0], "conv1", kernel_size=7, stride=2)
        x = keras.layers.Activation("relu", name="conv1_relu")(x)
        levels = {"stride_2": x}
        x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
        x = keras.layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
        for stage, (width, count) in enumerate(zip(WIDTHS, BLOCKS[int(self.kind[6:])], strict=True)):
            for block in range(count):
                x = _block(x, width, 2 if stage and not block else 1, f"conv{stage + 2}_block{block + 1}")
            levels[f"stride_{4 * 2**stage}"] = x
        return levels


def _block(x: Tensor, width: int, stride: int, name: str) -> Tensor:
    changes = stride > 1 or x.shape[-1] != width
    shortcut = _convolution(x, width, f"{name}_0", kernel_size=1, stride=stride) if changes else x
    x = _convolution(x, width, f"{name}_1", stride=stride)
    x = keras.layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = _convolution(x, width, f"{name}_2")
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.Activation("relu", name=f"{name}_out")(x)


def _convolution(x: Tensor, width: int, name: str, kernel_size: int = 3, stride: int = 1) -> Tensor:
    """A convolution and its BatchNormalization; one that moves and sees neighbours is padded alike on all sides."""
    strided = stride > 1 and kernel_size > 1
    convolution = STYLE.padded_convolution if strided else STYLE.convolution
    x = convolution(x, width, f"{name}_conv", kernel_size, stride)
    return STYLE.bn(x, f"{name}_bn")
