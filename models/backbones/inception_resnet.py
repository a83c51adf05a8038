"""Inception-ResNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.backbones.base import Application, Member, Published
from models.backbones.mobilenet import GOOGLE
from models.backbones.normalisation import SYMMETRIC
from models.stack import keras

if TYPE_CHECKING:
    from models.rewire import Call

Tensor = Any


class InceptionResNet(Application):
    """Inception-ResNet-v2 (Szegedy et al. 2017): accurate, large; branches of several kernel sizes beside each other.

    Its first convolutions and all that halve the size are not padded, as published: the levels are a few positions
    smaller than the picture divided by their stride (35, 17 and 8 for 299 pixels).
    """

    members: ClassVar[Mapping[str, Member]] = {
        "inception_resnet_v2": Member(
            {
                "stride_2": "activation_2",
                "stride_4": "activation_4",
                "stride_8": "block35_10_ac",
                "stride_16": "block17_20_ac",
                "stride_32": "conv_7b_ac",
            },
            299,
            SYMMETRIC,
            "InceptionResNetV2",
        )
    }
    published: ClassVar[Published | None] = GOOGLE
    least_size: ClassVar[int] = 75

    kind: Literal["inception_resnet_v2"] = "inception_resnet_v2"

    def replace(self, call: Call) -> Tensor:
        """Its own class of damped additions becomes two layers by name."""
        from models.activations import ConstantScale

        if call.layer.__class__.__name__ != "CustomScaleLayer":
            return super().replace(call)
        shortcut, branch = call.inputs
        block = branch.node.layer.name.removesuffix("_conv")
        damped = ConstantScale(call.layer.scale, name=f"{block}_scale")(branch)
        return keras.layers.Add(name=f"{block}_add")([shortcut, damped])
