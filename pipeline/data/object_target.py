"""What is learned where pictures hold objects: their classes and places; or masks alone: the classes of pixels.

n = examples, N = objects of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.data.example import (
    BOXES,
    CLASSES,
    CORNERS,
    CROWD,
    DIFFICULT,
    MASKS,
    POINTS,
    TRACKS,
    VISIBLE,
    RawExample,
    RawObject,
)
from pipeline.data.splits import UNNAMED
from pipeline.data.targets import UNKNOWN, AnyClasses, MissingClasses, NoTarget, members
from pipeline.errors import ConfigError, DataError
from pipeline.wording import quantity

NOT_MASKED = (
    "`data.missing_labels` is mask, but the source gives {}: {}. Leave data.missing_labels out; mask is for classes "
    "and numbers of whole pictures."
)
PLACE = ("data", "missing_labels")


class Objects(AnyClasses):
    """Any number of objects a picture, each of one class. A picture without any is one to learn from as well."""

    field = CLASSES

    def __init__(self, names: Sequence[str] | None):
        super().__init__(names)
        self._optional: set[str] = set()
        self._num_points = 0
        self._gone: set[int] = set()

    @property
    def fields(self) -> tuple[str, ...]:
        """`boxes`, `classes`, and what else any object has."""
        optional = (CORNERS, POINTS, DIFFICULT, CROWD, VISIBLE, TRACKS, MASKS)
        return (BOXES, CLASSES, *(name for name in optional if name in self._optional))

    def collect(self, example: RawExample) -> None:
        if example.objects is None:
            raise DataError(
                f"{example.where}: no list of objects, but other pictures have one. "
                "An empty list is valid: it says that the picture shows none."
            )
        self._lengths.append(len(example.objects))
        for raw in example.objects:
            if raw.unusable:
                self._gone.add(len(self._seen))
                self._seen.append(UNKNOWN)
                continue
            self._see(raw.label, raw.where or example.where)
            self._note(raw, raw.where or example.where)

    def _number(self, name: str, where: str) -> int:
        try:
            return super()._number(name, where)
        except DataError as error:
            advice = "Objects of other classes can be left out: data.source.other_classes=leave_out."
            raise DataError(f"{error} {advice}") from error

    def _note(self, raw: RawObject, where: str) -> None:
        held = {
            CORNERS: raw.corners is not None,
            POINTS: raw.points is not None,
            DIFFICULT: raw.difficult,
            CROWD: raw.crowd,
            VISIBLE: raw.visible is not None,
            TRACKS: raw.track is not None,
            MASKS: raw.mask is not None,
        }
        self._optional.update(name for name, holds in held.items() if holds)
        if raw.points is None:
            return
        if self._num_points and len(raw.points) != self._num_points:
            raise DataError(
                f"{where}: {quantity(len(raw.points), 'key point')}, but other objects have {self._num_points}."
            )
        self._num_points = len(raw.points)

    @cached_property
    def _starts(self) -> np.ndarray:
        """int64 [n]: how many objects came before each example's."""
        return np.cumsum([0, *self._lengths])[:-1]

    def require_maskable(self) -> None:
        raise ConfigError(NOT_MASKED.format("objects", "an object without a class is refused"), PLACE)

    def leave_out(self, index: int, number: int) -> None:
        """No longer counts an object: which example's, and its place among that example's objects."""
        self._gone.add(int(self._starts[index]) + number)

    def counts(self, chosen: np.ndarray) -> np.ndarray:
        """int64 [K]: the objects of each class in the chosen examples."""
        return np.bincount(self.indices()[self._counted(chosen)], minlength=len(self.class_names()))

    def _counted(self, chosen: np.ndarray) -> np.ndarray:
        """bool [all objects]: those of the chosen examples, bool [n], that were not left out."""
        counted = chosen[self._owners()]
        counted[np.array(sorted(self._gone), np.int64)] = False
        return counted

    def _numbers(self, chosen: np.ndarray) -> np.ndarray:
        """int64 [chosen]: how many objects each chosen example has."""
        return np.bincount(self._owners()[self._counted(chosen)], minlength=len(self._lengths))[chosen]

    def check(self, codes: np.ndarray, missing: MissingClasses) -> list[str]:
        if not self._numbers(codes != UNNAMED).any():
            raise DataError("No picture has any object. Check data.source: is it the right folder of annotations?")
        return super().check(codes, missing)

    def statistics(self, codes: np.ndarray) -> dict[str, Any]:
        most = self._numbers(codes != UNNAMED).max(initial=0)
        return {**super().statistics(codes), "max_objects": int(most), "num_points": self._num_points}

    def description(self, codes: np.ndarray) -> dict[str, Any]:
        numbers = {split: self._numbers(chosen) for split, chosen in members(codes).items()}
        spreads = {split: _spread(counts) for split, counts in numbers.items()}
        return {**super().description(codes), "objects": spreads, "objects_left_out": len(self._gone)}

    def encode(self, example: RawExample) -> dict[str, Any]:
        """The objects of an example that is `placed`: lists of numbers one object after the other."""
        objects = example.objects or ()
        columns: dict[str, Any] = {
            BOXES: np.array([raw.box for raw in objects], np.float32).ravel(),
            CLASSES: [self.index[raw.label] for raw in objects],
            CORNERS: np.array([raw.corners for raw in objects], np.float32).ravel(),
            POINTS: np.array([self._points(raw) for raw in objects], np.float32).ravel(),
            DIFFICULT: [int(raw.difficult) for raw in objects],
            CROWD: [int(raw.crowd) for raw in objects],
            VISIBLE: np.array([1.0 if raw.visible is None else raw.visible for raw in objects], np.float32),
            TRACKS: [raw.track or 0 for raw in objects],
            MASKS: [raw.mask for raw in objects],
        }
        return {name: columns[name] for name in self.fields}

    def _points(self, raw: RawObject) -> Sequence[tuple[float, float, float]]:
        return raw.points if raw.points is not None else [(0.0, 0.0, 0.0)] * self._num_points

    def features(self) -> dict[str, Any]:
        import tensorflow_datasets as tfds

        features = tfds.features
        all_features = {
            BOXES: features.Tensor(shape=(None, 4), dtype=np.float32),
            CLASSES: features.Sequence(features.ClassLabel(names=self.class_names())),
            CORNERS: features.Tensor(shape=(None, 4, 2), dtype=np.float32),
            POINTS: features.Tensor(shape=(None, self._num_points, 3), dtype=np.float32),
            DIFFICULT: features.Sequence(np.bool_),
            CROWD: features.Sequence(np.bool_),
            VISIBLE: features.Tensor(shape=(None,), dtype=np.float32),
            TRACKS: features.Sequence(np.int64),
            MASKS: features.Sequence(features.Image(shape=(None, None, 1), encoding_format="png")),
        }
        return {name: all_features[name] for name in self.fields}


class Regions(NoTarget):
    """A class for every pixel, which the mask holds.

    Args:
        names: the classes, as the source knows them.
    """

    def __init__(self, names: Sequence[str] | None):
        super().__init__()
        self._names = tuple(names or ())

    def require_maskable(self) -> None:
        raise ConfigError(NOT_MASKED.format("masks", "a pixel that is not known has the value 255 there"), PLACE)

    def statistics(self, codes: np.ndarray) -> dict[str, Any]:
        return {"class_names": self._names}


def _spread(numbers: np.ndarray) -> dict[str, float]:
    return {
        "count": int(numbers.sum()),
        "mean_per_picture": float(numbers.mean()),
        "most_in_a_picture": int(numbers.max()),
        "pictures_without": int(np.count_nonzero(numbers == 0)),
    }
