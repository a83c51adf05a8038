"""ResNetV2: BatchNormalization and ReLU before the convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.backbones.base import Application, Built, Member, Published
from models.backbones.normalisation import SYMMETRIC, normalise
from models.backbones.resnet import BLOCKS, STYLE, WIDTHS
from models.stack import keras

if TYPE_CHECKING:
    from models.rewire import Call

Tensor = Any


def _levels(blocks: Sequence[int], *, halved_by_last: bool) -> dict[str, str]:
    """A stage is whole where the next one has normalised and activated it, before its own stride.

    Args:
        halved_by_last: whether a stage's last block has the stride, as in keras.applications, or the next one's first.
    """
    levels = {"stride_2": "conv1_conv"}
    for stage, count in enumerate(blocks[:-1]):
        block = f"conv{stage + 2}_block{count}" if halved_by_last else f"conv{stage + 3}_block1"
        levels[f"stride_{4 * 2**stage}"] = f"{block}_preact_relu"
    return {**levels, "stride_32": "post_relu"}


class ResNetV2(Application):
    """ResNetV2 (He et al. 2016, "Identity Mappings"): deep ones train better than ResNet's."""

    members: ClassVar[Mapping[str, Member]] = {
        f"resnet{depth}_v2": Member(_levels(BLOCKS[depth], halved_by_last=True), 224, SYMMETRIC, f"ResNet{depth}V2")
        for depth in (50, 101, 152)
    }
    published: ClassVar[Published | None] = Published("BSD-3-Clause", "Facebook, facebook/fb.resnet.torch")

    kind: Literal["resnet50_v2", "resnet101_v2", "resnet152_v2"] = "resnet50_v2"
    """How many weighted layers it has."""

    def replace(self, call: Call) -> Tensor:
        if "/" not in call.layer.name and call.layer.name.startswith("max_pooling2d"):
            call.layer._name = f"{call.inputs.node.layer.name.removesuffix('_out')}_pool"
        return super().replace(call)


class BasicResNetV2(Built):
    """ResNetV2 of 18 or 34 layers (He et al. 2016, "Identity Mappings"): blocks of two 3x3 convolutions."""

    members: ClassVar[Mapping[str, Member]] = {
        f"resnet{depth}_v2": Member(_levels(BLOCKS[depth], halved_by_last=False), 224, SYMMETRIC) for depth in (18, 34)
    }

    kind: Literal["resnet18_v2", "resnet34_v2"] = "resnet18_v2"
    """How many weighted layers it has."""

    def build(self, image: Tensor) -> dict[str, Tensor]:
        x = normalise(image, self.member.normalisation)
        x = STYLE.padded_convolution(x, WIDTHS[0], "conv1_conv", kernel_size=7, use_bias=True)
        levels = {"stride_2": x}
        x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
        x = keras.layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
        for stage, (width, count) in enumerate(zip(WIDTHS, BLOCKS[int(self.kind[6:8])], strict=True)):
            for block in range(count):
                name, stride = f"conv{stage + 2}_block{block + 1}", 2 if stage and not block else 1
                active = _activated(x, f"{name}_preact")
                if stride > 1:
                    levels[f"stride_{2 * 2**stage}"] = active
                x = _block(x, active, width, stride, name)
        levels["stride_32"] = _activated(x, "post")
        return levels


def _block(x: Tensor, active: Tensor, width: int, stride: int, name: str) -> Tensor:
    """Args:
    active: `x`, normalised and activated.
    """
    shortcut = x
    if stride > 1:
        shortcut = STYLE.convolution(active, width, f"{name}_0_conv", kernel_size=1, stride=stride, use_bias=True)
    convolution = STYLE.padded_convolution if stride > 1 else STYLE.convolution
    x = convolution(active, width, f"{name}_1_conv", stride=stride)
    x = keras.layers.Activation("relu", name=f"{name}_1_relu")(STYLE.bn(x, f"{name}_1_bn"))
    x = STYLE.convolution(x, width, f"{name}_2_conv")
    return keras.layers.Add(name=f"{name}_out")([shortcut, x])


def _activated(x: Tensor, name: str) -> Tensor:
    return keras.layers.Activation("relu", name=f"{name}_relu")(STYLE.bn(x, f"{name}_bn"))
