"""Backbones: the networks that turn a picture into features, each a settings class that builds itself.

`Backbone` is the choice in a configuration, `BACKBONES` the class of each kind. Importable without TensorFlow.
"""

from __future__ import annotations

from models.backbones.base import Application, BackboneSettings, Built, Member, Published
from models.backbones.convnext import ConvNeXt
from models.backbones.densenet import DenseNet
from models.backbones.efficientnet import EfficientNet
from models.backbones.efficientnet_lite import EfficientNetLite
from models.backbones.efficientnet_v2 import EfficientNetV2
from models.backbones.inception_resnet import InceptionResNet
from models.backbones.mobilenet import MobileNet, MobileNetV2
from models.backbones.mobilenet_v3 import MobileNetV3
from models.backbones.normalisation import (
    CAFFE,
    CENTRED,
    NORMALISE,
    STANDARDISED,
    SYMMETRIC,
    Normalisation,
    normalise,
)
from models.backbones.resnet import BasicResNet, ResNet
from models.backbones.resnet_v2 import BasicResNetV2, ResNetV2
from models.backbones.small_resnet import SmallResNet
from models.backbones.vgg import VGG

Backbone = (
    SmallResNet
    | MobileNet
    | MobileNetV2
    | MobileNetV3
    | BasicResNet
    | ResNet
    | BasicResNetV2
    | ResNetV2
    | DenseNet
    | EfficientNet
    | EfficientNetLite
    | EfficientNetV2
    | ConvNeXt
    | InceptionResNet
    | VGG
)

FAMILIES: tuple[type[BackboneSettings], ...] = (
    SmallResNet,
    MobileNet,
    MobileNetV2,
    MobileNetV3,
    BasicResNet,
    ResNet,
    BasicResNetV2,
    ResNetV2,
    DenseNet,
    EfficientNet,
    EfficientNetLite,
    EfficientNetV2,
    ConvNeXt,
    InceptionResNet,
    VGG,
)
BACKBONES: dict[str, type[BackboneSettings]] = {kind: family for family in FAMILIES for kind in family.members}
"""Kind -> the class of its family."""

__all__ = [
    "BACKBONES",
    "CAFFE",
    "CENTRED",
    "FAMILIES",
    "NORMALISE",
    "STANDARDISED",
    "SYMMETRIC",
    "VGG",
    "Application",
    "Backbone",
    "BackboneSettings",
    "BasicResNet",
    "BasicResNetV2",
    "Built",
    "ConvNeXt",
    "DenseNet",
    "EfficientNet",
    "EfficientNetLite",
    "EfficientNetV2",
    "InceptionResNet",
    "Member",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3",
    "Normalisation",
    "Published",
    "ResNet",
    "ResNetV2",
    "SmallResNet",
    "normalise",
]
