"""VGG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from models.backbones.base import Application, Member, Published
from models.backbones.normalisation import CAFFE


def _levels(last: int) -> dict[str, str]:
    """Args:
    last: number of the last convolution of blocks 3 to 5.
    """
    strides = {"stride_1": "block1_conv2", "stride_2": "block2_conv2"}
    deeper = {f"stride_{2 ** (block - 1)}": f"block{block}_conv{last}" for block in (3, 4, 5)}
    return {**strides, **deeper, "stride_32": "block5_pool"}


class VGG(Application):
    """VGG (Simonyan and Zisserman 2015): slow and large, without BatchNormalization; for comparison."""

    members: ClassVar[Mapping[str, Member]] = {
        "vgg16": Member(_levels(3), 224, CAFFE, "VGG16"),
        "vgg19": Member(_levels(4), 224, CAFFE, "VGG19"),
    }
    published: ClassVar[Published | None] = Published("CC-BY-4.0", "Visual Geometry Group, University of Oxford")

    kind: Literal["vgg16", "vgg19"] = "vgg16"
    """How many weighted layers it has, the classifier's three among them."""
