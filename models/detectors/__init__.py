"""The detectors. This is the only list of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.detectors.base import Detector, OneStage
from models.detectors.faster_rcnn import FasterRCNN
from models.detectors.retinanet import RetinaNet
from models.detectors.ssd import SSD
from models.detectors.yolo import YOLO

DETECTORS: dict[str, type[Detector]] = {
    "faster_rcnn": FasterRCNN,
    "retinanet": RetinaNet,
    "ssd": SSD,
    "yolo": YOLO,
}
AnyDetector = Annotated[FasterRCNN | RetinaNet | SSD | YOLO, Field(discriminator="kind")]

__all__ = ["DETECTORS", "SSD", "YOLO", "AnyDetector", "Detector", "FasterRCNN", "OneStage", "RetinaNet"]
