"""EfficientNetV2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.backbones.base import Application, Member, Published
from models.backbones.efficientnet import with_stochastic_depth
from models.backbones.normalisation import STANDARDISED, UNIT_CENTRED

if TYPE_CHECKING:
    from models.rewire import Call

Tensor = Any


def _levels(first: str, second: str) -> dict[str, str]:
    """Args:
    first, second: the last layer of the first and of the second stage, which keep their stride to their end.
    """
    return {
        "stride_2": first,
        "stride_4": second,
        "stride_8": "block4a_expand_activation",
        "stride_16": "block6a_expand_activation",
        "stride_32": "top_activation",
    }


class EfficientNetV2(Application):
    """EfficientNetV2 (Tan and Le 2021): trains faster than EfficientNet; plain convolutions in the first stages.
    Trained with stochastic depth, as published."""

    members: ClassVar[Mapping[str, Member]] = {
        "efficientnet_v2_b0": Member(
            _levels("block1a_project_activation", "block2b_add"), 224, STANDARDISED, "EfficientNetV2B0"
        ),
        "efficientnet_v2_b1": Member(_levels("block1b_add", "block2c_add"), 240, STANDARDISED, "EfficientNetV2B1"),
        "efficientnet_v2_b2": Member(_levels("block1b_add", "block2c_add"), 260, STANDARDISED, "EfficientNetV2B2"),
        "efficientnet_v2_b3": Member(_levels("block1b_add", "block2c_add"), 300, STANDARDISED, "EfficientNetV2B3"),
        "efficientnet_v2_s": Member(_levels("block1b_add", "block2d_add"), 384, UNIT_CENTRED, "EfficientNetV2S"),
    }
    published: ClassVar[Published | None] = Published("Apache-2.0", "Google, google/automl")

    kind: Literal[
        "efficientnet_v2_b0", "efficientnet_v2_b1", "efficientnet_v2_b2", "efficientnet_v2_b3", "efficientnet_v2_s"
    ] = "efficientnet_v2_b0"
    """How large it is."""

    def options(self) -> dict[str, Any]:
        return {"include_preprocessing": False}

    def replace(self, call: Call) -> Tensor:
        deep = with_stochastic_depth(call)
        return super().replace(call) if deep is None else deep
