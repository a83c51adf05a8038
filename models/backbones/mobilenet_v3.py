"""MobileNetV3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from models.backbones.base import Application, Member, Published
from models.backbones.mobilenet import GOOGLE
from models.backbones.normalisation import SYMMETRIC
from models.stack import keras

if TYPE_CHECKING:
    from models.rewire import Call

Tensor = Any


class MobileNetV3(Application):
    """MobileNetV3 (Howard et al. 2019): faster than MobileNetV2 on phones; squeeze-excite and hard swish."""

    members: ClassVar[Mapping[str, Member]] = {
        "mobilenet_v3_small": Member(
            {
                "stride_2": "Conv/HardSwish",
                "stride_4": "expanded_conv_1/expand/Relu",
                "stride_8": "expanded_conv_3/expand/HardSwish",
                "stride_16": "expanded_conv_8/expand/HardSwish",
                "stride_32": "Conv_1/HardSwish",
            },
            224,
            SYMMETRIC,
            "MobileNetV3Small",
        ),
        "mobilenet_v3_large": Member(
            {
                "stride_2": "expanded_conv_1/expand/Relu",
                "stride_4": "expanded_conv_3/expand/Relu",
                "stride_8": "expanded_conv_6/expand/HardSwish",
                "stride_16": "expanded_conv_12/expand/HardSwish",
                "stride_32": "Conv_1/HardSwish",
            },
            224,
            SYMMETRIC,
            "MobileNetV3Large",
        ),
    }
    published: ClassVar[Published | None] = GOOGLE

    kind: Literal["mobilenet_v3_small", "mobilenet_v3_large"] = "mobilenet_v3_small"
    """Which of the two networks of the paper."""
    alpha: float = Field(default=1.0, gt=0)
    """Factor on the number of channels; `imagenet` weights exist for 0.75 and 1.0."""

    def options(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "include_preprocessing": False}

    def replace(self, call: Call) -> Tensor:
        """Keras writes hard sigmoid as `relu6(x + 3) * (1 / 6)`, three layers that are passed here, and made one where
        its result is multiplied."""
        layers = keras.layers
        if not isinstance(call.layer, layers.ReLU | layers.Multiply):
            return call.inputs if "operators" in call.layer.name or "math" in call.layer.name else super().replace(call)
        if isinstance(call.layer, layers.Multiply):
            return self._multiplied(call)
        if call.layer.max_value == 6.0:
            return call.inputs
        if "/" not in call.layer.name:
            call.layer._name = _after(call.inputs, "Relu")
        return super().replace(call)

    def _multiplied(self, call: Call) -> Tensor:
        from models.activations import HardSigmoid, HardSwish

        features, gate = call.inputs
        if "squeeze_excite" not in call.layer.name:
            return HardSwish(name=_after(features, "HardSwish"))(features)
        prefix = call.layer.name.removesuffix("Mul")
        return keras.layers.Multiply(name=call.layer.name)([features, HardSigmoid(name=f"{prefix}HardSigmoid")(gate)])


def _after(x: Tensor, activation: str) -> str:
    """The name of an activation behind the BatchNormalization that gives `x`."""
    return f"{x.node.layer.name.removesuffix('BatchNorm')}{activation}"
