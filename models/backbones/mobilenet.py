"""MobileNet and MobileNetV2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from models.backbones.base import Application, Member, Published
from models.backbones.normalisation import SYMMETRIC

GOOGLE = Published("Apache-2.0", "Google, tensorflow/models")


class MobileNet(Application):
    """MobileNet (Howard et al. 2017): small and fast on phones; depthwise separable convolutions."""

    members: ClassVar[Mapping[str, Member]] = {
        "mobilenet": Member(
            {
                "stride_2": "conv_pw_1_relu",
                "stride_4": "conv_pw_3_relu",
                "stride_8": "conv_pw_5_relu",
                "stride_16": "conv_pw_11_relu",
                "stride_32": "conv_pw_13_relu",
            },
            224,
            SYMMETRIC,
            "MobileNet",
        )
    }
    published: ClassVar[Published | None] = GOOGLE

    kind: Literal["mobilenet"] = "mobilenet"
    alpha: float = Field(default=1.0, gt=0)
    """Factor on the number of channels; `imagenet` weights exist for 0.25, 0.5, 0.75 and 1.0."""

    def options(self) -> dict[str, Any]:
        return {"alpha": self.alpha}


class MobileNetV2(Application):
    """MobileNetV2 (Sandler et al. 2018): more accurate than MobileNet at the same cost; inverted residuals."""

    members: ClassVar[Mapping[str, Member]] = {
        "mobilenet_v2": Member(
            {
                "stride_2": "block_1_expand_relu",
                "stride_4": "block_3_expand_relu",
                "stride_8": "block_6_expand_relu",
                "stride_16": "block_13_expand_relu",
                "stride_32": "out_relu",
            },
            224,
            SYMMETRIC,
            "MobileNetV2",
        )
    }
    published: ClassVar[Published | None] = GOOGLE

    kind: Literal["mobilenet_v2"] = "mobilenet_v2"
    alpha: float = Field(default=1.0, gt=0)
    """Factor on the number of channels; `imagenet` weights exist for 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4."""

    def options(self) -> dict[str, Any]:
        return {"alpha": self.alpha}
