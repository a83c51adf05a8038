"""Pairs to learn single-object tracking from: an object as it looked once, and where it is in another picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Annotated, Any, ClassVar, Literal
from uuid import uuid4

import numpy as np
from pydantic import Field

from pipeline.data.example import MadePicture, RawExample, RawObject, content_of
from pipeline.data.objects import in_pixels
from pipeline.data.pictures import BadPicture, encoded_picture, picture_to_send, why_unreadable
from pipeline.data.recent_pictures import RECENT
from pipeline.data.search_windows import Window, window_side
from pipeline.data.sources.base import DataSource
from pipeline.data.sources.boxes import count_of
from pipeline.data.sources.coco import Coco
from pipeline.data.sources.csv_boxes import CsvBoxes
from pipeline.data.sources.followed import OBJECT, FollowedSequences
from pipeline.data.sources.mot_challenge import MotChallenge
from pipeline.data.sources.scenes import Scenes, SceneSequences
from pipeline.data.sources.voc import PascalVoc
from pipeline.data.sources.yolo import Yolo
from pipeline.errors import DataError

Generator = np.random.Generator
PairedSource = Annotated[
    FollowedSequences | MotChallenge | SceneSequences | Scenes | PascalVoc | Coco | Yolo | CsvBoxes,
    Field(discriminator="kind"),
]

LEAST_SIDE = 4.0
"""Pixels of an object's shorter side below which nothing can be learned from it."""
LEAST_VISIBLE = 0.6
"""Share of an object that a template shows."""
TRIES = 20
"""To find a window without the object."""


@dataclass(frozen=True)
class Sight:
    """An object in a picture.

    Args:
        frame: number of the picture in its sequence.
        box: corners float64 [4] in pixels.
    """

    frame: int
    example: RawExample
    box: np.ndarray
    visible: float


@dataclass(frozen=True)
class Track:
    """The same object, in the order of the pictures.

    Args:
        name: unique in the data set.
        split: of its pictures.
        sights: at least one.
        source: place of the source that it is from.
    """

    name: str
    split: str | None
    sights: Sequence[Sight]
    source: int = 0


class TemplatePairs(DataSource):
    """Pairs of crops of one object, made of pictures with boxes: of two pictures of the same track in sequences; of one
    picture, differently cut and lit, where there are no tracks."""

    kind: Literal["template_pairs"] = "template_pairs"
    """Pairs of crops of one object, for the task `single_object_tracking`."""
    sources: tuple[PairedSource, ...] = Field(min_length=1)
    """Where the pictures and boxes come from; of several, one after the other."""
    side: int = Field(default=120, ge=16, le=1024)
    """Of each of the two crops, in pixels; the task's picture is so wide, and twice as high."""
    pairs: int = Field(default=20, ge=1)
    """Of each object."""
    max_apart: int = Field(default=30, ge=0)
    """Pictures of a sequence that lie between the two at most."""
    shift: float = Field(default=0.25, ge=0.0, le=0.4)
    """How far from the middle of the search crop the object may be, as a share of the crop's side."""
    scale: float = Field(default=0.25, ge=0.0, le=1.0)
    """By how much the search crop may be larger or smaller than usual, as a logarithm."""
    light: float = Field(default=0.2, ge=0.0, lt=1.0)
    """By how much each crop may be brighter or darker, as a share."""
    turn: float = Field(default=15.0, ge=0.0, le=180.0)
    """Degrees by which the template may be turned either way: objects that turn are then still the same."""
    absent: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of the pairs whose search crop does not show the object: so the score falls where it is hidden."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Decides which pairs."""

    def check(self) -> None:
        for source in self.sources:
            source.check()

    def fingerprint(self) -> str:
        return " ".join([self.model_dump_json(), *(source.fingerprint() for source in self.sources)])

    def class_names(self) -> tuple[str, ...] | None:
        return (OBJECT,)

    def warnings(self) -> list[str]:
        """Those of the sources, and objects that no pair is made of because something is wrong with them."""
        examples = (example for source in self.sources for example in source.examples() if not example.unusable)
        left_out = [text for example in examples for text in objects_left_out(example)]
        of_sources = [warning for source in self.sources for warning in source.warnings()]
        return [
            *of_sources,
            *count_of(
                left_out,
                "object was passed over, since it cannot be used",
                "objects were passed over, since they cannot be used",
            ),
        ]

    def examples(self) -> Iterator[RawExample]:
        """The pairs, and in their place the pictures that cannot be used, each once."""
        generator, reading = np.random.default_rng(self.seed), uuid4().hex
        for place, source in enumerate(self.sources):
            for sequence, found in groupby(source.examples(), lambda one: one.id.rpartition("/")[0]):
                frames = [in_pixels_of_picture(one) for one in found]
                yield from (self._set_aside(one, place) for one in frames if one.unusable)
                for track in tracks_of(sequence, frames):
                    named = replace(track, name=self._prefix(place) + track.name, source=place)
                    yield from (self._pair(generator, named, number, reading) for number in range(self.pairs))

    def _prefix(self, place: int) -> str:
        """What ids begin with, so that those of several sources differ."""
        return f"{place}/" if len(self.sources) > 1 else ""

    def _set_aside(self, example: RawExample, place: int) -> RawExample:
        identity, group = self._prefix(place) + example.id, f"{place}/{example.group or example.id}"
        return replace(example, id=identity, group=group, objects=())

    def _pair(self, generator: Generator, track: Track, number: int, reading: str) -> RawExample:
        template, search = self._two(generator, track)
        window, shows = self._window(generator, search)
        gains = generator.uniform(1 - self.light, 1 + self.light, 2)
        origin, angle = (reading, track.source), generator.uniform(-self.turn, self.turn)
        crops = (
            Crop(search.example.image, (*origin, search.example.id), window, gains[0]),
            Crop(template.example.image, (*origin, template.example.id), Window.around(template.box), gains[1], angle),
        )
        x_min, y_min, x_max, y_max = np.clip(window.shares(search.box), 0, 1).tolist()
        found = [RawObject(OBJECT, (x_min, y_min / 2, x_max, y_max / 2), track=1, unit="picture")] if shows else []
        return RawExample(
            id=f"{track.name}/{number:04}",
            image=Pair(*crops, self.side),
            split=track.split,
            group=f"{track.source}/{search.example.group or search.example.id}",
            objects=found,
            where=f"{search.example.where} (template: {template.example.where})",
        )

    def _two(self, generator: Generator, track: Track) -> tuple[Sight, Sight]:
        """A template and another sight of the same object."""
        clear = [one for one in track.sights if one.visible >= LEAST_VISIBLE]
        template = clear[int(generator.integers(len(clear)))]
        near = [one for one in track.sights if abs(one.frame - template.frame) <= self.max_apart]
        return template, near[int(generator.integers(len(near)))]

    def _window(self, generator: Generator, search: Sight) -> tuple[Window, bool]:
        """Where the search crop is, and whether it shows the object."""
        width, height = search.box[2:] - search.box[:2]
        side = window_side(width, height) * float(np.exp(generator.uniform(-self.scale, self.scale)))
        x, y = (search.box[:2] + search.box[2:]) / 2
        if generator.random() < self.absent:
            for step in generator.uniform(-1.5, 1.5, (TRIES, 2)) * side:
                window = Window.at(x + step[0], y + step[1], side)
                if not window.touches(search.box):
                    return window, False
        step = generator.uniform(-self.shift, self.shift, 2) * side
        return Window.at(x + step[0], y + step[1], side), True


@dataclass(frozen=True)
class Crop:
    """A part of a picture.

    Args:
        image: as of `RawExample.image`.
        key: of that picture, the same for the same one only.
        gain: what brightness is multiplied by.
        angle: degrees by which it is turned around its middle.
    """

    image: Any
    key: tuple[str, int, str]
    window: Window
    gain: float
    angle: float = 0.0

    def pixels(self, side: int) -> np.ndarray:
        """uint8 [side,side,3]."""
        cut = self.window.cut(RECENT.pixels(self.key, self.image), side)
        return np.clip(np.rint(turned(cut, self.angle) * self.gain), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Pair(MadePicture):
    """The search crop above the template crop, made when its bytes are asked for."""

    waits: ClassVar[bool] = True
    search: Crop
    template: Crop
    side: int

    def read_bytes(self) -> bytes:
        both = [crop.pixels(self.side) for crop in (self.search, self.template)]
        return encoded_picture(np.concatenate(both), lossy=True, change="encoded").data

    @property
    def about_bytes(self) -> int:
        return self.side**2


def turned(pixels: np.ndarray, angle: float) -> np.ndarray:
    """A square uint8 [S,S,3] turned around its middle by degrees; at the corners stands what is nearest to them."""
    import cv2

    side = len(pixels)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, 1.0)
    return cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def tracks_of(sequence: str, examples: Sequence[RawExample]) -> list[Track]:
    """The objects of the pictures of a sequence by their tracks; each by itself where it has none. Those that are never
    well seen are left out.

    Args:
        sequence: its name.
        examples: its pictures, places in pixels; those that are unusable are passed over.

    Raises:
        DataError: an object has no box.
    """
    sights: dict[str, list[Sight]] = {}
    for frame, example in enumerate(examples):
        for number, raw in enumerate(example.usable_objects if not example.unusable else ()):
            if raw.difficult or raw.crowd or _bad_box(raw):
                continue
            name = f"{sequence}/track {raw.track}" if raw.track else f"{example.id}/object {number}"
            sights.setdefault(name, []).append(_sight(frame, example, raw))
    large = {name: [one for one in seen if _least(one.box) >= LEAST_SIDE] for name, seen in sights.items()}
    return [
        Track(name, seen[0].example.split, seen)
        for name, seen in large.items()
        if any(one.visible >= LEAST_VISIBLE for one in seen)
    ]


def in_pixels_of_picture(example: RawExample) -> RawExample:
    """The same with all places in pixels; unusable where the size of its picture is needed and cannot be read."""
    if example.unusable or all(one.unit == "pixel" for one in example.usable_objects):
        return example
    try:
        picture = picture_to_send(content_of(example.image))
    except (BadPicture, OSError) as error:
        return replace(example, unusable=why_unreadable(error))
    objects = [one if one.unusable else in_pixels(one, picture.width, picture.height) for one in example.objects or ()]
    return replace(example, objects=objects)


def objects_left_out(example: RawExample) -> list[str]:
    """What names the objects with which something is wrong, and what that is."""
    reasons = ((one.where or example.where, one.unusable or _bad_box(one)) for one in example.objects or ())
    return [f"{where} ({reason})" for where, reason in reasons if reason]


def _bad_box(raw: RawObject) -> str:
    if raw.box is None:  # an error of its own
        return ""
    if not np.isfinite(raw.box).all():
        return "its box is not finite"
    return "its box has no area" if _least(np.array(raw.box)) <= 0 else ""


def _sight(frame: int, example: RawExample, raw: RawObject) -> Sight:
    if raw.box is None:
        raise DataError(
            f"{raw.where or example.where}: pairs are cut around boxes, but this object has none. Convert the data "
            "with `convoy convert`."
        )
    return Sight(frame, example, np.array(raw.box, np.float64), 1.0 if raw.visible is None else raw.visible)


def _least(box: np.ndarray) -> float:
    return float(np.min(box[2:] - box[:2]))
