"""Scenes: digits laid out over each other and behind other things, drawn, lit, and seen by a camera.

h, w = height and width of the picture.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.data.example import SPLITS, MadePicture
from pipeline.data.scenes.backgrounds import TEXTURES, background
from pipeline.data.scenes.digits import LUMINANCE, OWN, Digit, Stamp
from pipeline.data.scenes.handwriting import CLASS_NAMES
from pipeline.data.scenes.light import Camera, Light

cv2.setNumThreads(1)  # for pictures this small, sharing out costs a third more of the processors than it saves

Generator = np.random.Generator
Box = tuple[float, float, float, float]

TRIES = 30
"""Places tried for a digit before it is left out."""
NEAR = 0.3
"""Share of the digits that are put near an earlier one, so that they hide each other."""
MOST_OCCLUDERS = 2
PLACES, PIXELS = 0, 1
"""Stages that draw random numbers of their own: places can then be known without pixels."""
NOBODY = 0
"""In the map of owners: pixels of the background, or of what lies above the digits."""
HALO, RIM = 0.25, 0.56
"""Share of the digits with a rim of the opposite brightness, and how opaque it is."""


class Layout(NamedTuple):
    """What a scene is asked to hold.

    Args:
        height, width: in pixels.
        digits: least and most digits.
        scale: least and largest height of a digit as a share of the picture's shorter side.
        most_hidden: the largest share of a digit that may be hidden.
        least_contrast: by how much an ink differs at least from the mean of what it lies on, in luminance, 0..1.
    """

    height: int
    width: int
    digits: tuple[int, int]
    scale: tuple[float, float]
    most_hidden: float
    least_contrast: float


@dataclass(frozen=True)
class Seen:
    """A digit as it is seen.

    Args:
        digit: itself.
        mask: bool [h, w], its pixels that are not hidden.
        box: around them, in pixels: x_min, y_min, x_max, y_max; in sequences around all of a digit that is hidden too
            far.
        visible: which share of its pixels they are, those outside the picture counted.
    """

    digit: Digit
    mask: np.ndarray
    box: Box
    visible: float

    @property
    def label(self) -> str:
        """The class's name."""
        return CLASS_NAMES[self.digit.glyph.label]


@dataclass(frozen=True)
class Scene(MadePicture):
    """A picture and all that is known of it. The picture is drawn when its bytes are asked for: everything else is
    known from the places alone, at a third of the cost.

    Args:
        layout: what it is to hold.
        split: whose handwriting and photographs it shows.
        number: among the scenes of its split.
        seed: of all scenes; the same arguments give the same bytes in every process.
    """

    layout: Layout
    split: str
    number: int
    seed: int

    def generator(self, stage: int) -> Generator:
        """Random numbers that depend on this scene alone, and not on what was drawn before."""
        return np.random.default_rng((self.seed, SPLITS.index(self.split), self.number, stage))

    def places(self) -> tuple[list[Laid], list[Stamp]]:
        """Digits from the back to the front, and what lies above them."""
        return laid_out(self.generator(PLACES), self.layout, self.split)

    def seen(self) -> list[Seen]:
        """Every digit as it is seen, from the back to the front; their inks are not known."""
        return [one for one in seen(*self.places(), self.layout) if one is not None]

    def seen_with_inks(self) -> list[Seen]:
        """The same with their inks, which depend on what the digits lie on, and so need the picture."""
        _, inked, occluders = self._drawn()
        return [one for one in seen(inked, occluders, self.layout) if one is not None]

    def read_bytes(self) -> bytes:
        return self._drawn()[0]

    def _drawn(self) -> tuple[bytes, list[Laid], list[Stamp]]:
        """The picture as JPEG, its digits with their inks, and what lies above them."""
        generator, (laid, occluders) = self.generator(PIXELS), self.places()
        canvas = background(generator, self.layout.height, self.layout.width, self.split)
        inked = list[Laid]()
        for one in laid:
            taken = [other.digit.ink for other in inked if one.stamp.touches(other.stamp)]
            inked.append(draw(generator, canvas, one, self.layout.least_contrast, taken))
        for occluder in occluders:
            occlude(generator, canvas, occluder, self.split)
        canvas *= Light.drawn(generator, self.layout.height, self.layout.width).field
        camera = Camera.drawn(generator, min(self.layout.height, self.layout.width))
        return camera.encoded(camera.picture(generator, canvas)), inked, occluders

    @property
    def about_bytes(self) -> int:
        return about_bytes(self.layout)


def about_bytes(layout: Layout) -> int:
    """The size that a JPEG of a scene mostly has."""
    return layout.height * layout.width // 3


def regions(digits: Sequence[Seen], layout: Layout) -> np.ndarray:
    """The class of every pixel, uint8 [h, w]: 0 for the background, else the digit plus 1."""
    mask = np.zeros((layout.height, layout.width), np.uint8)
    for one in digits:
        mask[one.mask] = one.digit.glyph.label + 1
    return mask


# ------------------------------------------------------------------------------------------------- places


class Laid(NamedTuple):
    """A digit at its place, and its strokes there."""

    digit: Digit
    stamp: Stamp


class Owners:
    """Whose pixels are whose: digits by their number from 1, what lies above them as NOBODY.

    Args:
        layout: gives the picture's size.
    """

    def __init__(self, layout: Layout):
        self.map = np.zeros((layout.height, layout.width), np.uint8)
        self._areas = [0]
        self._seen = [0]

    def put(self, stamp: Stamp, number: int) -> None:
        """Lays something over what is there."""
        rows, columns, alpha = stamp.within(*self.map.shape)
        covered = alpha > OWN
        lost = np.bincount(self.map[rows, columns][covered], minlength=len(self._seen))
        self._seen = [seen - gone for seen, gone in zip(self._seen, lost.tolist(), strict=True)]
        self._seen[number] += int(np.count_nonzero(covered))
        self.map[rows, columns][covered] = number

    def add(self, stamp: Stamp) -> None:
        """Lays the next digit over what is there."""
        self._areas.append(stamp.area)
        self._seen.append(0)
        self.put(stamp, len(self._seen) - 1)

    def visible(self) -> list[float]:
        """The share of each digit that is seen."""
        return [seen / max(area, 1) for seen, area in zip(self._seen[1:], self._areas[1:], strict=True)]

    def fits(self, stamp: Stamp, most_hidden: float, *, digit: bool) -> bool:
        """Whether all digits stay visible enough if this is laid over them; it is taken if so."""
        before = self.map.copy(), list(self._areas), list(self._seen)
        if digit:
            self.add(stamp)
        else:
            self.put(stamp, NOBODY)
        if all(share >= 1.0 - most_hidden for share in self.visible()):
            return True
        self.map, self._areas, self._seen = before
        return False


def laid_out(generator: Generator, layout: Layout, split: str) -> tuple[list[Laid], list[Stamp]]:
    """Digits from the back to the front, and what lies above them; no digit is hidden further than allowed."""
    owners, laid = Owners(layout), list[Laid]()
    for _ in range(int(generator.integers(layout.digits[0], layout.digits[1] + 1))):
        digit = Digit.drawn(generator, split, height_of(generator, layout))
        stamp = digit.stamp()
        for _ in range(TRIES):
            x, y = _place(generator, [one.digit for one in laid], digit, layout)
            placed = stamp.moved(x, y)
            if owners.fits(placed, layout.most_hidden, digit=True):
                laid.append(Laid(digit.at(digit.x + x, digit.y + y), placed))
                break
    digits = [one.digit for one in laid]
    number = int(generator.integers(0, MOST_OCCLUDERS + 1))
    candidates = [occluder_stamp(generator, layout, digits) for _ in range(number)]
    return laid, [one for one in candidates if owners.fits(one, layout.most_hidden, digit=False)]


def height_of(generator: Generator, layout: Layout) -> float:
    """Every factor between the limits is equally likely."""
    least, largest = np.log(layout.scale)
    return float(np.exp(generator.uniform(least, largest))) * min(layout.height, layout.width)


def _place(generator: Generator, others: Sequence[Digit], digit: Digit, layout: Layout) -> tuple[int, int]:
    """The middle of a digit, in whole pixels: anywhere, up to a quarter of its height beyond the edge; or close to
    another."""
    inset = digit.height * 0.25
    limits = np.array([layout.width - inset, layout.height - inset])
    place = generator.uniform(inset, limits)
    if others and generator.random() < NEAR:
        other = others[int(generator.integers(len(others)))]
        angle, reach = generator.uniform(0, 2 * np.pi), generator.uniform(0.5, 0.9) * (digit.height + other.height) / 2
        near = other.x + reach * np.cos(angle), other.y + reach * np.sin(angle)
        place = np.array(near) if inset <= min(near) and (np.array(near) <= limits).all() else place
    return int(place[0]), int(place[1])


def occluder_stamp(generator: Generator, layout: Layout, digits: Sequence[Digit]) -> Stamp:
    """A bar, an ellipse or a quadrangle, mostly at the side of a digit."""
    side = min(layout.height, layout.width)
    x, y = generator.uniform(0, (layout.width, layout.height))
    if digits and generator.random() < 0.7:
        near = digits[int(generator.integers(len(digits)))]
        angle, reach = generator.uniform(0, 2 * np.pi), 0.6 * near.height
        x, y = near.x + reach * np.cos(angle), near.y + reach * np.sin(angle)
    long, short = generator.uniform(0.1, 0.5) * side, generator.uniform(0.04, 0.16) * side
    half = int(np.ceil(np.hypot(long, short) / 2)) + 2
    canvas = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
    angle = generator.uniform(0, 180)
    if generator.random() < 0.4:
        cv2.ellipse(canvas, (half, half), (int(long / 2), int(short / 2) + 1), angle, 0, 360, 255, -1, cv2.LINE_AA)
    else:
        corners = cv2.boxPoints(((half, half), (long, short), angle)) + generator.uniform(-0.1, 0.1, (4, 2)) * short
        cv2.fillConvexPoly(canvas, np.rint(corners).astype(np.int32), 255, cv2.LINE_AA)
    return Stamp(int(x) - half, int(y) - half, canvas.astype(np.float32) / 255)


def seen(laid: Sequence[Laid], occluders: Sequence[Stamp], layout: Layout) -> list[Seen | None]:
    """What is seen of every digit; None where nothing is."""
    owners = Owners(layout)
    for one in laid:
        owners.add(one.stamp)
    for occluder in occluders:
        owners.put(occluder, NOBODY)
    shares = enumerate(zip(laid, owners.visible(), strict=True), 1)
    return [_seen(one.digit, owners.map == number, share) for number, (one, share) in shares]


def _seen(digit: Digit, mask: np.ndarray, visible: float) -> Seen | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    box = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    return Seen(digit, mask, box, visible)


# ------------------------------------------------------------------------------------------------- pixels


def draw(
    generator: Generator, canvas: np.ndarray, laid: Laid, least_contrast: float, taken: Collection[str] = ()
) -> Laid:
    """Draws a digit on float32 [h, w, 3] in a colour that can be read there, at times with a rim; gives it inked.

    Args:
        taken: inks of the digits that it touches. Where no other can be read, a rim keeps the two apart: without it
            nobody could tell where one ends.
    """
    rows, columns, alpha = laid.stamp.within(*canvas.shape[:2])
    part = canvas[rows, columns]
    digit = laid.digit.inked(generator, ground_of(canvas, laid.stamp)[np.newaxis], least_contrast, taken)
    if generator.random() < HALO or digit.ink in taken:
        draw_rim(part, digit, laid.stamp, canvas.shape[:2])
    paint(part, digit, alpha)
    return Laid(digit, laid.stamp)


def ground_of(canvas: np.ndarray, stamp: Stamp) -> np.ndarray:
    """The mean colour, float32 [3], of what a stamp lies on."""
    rows, columns, alpha = stamp.within(*canvas.shape[:2])
    part = canvas[rows, columns]
    below = part[alpha > OWN]
    mean: np.ndarray = below.mean(axis=0) if len(below) else part.mean(axis=(0, 1))
    return mean


def draw_rim(part: np.ndarray, digit: Digit, stamp: Stamp, size: tuple[int, int]) -> None:
    """A soft rim of the opposite brightness, as of a sticker."""
    wide = cv2.GaussianBlur(cv2.dilate(stamp.alpha, np.ones((3, 3), np.uint8)), (0, 0), 0.8)
    rim = Stamp(stamp.left, stamp.top, wide).within(*size)[2]
    bright = np.float32(1.0 if float(digit.shade @ LUMINANCE) < 0.5 else 0.0)
    part += np.float32(RIM) * rim[..., np.newaxis] * (bright - part)


def paint(part: np.ndarray, digit: Digit, alpha: np.ndarray) -> None:
    """The ink of a digit over what is there."""
    part += np.float32(digit.opacity) * alpha[..., np.newaxis] * (digit.shade - part)


def occlude(generator: Generator, canvas: np.ndarray, stamp: Stamp, split: str) -> None:
    """Draws something with a texture of its own over everything."""
    height, width = stamp.alpha.shape
    texture = TEXTURES[generator.integers(len(TEXTURES))](generator, height, width, split)
    rows, columns, alpha = stamp.within(*canvas.shape[:2])
    top, left = rows.start - stamp.top, columns.start - stamp.left
    inner = texture[top : top + alpha.shape[0], left : left + alpha.shape[1]]
    part = canvas[rows, columns]
    part += alpha[..., np.newaxis] * (np.clip(inner, 0, 1).astype(np.float32) - part)
