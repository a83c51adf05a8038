"""ConvNeXt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from models.backbones.base import Application, Member, Published
from models.backbones.normalisation import STANDARDISED
from models.stack import keras

if TYPE_CHECKING:
    from models.rewire import Call

Tensor = Any


class ConvNeXt(Application):
    """ConvNeXt (Liu et al. 2022): convolutions with the manners of a Transformer: 7x7 depthwise, LayerNormalization,
    GELU. Accurate, for servers; its finest level has stride 4."""

    members: ClassVar[Mapping[str, Member]] = {
        "convnext_tiny": Member(
            {
                "stride_4": "convnext_tiny_stage_0_block_2_add",
                "stride_8": "convnext_tiny_stage_1_block_2_add",
                "stride_16": "convnext_tiny_stage_2_block_8_add",
                "stride_32": "layer_normalization",
            },
            224,
            STANDARDISED,
            "ConvNeXtTiny",
        )
    }
    published: ClassVar[Published | None] = Published("MIT", "Meta, facebookresearch/ConvNeXt")

    kind: Literal["convnext_tiny"] = "convnext_tiny"

    def options(self) -> dict[str, Any]:
        return {"include_preprocessing": False}

    def replace(self, call: Call) -> Tensor:
        """Its convolutions in as many groups as channels become depthwise ones, which CPUs run without XLA; its own
        layer class and the op layer of its additions become layers by name."""
        name = call.layer.name
        if isinstance(call.layer, keras.layers.Conv2D) and call.layer.groups > 1:
            return _depthwise(call)
        if name.endswith("_layer_scale"):
            return _scale(call)
        if name.endswith("_identity"):
            return call.inputs
        if "operators" in name:
            branch = call.keywords["y"]
            block = branch.node.layer.name.removesuffix("_layer_scale")
            return keras.layers.Add(name=f"{block}_add")([call.inputs, branch])
        return super().replace(call)


def _depthwise(call: Call) -> Tensor:
    old = call.layer
    new = keras.layers.DepthwiseConv2D(old.kernel_size, padding=old.padding, name=old.name)
    outputs = new(call.inputs)
    kernel, bias = old.get_weights()
    new.set_weights([np.swapaxes(kernel, 2, 3), bias])
    return outputs


def _scale(call: Call) -> Tensor:
    from models.activations import Scale

    new = Scale(call.layer.init_values, name=call.layer.name)
    outputs = new(call.inputs)
    new.set_weights(call.layer.get_weights())
    return outputs
