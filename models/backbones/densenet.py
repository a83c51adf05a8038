"""DenseNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.backbones.base import Application, Member, Published
from models.backbones.normalisation import STANDARDISED

LEVELS = {
    "stride_2": "conv1/relu",
    "stride_4": "pool2_relu",
    "stride_8": "pool3_relu",
    "stride_16": "pool4_relu",
    "stride_32": "relu",
}


class DenseNet(Application):
    """DenseNet (Huang et al. 2017): accurate for its number of weights; each layer sees the output of all before it."""

    members: ClassVar[Mapping[str, Member]] = {
        f"densenet{depth}": Member(LEVELS, 224, STANDARDISED, f"DenseNet{depth}") for depth in (121, 169, 201)
    }
    published: ClassVar[Published | None] = Published("BSD-3-Clause", "Zhuang Liu, liuzhuang13/DenseNet")

    kind: Literal["densenet121", "densenet169", "densenet201"] = "densenet121"
    """How many weighted layers it has."""
