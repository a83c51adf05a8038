"""Sequences: the digits of a scene move, come in, go out and pass behind each other and behind what stands in front."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from pipeline.data.example import SPLITS, MadePicture
from pipeline.data.scenes.backgrounds import background
from pipeline.data.scenes.digits import INKS, Digit, Stamp, contrast
from pipeline.data.scenes.light import Camera, Light
from pipeline.data.scenes.render import (
    HALO,
    PIXELS,
    PLACES,
    Laid,
    Layout,
    Seen,
    about_bytes,
    draw_rim,
    ground_of,
    height_of,
    occlude,
    occluder_stamp,
    paint,
    seen,
)

Generator = np.random.Generator

GRAIN, LIGHT = 2, 3
"""The stages whose random numbers are the noise of each picture; light, camera and what stands in front."""
PAN = 0.08
"""How far the camera swings to each side, as a share of the picture."""
PANS = 0.5
"""Share of the sequences in which it does."""
MOST_OCCLUDERS = 4
STRIDE = 5
"""Every how many pictures the ground below a digit is looked at, to find an ink for all of its way."""
REACH = 0.9
"""Heights from a digit's middle beyond which none of it is, however it is turned and slanted."""
GROWS = 120
"""Pictures after which a digit keeps its size, so that none outgrows its way out."""


class Actor(NamedTuple):
    """A digit and how it moves.

    Args:
        digit: at its first picture.
        start: number of that picture.
        speed: pixels a picture, across and down.
        growth: of its height a picture, as a factor.
        spin: degrees a picture.
        sway: amplitude in pixels, across its way.
        period: of the sway, in pictures.
    """

    digit: Digit
    start: int
    speed: tuple[float, float]
    growth: float
    spin: float
    sway: float
    period: float

    def at(self, time: int) -> Digit:
        """The digit in picture number `time`."""
        passed = time - self.start
        fast = float(np.hypot(*self.speed)) or 1.0
        aside = self.sway * np.sin(2 * np.pi * passed / self.period)
        return replace(
            self.digit,
            x=self.digit.x + self.speed[0] * passed - aside * self.speed[1] / fast,
            y=self.digit.y + self.speed[1] * passed + aside * self.speed[0] / fast,
            height=self.digit.height * self.growth ** min(passed, GROWS),
            angle=self.digit.angle + self.spin * passed,
        )


@dataclass(frozen=True)
class Sequence:
    """Pictures that belong together; the same arguments give the same bytes in every process.

    Args:
        layout: what each picture is to hold; `most_hidden`: see `met_in`.
        split: whose handwriting and photographs it shows.
        number: among the sequences of its split.
        seed: of all sequences.
        frames: how many pictures.
    """

    layout: Layout
    split: str
    number: int
    seed: int
    frames: int

    def generator(self, stage: int, frame: int = 0) -> Generator:
        """Random numbers that depend on this sequence (and picture) alone."""
        return np.random.default_rng((self.seed, SPLITS.index(self.split), self.number, stage, frame))

    def places(self) -> Cast:
        """Who plays where."""
        return cast(self.generator(PLACES), self.layout, self.split, self.frames)

    def world(self, generator: Generator) -> np.ndarray:
        """The background, float32 [h, w, 3], with a margin for the camera to swing over."""
        height, width = self.layout.height + 2 * self.margin, self.layout.width + 2 * self.margin
        return background(generator, height, width, self.split)

    @property
    def margin(self) -> int:
        """Pixels of the background on each side of the picture, over which the camera swings."""
        return int(np.ceil(PAN * min(self.layout.height, self.layout.width))) + 1


class Cast(NamedTuple):
    """What is in a sequence.

    Args:
        actors: from the back to the front; their tracks count from 1.
        occluders: what stands in front of them.
        pan: how far the camera swings, across and down, in pixels.
    """

    actors: list[Actor]
    occluders: list[Stamp]
    pan: tuple[float, float]

    def offset(self, time: int, frames: int) -> tuple[int, int]:
        """By how many whole pixels the world is shifted in a picture."""
        phase = np.sin(2 * np.pi * time / max(frames, 2))
        return round(self.pan[0] * phase), round(self.pan[1] * phase)

    def laid(self, time: int, frames: int, layout: Layout) -> tuple[list[Laid], list[Stamp]]:
        """Digits and what is in front of them, in one picture."""
        x, y = self.offset(time, frames)
        met = (actor.at(time) for actor in self.actors if time >= actor.start)
        there = [digit for digit in met if _near(digit, layout)]
        moved = [digit.at(digit.x + x, digit.y + y) for digit in there]
        return [Laid(digit, digit.stamp()) for digit in moved], [one.moved(x, y) for one in self.occluders]


def cast(generator: Generator, layout: Layout, split: str, frames: int) -> Cast:
    """The digits of a sequence, and all else that is in it."""
    side, actors = min(layout.height, layout.width), _actors(generator, layout, split, frames)
    digits = [actor.digit for actor in actors if actor.start == 0]
    in_front = range(int(generator.integers(1, MOST_OCCLUDERS + 1)))
    occluders = [occluder_stamp(generator, layout, digits if one % 2 else ()) for one in in_front]
    reach = PAN * side if generator.random() < PANS else 0.0
    angle = generator.uniform(0, 2 * np.pi)
    numbered = [actor._replace(digit=replace(actor.digit, track=track)) for track, actor in enumerate(actors, 1)]
    return Cast(numbered, occluders, (reach * float(np.cos(angle)), reach * float(np.sin(angle))))


def _actors(generator: Generator, layout: Layout, split: str, frames: int) -> list[Actor]:
    """Some digits are there at once, others come in while there is room: who is on the way in or out takes a place."""
    number = int(generator.integers(layout.digits[0], layout.digits[1] + 1))
    actors = [_actor(generator, layout, split, 0, inside=True) for _ in range(number)]
    there = list(actors)
    for time in range(1, frames):
        there = [actor for actor in there if _near(actor.at(time), layout)]
        wanted = len(there) < layout.digits[0] or generator.random() < 0.04
        if wanted and len(there) < layout.digits[1]:
            actors.append(_actor(generator, layout, split, time, inside=False))
            there.append(actors[-1])
    return actors


def _actor(generator: Generator, layout: Layout, split: str, start: int, *, inside: bool) -> Actor:
    """A digit with a way of its own: from somewhere inside, or from beyond an edge towards the inside."""
    digit = Digit.drawn(generator, split, height_of(generator, layout))
    size = np.array([layout.width, layout.height])
    aim = generator.uniform(0.25, 0.75, 2) * size
    place = generator.uniform(0.1, 0.9, 2) * size if inside else _beyond(generator, size, digit.height)
    way = aim - place
    pace = generator.uniform(0.004, 0.022) * min(layout.height, layout.width)
    speed = way / max(float(np.hypot(*way)), 1.0) * pace
    return Actor(
        digit=digit.at(float(place[0]), float(place[1])),
        start=start,
        speed=(float(speed[0]), float(speed[1])),
        growth=generator.uniform(0.995, 1.005),
        spin=generator.uniform(-0.8, 0.8),
        sway=generator.uniform(0.0, 0.03) * float(size.min()),
        period=generator.uniform(15.0, 50.0),
    )


def _beyond(generator: Generator, size: np.ndarray, height: float) -> np.ndarray:
    """Just outside one of the four edges."""
    place = generator.uniform(0.1, 0.9, 2) * size
    axis, far = int(generator.integers(2)), bool(generator.integers(2))
    place[axis] = size[axis] + 0.6 * height if far else -0.6 * height
    return place


def _near(digit: Digit, layout: Layout) -> bool:
    """Whether it may be seen, wherever the camera is; who has left for good would else be laid in every picture."""
    reach = REACH * digit.height + PAN * min(layout.height, layout.width)
    return -reach < digit.x < layout.width + reach and -reach < digit.y < layout.height + reach


def _inside(digit: Digit, layout: Layout) -> bool:
    return 0 <= digit.x < layout.width and 0 <= digit.y < layout.height


@dataclass(frozen=True)
class Frame(MadePicture):
    """One picture of a sequence, drawn when its bytes are asked for.

    Args:
        sequence: that it belongs to.
        number: of the picture, from 0.
    """

    sequence: Sequence
    number: int

    def read_bytes(self) -> bytes:
        sequence, layout = self.sequence, self.sequence.layout
        generator, played = sequence.generator(LIGHT), played_in(sequence)
        light = Light.drawn(generator, layout.height, layout.width)
        camera = Camera.drawn(generator, min(layout.height, layout.width))
        textures = generator.integers(2**32, size=len(played.cast.occluders)).tolist()
        canvas = self._ground(played.cast)
        laid, occluders = played.cast.laid(self.number, sequence.frames, layout)
        for one in laid:
            _draw(canvas, one, played.looks[one.digit.track - 1])
        for seed, occluder in zip(textures, occluders, strict=True):
            occlude(np.random.default_rng(seed), canvas, occluder, sequence.split)
        return camera.encoded(camera.picture(sequence.generator(GRAIN, self.number), canvas * light.field))

    def _ground(self, cast: Cast) -> np.ndarray:
        """The part of the background that the camera sees."""
        layout, margin = self.sequence.layout, self.sequence.margin
        x, y = cast.offset(self.number, self.sequence.frames)
        rows = slice(margin - y, margin - y + layout.height)
        world = self.sequence.world(self.sequence.generator(PIXELS))
        return world[rows, margin - x : margin - x + layout.width].copy()

    @property
    def about_bytes(self) -> int:
        return about_bytes(self.sequence.layout)


class Look(NamedTuple):
    """How a digit looks in all pictures of a sequence.

    Args:
        digit: in its ink.
        rim: whether a rim sets it off from what it lies on; always where no ink can be read all along its way, or all
            that can are those of others.
    """

    digit: Digit
    rim: bool


class Played(NamedTuple):
    """Who is in a sequence, and how they look.

    Args:
        cast: who plays where.
        looks: of the actors.
    """

    cast: Cast
    looks: list[Look]


@lru_cache(maxsize=256)
def played_in(sequence: Sequence) -> Played:
    """What all pictures of a sequence have in common and takes long to find; few bytes, so that it is kept for many:
    a store's pictures are drawn in random order."""
    generator, cast = sequence.generator(PIXELS), sequence.places()
    return Played(cast, looks_of(generator, sequence, cast, sequence.world(generator)))


def looks_of(generator: Generator, sequence: Sequence, cast: Cast, world: np.ndarray) -> list[Look]:
    """Every digit's ink, that can be read all along its way if any can, the same for no two while colours last."""
    least, looks = sequence.layout.least_contrast, list[Look]()
    for actor in cast.actors:
        grounds = _grounds(sequence, actor, world)
        taken = [one.digit.ink for one in looks[-len(INKS) + 1 :]]
        digit = actor.digit.inked(generator, grounds, least, taken)
        rim = generator.random() < HALO
        looks.append(Look(digit, rim or digit.ink in taken or contrast(digit.shade, grounds) < least))
    return looks


def _grounds(sequence: Sequence, actor: Actor, world: np.ndarray) -> np.ndarray:
    """What a digit comes to lie on while its middle is in the picture, float32 [n, 3]."""
    way = (actor.at(time) for time in range(actor.start, sequence.frames, STRIDE))
    there = takewhile(lambda digit: _near(digit, sequence.layout), way)
    stamps = [digit.stamp() for digit in there if _inside(digit, sequence.layout)]
    below = [ground_of(world, stamp.moved(sequence.margin, sequence.margin)) for stamp in stamps]
    return np.array(below or [world.mean(axis=(0, 1))])


def _draw(canvas: np.ndarray, laid: Laid, look: Look) -> None:
    """A digit at its place in one picture, on float32 [h, w, 3]."""
    size = canvas.shape[:2]
    rows, columns, alpha = laid.stamp.within(*size)
    if look.rim:
        draw_rim(canvas[rows, columns], look.digit, laid.stamp, size)
    paint(canvas[rows, columns], look.digit, alpha)


def met_in(sequence: Sequence, cast: Cast, number: int) -> list[Seen]:
    """The digits of one picture, from the back to the front, hidden or not. The box of one that is hidden further than
    the layout allows goes around all of it that is within the picture, as if nothing hid it: trackers follow it there.
    """
    layout = sequence.layout
    laid, occluders = cast.laid(number, sequence.frames, layout)
    sights = zip(laid, seen(laid, occluders, layout), strict=True)
    met = [_clear(sight, layout) or _hidden(one, sight, layout) for one, sight in sights]
    return [one for one in met if one is not None]


def _clear(sight: Seen | None, layout: Layout) -> Seen | None:
    return sight if sight is not None and sight.visible >= 1.0 - layout.most_hidden else None


def _hidden(laid: Laid, sight: Seen | None, layout: Layout) -> Seen | None:
    """What is to be told of a digit that is hidden too far; None beyond the edge."""
    box = laid.stamp.box(layout.height, layout.width)
    if box is None:
        return None
    nothing = Seen(laid.digit, np.zeros((layout.height, layout.width), bool), box, 0.0)
    return nothing if sight is None else replace(sight, box=box)
