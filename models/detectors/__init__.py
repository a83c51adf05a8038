"""The detectors. This is the only list of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.detectors.base import Detector
from models.detectors.retinanet import RetinaNet
from models.detectors.ssd import SSD
from models.detectors.yolo import YOLO

DETECTORS: dict[str, type[Detector]] = {"retinanet": RetinaNet, "ssd": SSD, "yolo": YOLO}
AnyDetector = Annotated[RetinaNet | SSD | YOLO, Field(discriminator="kind")]

__all__ = ["DETECTORS", "SSD", "YOLO", "AnyDetector", "Detector", "RetinaNet"]
