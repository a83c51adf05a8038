"""What writers of annotations have in common: a picture with its objects in, files of one format out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.data.example import TEST, TRAIN, VALIDATION, RawObject
from pipeline.data.sources.boxes import CLASSES_FILE

SPLIT_FILES = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
"""What formats call the splits."""
IMAGES = "images"
DECIMALS = 4
"""Of pixels."""
SAME_AREA = 1e-3
"""An area that differs from that of the box by a smaller share says nothing of its own."""


@dataclass(frozen=True)
class Picture:
    """One picture as it is written.

    Args:
        name: its path without suffix, in `/`; unique.
        suffix: of its file, with the dot.
        split: `train`, `validation`, `test`, or None where the source says none.
        width, height: in pixels, upright.
        objects: in pixels, with boxes inside the picture.
    """

    name: str
    suffix: str
    split: str | None
    width: int
    height: int
    objects: tuple[RawObject, ...]

    @property
    def file(self) -> str:
        """Name with suffix."""
        return self.name + self.suffix


class Writer(ABC):
    """Writes one format.

    Args:
        folder: an empty one, to be filled.
        class_names: in index order.
        outlines: write outlines where there are any, in formats in which a box or an outline is given.
    """

    holds: ClassVar[frozenset[str]] = frozenset()
    """Which of `ASPECTS` the format can say."""

    def __init__(self, folder: Path, class_names: Sequence[str], *, outlines: bool = False):
        self.folder = folder
        self.class_names = tuple(class_names)
        self.index = {name: number for number, name in enumerate(class_names)}
        self.outlines = outlines

    @abstractmethod
    def place(self, picture: Picture) -> str:
        """Where the file of a picture belongs, relative to the folder."""

    @abstractmethod
    def add(self, picture: Picture) -> None:
        """Takes the annotations of the next picture."""

    @abstractmethod
    def finish(self) -> None:
        """Writes what is known when all pictures have come."""

    @abstractmethod
    def source(self, folder: Path) -> Mapping[str, Any]:
        """The `data.source` that reads the result from where it lies in the end."""

    def write_classes(self) -> None:
        """Names the classes, if there are any, in a file beside the labels: for a format without a place for them."""
        if self.class_names:
            text = "".join(f"{name}\n" for name in self.class_names)
            (self.folder / CLASSES_FILE).write_text(text, encoding="utf-8")

    def lacks(self, one: RawObject) -> list[str]:
        """What an object has that the format cannot say."""
        return [name for name, has in ASPECTS.items() if name not in self.holds and has(one)]


ASPECTS: Mapping[str, Any] = {
    "difficult": lambda one: one.difficult,
    "crowd": lambda one: one.crowd,
    "outline or mask": lambda one: one.mask is not None,
    "area": lambda one: one.area is not None and not math.isclose(one.area, box_area(one), rel_tol=SAME_AREA),
    "visible share": lambda one: one.visible is not None,
    "track": lambda one: one.track is not None,
    "key points": lambda one: one.points is not None,
    "corners": lambda one: one.corners is not None,
}
"""What an object may have beside box and class -> whether it has it."""


def box_area(one: RawObject) -> float:
    """Of an object with a box in pixels."""
    x_min, y_min, x_max, y_max = one.box or (0.0, 0.0, 0.0, 0.0)
    return (x_max - x_min) * (y_max - y_min)


def number(value: float, decimals: int = DECIMALS) -> str:
    """A number without zeros at its end: `3`, `2.5`."""
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
