"""EfficientNet-Lite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from models.backbones.base import Built, Member
from models.backbones.efficientnet import LEVELS
from models.backbones.normalisation import LITE, normalise
from models.blocks import Style
from models.stack import keras

Tensor = Any

STEM, HEAD = 32, 1280
DIVISOR = 8
"""Numbers of channels are multiples of it."""
STOCHASTIC_DEPTH = 0.2
"""Share of examples that the last block is left out for while training; earlier blocks in proportion."""
STYLE = Style(momentum=0.99, epsilon=1e-3)


@dataclass(frozen=True)
class Scaling:
    """Args:
    width: factor on the number of channels, of all but the first and last convolution.
    depth: factor on the number of blocks, of all but the first and last stage.
    """

    width: float
    depth: float


@dataclass(frozen=True)
class Stage:
    """Blocks of one width, of which the first has the stride."""

    blocks: int
    kernel_size: int
    stride: int
    expansion: int
    width: int


SCALINGS = {
    "efficientnet_lite0": Scaling(1.0, 1.0),
    "efficientnet_lite1": Scaling(1.0, 1.1),
    "efficientnet_lite2": Scaling(1.1, 1.2),
    "efficientnet_lite3": Scaling(1.2, 1.4),
    "efficientnet_lite4": Scaling(1.4, 1.8),
}
SIZES = (224, 240, 260, 280, 300)
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite(Built):
    """EfficientNet-Lite (Liu 2020): EfficientNet for phones that quantizes well: ReLU6, no squeeze-excite, first and
    last convolution of one width. After `models/official/efficientnet/lite` of tensorflow/tpu."""

    members: ClassVar[Mapping[str, Member]] = {
        kind: Member(LEVELS, size, LITE) for kind, size in zip(SCALINGS, SIZES, strict=True)
    }

    kind: Literal[
        "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "efficientnet_lite3", "efficientnet_lite4"
    ] = "efficientnet_lite0"
    """How large it is."""

    def build(self, image: Tensor) -> dict[str, Tensor]:
        x = normalise(image, self.member.normalisation)
        x = _activated(STYLE.convolution(x, STEM, "stem_conv", stride=2), "stem_bn", "stem_activation")
        layers = {}
        blocks = list(_blocks(SCALINGS[self.kind]))
        for index, (name, block) in enumerate(blocks):
            expanded, x = _block(x, block, STOCHASTIC_DEPTH * index / len(blocks), name)
            layers[f"{name}expand_activation"] = expanded
        x = STYLE.convolution(x, HEAD, "top_conv", kernel_size=1)
        layers["top_activation"] = _activated(x, "top_bn", "top_activation")
        return {level: layers[layer] for level, layer in LEVELS.items()}


def _blocks(scaling: Scaling) -> Iterator[tuple[str, Stage]]:
    """Each block's prefix and what it is, as a stage of one block."""
    for number, stage in enumerate(STAGES, 1):
        end = number in (1, len(STAGES))
        width = rounded(stage.width * scaling.width)
        for index in range(stage.blocks if end else math.ceil(stage.blocks * scaling.depth)):
            stride = 1 if index else stage.stride
            yield f"block{number}{chr(ord('a') + index)}_", Stage(1, stage.kernel_size, stride, stage.expansion, width)


def rounded(width: float) -> int:
    """The multiple of 8 that is nearest, and not more than a tenth less (Sandler et al. 2018)."""
    nearest = max(DIVISOR, int(width + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest + DIVISOR if nearest < 0.9 * width else nearest


def _block(inputs: Tensor, block: Stage, rate: float, name: str) -> tuple[Tensor, Tensor]:
    """An inverted residual. Gives what its depthwise convolution sees, and its output."""
    from models.activations import StochasticDepth

    expanded, width = inputs, inputs.shape[-1]
    if block.expansion != 1:
        x = STYLE.convolution(inputs, width * block.expansion, f"{name}expand_conv", kernel_size=1)
        expanded = _activated(x, f"{name}expand_bn", f"{name}expand_activation")
    x = STYLE.depthwise(expanded, f"{name}dwconv", block.kernel_size, block.stride)
    x = _activated(x, f"{name}bn", f"{name}activation")
    x = STYLE.bn(STYLE.convolution(x, block.width, f"{name}project_conv", kernel_size=1), f"{name}project_bn")
    if block.stride > 1 or width != block.width:
        return expanded, x
    x = StochasticDepth(rate, name=f"{name}drop")(x) if rate else x
    return expanded, keras.layers.Add(name=f"{name}add")([x, inputs])


def _activated(x: Tensor, normalisation: str, activation: str) -> Tensor:
    return keras.layers.ReLU(6.0, name=activation)(STYLE.bn(x, normalisation))
