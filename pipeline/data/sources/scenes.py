"""Scenes of handwritten digits, made here: every task can be tried without any data."""

from __future__ import annotations

import importlib.metadata
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from pipeline.data.example import TEST, TRAIN, VALIDATION, RawExample, RawObject
from pipeline.data.outlines import run_lengths
from pipeline.data.sources.base import DataSource

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.scenes.motion import Sequence as Motion
    from pipeline.data.scenes.render import Layout, Scene, Seen

DIGITS = tuple("0123456789")
BACKGROUND = "background"
DRAWS_WITH = ("numpy", "opencv-python-headless", "scikit-learn")
"""Packages whose version may change a pixel."""


def checked(digits: tuple[int, int]) -> tuple[int, int]:
    """The same, if these can be least and most digits of a picture; else ValueError."""
    if not 1 <= digits[0] <= digits[1] <= 100:
        raise ValueError(f"expected [least, most] with 1 <= least <= most <= 100, got {list(digits)}")
    return digits


class DrawnSource(DataSource):
    """Pictures of digits that are drawn by a seed; what scenes and sequences have in common."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Decides every picture."""
    height: int = Field(default=160, ge=64, le=1024)
    """Of a picture, in pixels."""
    width: int = Field(default=160, ge=64, le=1024)
    """Of a picture, in pixels."""
    digits: tuple[int, int] = (2, 8)
    """Least and most digits in a picture."""
    scale: tuple[float, float] = (0.10, 0.35)
    """Least and largest height of a digit, as a share of the picture's shorter side."""
    least_contrast: float = Field(default=0.28, ge=0.0, le=0.45)
    """By how much an ink differs at least from the mean of what it lies on, in luminance (0..1), before light and noise
    come over it; black or white where no ink differs so far."""
    drawing: ClassVar[int]
    """Raised when pictures of the same settings look otherwise than before: no store of earlier ones is then taken."""

    @field_validator("digits")
    @classmethod
    def _some_digits(cls, digits: tuple[int, int]) -> tuple[int, int]:
        return checked(digits)

    @field_validator("scale")
    @classmethod
    def _visible_digits(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0.03 <= scale[0] <= scale[1] <= 1.0:
            raise ValueError(f"expected [least, largest] with 0.03 <= least <= largest <= 1, got {list(scale)}")
        return scale

    @abstractmethod
    def hidden(self) -> float:
        """The largest share of a digit that may be hidden."""

    def layout(self) -> Layout:
        """The settings as the drawing takes them."""
        from pipeline.data.scenes.render import Layout

        return Layout(self.height, self.width, self.digits, self.scale, self.hidden(), self.least_contrast)

    def check(self) -> None:
        return

    def fingerprint(self) -> str:
        versions = [f"{name} {importlib.metadata.version(name)}" for name in DRAWS_WITH]
        return f"{self.model_dump_json()} {', '.join(versions)}, drawing {self.drawing}"


class Scenes(DrawnSource):
    """Real handwritten digits on textures and photographs: turned, partly hidden, unevenly lit, noisy. No digit and no
    part of a photograph is in two splits."""

    kind: Literal["scenes"] = "scenes"
    """Scenes of handwritten digits, drawn by a seed."""
    drawing: ClassVar[int] = 2
    train: int = Field(default=4000, ge=1)
    """Scenes for training."""
    validation: int = Field(default=400, ge=0)
    """Scenes for validation."""
    test: int = Field(default=400, ge=0)
    """Scenes for the test."""
    most_hidden: float = Field(default=0.5, ge=0.0, le=0.9)
    """The largest share of a digit that other digits, other things and the picture's edge may hide."""
    train_digits: tuple[int, int] | None = None
    """Least and most digits in a training picture; left out, as in the others. A network learns more from a picture
    with many digits than from one with few, at the same cost."""
    learn: Literal["objects", "instances", "regions", "labels", "count", "reading", "caption", "question"] = "objects"
    """What is given with each picture: `objects`: boxes, classes, the share of each digit that is visible; `instances`:
    a mask of each as well; `regions`: the class of every pixel; `labels`: which digits are there; `count`: how many;
    `reading`: the digits in reading order as text; `caption`: a sentence; `question`: a question as text and its answer
    as label."""

    @field_validator("train_digits")
    @classmethod
    def _some_train_digits(cls, digits: tuple[int, int] | None) -> tuple[int, int] | None:
        return digits and checked(digits)

    def hidden(self) -> float:
        return self.most_hidden

    def layout_of(self, split: str) -> Layout:
        """The settings as the drawing takes them, for one split."""
        layout = self.layout()
        return layout._replace(digits=self.train_digits) if self.train_digits and split == TRAIN else layout

    def class_names(self) -> tuple[str, ...] | None:
        return CLASSES_OF[self.learn]()

    def never_holds(self) -> frozenset[str]:
        return frozenset() if self.learn == "instances" else super().never_holds()

    def value_names(self) -> tuple[str, ...]:
        return ("digits",) if self.learn == "count" else ()

    def examples(self) -> Iterator[RawExample]:
        from pipeline.data.scenes.render import Scene

        given = GIVEN[self.learn]
        for split, count in ((TRAIN, self.train), (VALIDATION, self.validation), (TEST, self.test)):
            layout = self.layout_of(split)
            for number in range(count):
                scene = Scene(layout, split, number, self.seed)
                identity = f"{split}/{number:06}"
                yield RawExample(id=identity, image=scene, split=split, where=f"scene {identity}", **given(scene))


class SceneSequences(DrawnSource):
    """Sequences in which such digits move: they come in, go out, pass behind each other and behind other things. The
    ids are `SPLIT/SEQUENCE/PICTURE`; `tracks` says which digit is which."""

    kind: Literal["scene_sequences"] = "scene_sequences"
    """Sequences of moving handwritten digits, drawn by a seed."""
    drawing: ClassVar[int] = 4
    train: int = Field(default=40, ge=1)
    """Sequences for training."""
    validation: int = Field(default=8, ge=0)
    """Sequences for validation."""
    test: int = Field(default=8, ge=0)
    """Sequences for the test."""
    frames: int = Field(default=60, ge=2, le=10_000)
    """Pictures of a sequence."""
    digits: tuple[int, int] = (2, 6)
    """Least and most digits that are in a picture or on their way in or out: there may be fewer in it, never more."""
    most_hidden: float = Field(default=0.75, ge=0.0, lt=1.0)
    """A digit of which a larger share is hidden is too hard to be asked for (`difficult`): whoever finds it neither
    gains nor loses by it. It keeps its track."""

    def hidden(self) -> float:
        return self.most_hidden

    def class_names(self) -> tuple[str, ...] | None:
        return DIGITS

    def examples(self) -> Iterator[RawExample]:
        from pipeline.data.scenes.motion import Sequence as Motion

        for split, count in ((TRAIN, self.train), (VALIDATION, self.validation), (TEST, self.test)):
            for number in range(count):
                yield from _frames(Motion(self.layout(), split, number, self.seed, self.frames))


def _frames(sequence: Motion) -> Iterator[RawExample]:
    from pipeline.data.scenes.motion import Frame, met_in

    cast = sequence.places()
    for number in range(sequence.frames):
        identity = f"{sequence.split}/{sequence.number:04}/{number:06}"
        objects = [_tracked(one, sequence.layout.most_hidden) for one in met_in(sequence, cast, number)]
        yield RawExample(
            id=identity,
            image=Frame(sequence, number),
            split=sequence.split,
            objects=objects,
            where=f"scene {identity}",
        )


def _tracked(one: Seen, most_hidden: float) -> RawObject:
    found = _object(one)
    return replace(found, track=one.digit.track, difficult=one.visible < 1.0 - most_hidden)


# ------------------------------------------------------------------------------------------------- what is given


def _object(one: Seen, mask: np.ndarray | None = None) -> RawObject:
    outline = None if mask is None else run_lengths(mask)
    return RawObject(label=one.label, box=one.box, visible=round(one.visible, 4), mask=outline)


def _objects(scene: Scene) -> Mapping[str, Any]:
    return {"objects": [_object(one) for one in scene.seen()]}


def _instances(scene: Scene) -> Mapping[str, Any]:
    return {"objects": [_object(one, mask=one.mask) for one in scene.seen()]}


def _regions(scene: Scene) -> Mapping[str, Any]:
    from pipeline.data.scenes.render import regions

    return {"mask": regions(scene.seen(), scene.layout)}


def _labels(scene: Scene) -> Mapping[str, Any]:
    return {"labels": sorted({one.label for one in scene.seen()})}


def _count(scene: Scene) -> Mapping[str, Any]:
    return {"value": [float(len(scene.seen()))]}


def _reading(scene: Scene) -> Mapping[str, Any]:
    from pipeline.data.scenes.words import read

    return {"text": read(scene.seen())}


def _caption(scene: Scene) -> Mapping[str, Any]:
    from pipeline.data.scenes.words import caption

    return {"text": caption(scene.seen_with_inks(), scene.layout)}


def _question(scene: Scene) -> Mapping[str, Any]:
    from pipeline.data.scenes.words import question

    text, answer = question(scene.generator(QUESTIONS), scene.seen_with_inks())
    return {"text": text, "label": answer}


QUESTIONS = 2
"""The stage of a scene whose random numbers choose what is asked."""
GIVEN: Mapping[str, Callable[[Scene], Mapping[str, Any]]] = {
    "objects": _objects,
    "instances": _instances,
    "regions": _regions,
    "labels": _labels,
    "count": _count,
    "reading": _reading,
    "caption": _caption,
    "question": _question,
}


def _digits() -> tuple[str, ...]:
    return DIGITS


def _nothing() -> None:
    return None


def _answers() -> tuple[str, ...]:
    from pipeline.data.scenes.words import ANSWERS

    return ANSWERS


CLASSES_OF: Mapping[str, Callable[[], tuple[str, ...] | None]] = {
    "objects": _digits,
    "instances": _digits,
    "regions": lambda: (BACKGROUND, *DIGITS),
    "labels": _digits,
    "count": _nothing,
    "reading": _nothing,
    "caption": _nothing,
    "question": _answers,
}
