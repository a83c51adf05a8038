"""Augmentation: the list of operations, and `apply`, which runs them on a batch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.augment.base import Augmentation
from pipeline.augment.colour import ColourJitter
from pipeline.augment.geometry import (
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Rotation,
    Translation,
    VerticalFlip,
)
from pipeline.augment.occlusion import Cutout
from pipeline.augment.plan import apply, check, head_crop

Operation = Annotated[
    HorizontalFlip | VerticalFlip | Rotation | Translation | RandomCrop | RandomResizedCrop | ColourJitter | Cutout,
    Field(discriminator="kind"),
]

OPERATIONS: dict[str, type[Augmentation]] = {
    "horizontal_flip": HorizontalFlip,
    "vertical_flip": VerticalFlip,
    "rotation": Rotation,
    "translation": Translation,
    "random_crop": RandomCrop,
    "random_resized_crop": RandomResizedCrop,
    "colour_jitter": ColourJitter,
    "cutout": Cutout,
}

__all__ = ["OPERATIONS", "Augmentation", "Operation", "RandomResizedCrop", "apply", "check", "head_crop"]
