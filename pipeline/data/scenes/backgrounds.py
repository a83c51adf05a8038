"""What lies behind the digits: procedural textures and pieces of photographs, and strewn over them what looks like
writing but is none.

h, w = height and width; colours and textures are float32, 0..1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from pipeline.data.example import TEST, TRAIN, VALIDATION

Generator = np.random.Generator
Texture = Callable[[Generator, int, int, str], np.ndarray]

OCTAVES = (3, 6, 12, 24, 48)
"""Cells along a side of the layers that a cloud is made of."""
PARTS = {TRAIN: (0.0, 0.6), VALIDATION: (0.6, 0.8), TEST: (0.8, 1.0)}
"""Of each photograph's width, what the scenes of a split show."""
LETTERS = "ACEFHJKLMNPRTUVXYadefhkmnrtuvwxy"
"""Without those that may be read as digits."""
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)


def background(generator: Generator, height: int, width: int, split: str) -> np.ndarray:
    """A texture with clutter on it, float32 [h, w, 3]."""
    texture = TEXTURES[generator.integers(len(TEXTURES))](generator, height, width, split)
    return _with_clutter(generator, np.clip(texture, 0.0, 1.0))


def colour(generator: Generator) -> np.ndarray:
    """Any colour, mostly muted: float32 [3]."""
    grey, tint = generator.uniform(0.1, 0.9), generator.normal(0.0, 0.16, 3)
    return np.clip(grey + tint - tint.mean(), 0.03, 0.97).astype(np.float32)


def noise(generator: Generator, height: int, width: int, across: int, down: int) -> np.ndarray:
    """Smooth noise with so many cells: float32 [h, w], 0..1."""
    cells = generator.random((down + 1, across + 1), np.float32)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)


def clouds(generator: Generator, height: int, width: int, split: str) -> np.ndarray:
    """Noise at several scales between two or three colours."""
    roughness = generator.uniform(0.45, 0.85)
    field = np.zeros((height, width), np.float32)
    for place, cells in enumerate(OCTAVES):
        field += np.float32(roughness**place) * (noise(generator, height, width, cells, cells) - 0.5)
    shares = np.float32(0.5) + field * np.float32(0.5 / (2.2 * field.std() + 1e-6))
    return _between(shares, [colour(generator) for _ in range(3)])


def stripes(generator: Generator, height: int, width: int, split: str) -> np.ndarray:
    """A grating, bent by noise, with soft or hard edges."""
    along = _turned_axis(generator, height, width)
    period = generator.uniform(6.0, 40.0)
    bent = along + (noise(generator, height, width, 4, 4) - 0.5) * np.float32(generator.uniform(0.0, 30.0))
    wave = np.sin(bent * np.float32(2 * np.pi / period)) * np.float32(generator.uniform(0.6, 6.0))
    return _mixed(generator, np.clip(0.5 + 0.5 * wave, 0.0, 1.0), generator.uniform(0.25, 0.9))


def tiles(generator: Generator, height: int, width: int, split: str) -> np.ndarray:
    """Rectangles in rows, each a little different, with joints between them."""
    size = generator.uniform(10.0, 44.0)
    across, down = _turned_axes(generator, height, width)
    rows = np.floor(down / np.float32(size * generator.uniform(0.4, 1.0)))
    shifted = across / np.float32(size) + 0.5 * (rows % 2) * generator.integers(2)
    columns = np.floor(shifted)
    shade = generator.random((64, 64), np.float32)[rows.astype(np.int64) % 64, columns.astype(np.int64) % 64]
    joint = (shifted - columns < generator.uniform(0.02, 0.12)).astype(np.float32)
    base = _mixed(generator, shade, generator.uniform(0.15, 0.7))
    return base + joint[..., np.newaxis] * (colour(generator) - base)


def fibres(generator: Generator, height: int, width: int, split: str) -> np.ndarray:
    """Noise drawn out in one direction, as of wood, cloth or paper."""
    side = int(np.hypot(height, width)) + 1
    cells = int(generator.integers(2, 6)), int(generator.integers(side // 8 + 1, side // 2 + 2))
    long = noise(generator, side, side, *cells)
    shift = np.array([[0, 0, width - side], [0, 0, height - side]]) / 2
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), generator.uniform(0, 180), 1.0) + shift
    field = cv2.warpAffine(long, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return _mixed(generator, field, generator.uniform(0.2, 0.8))


def pebbles(generator: Generator, height: int, width: int, split: str) -> np.ndarray:
    """Many filled ellipses over each other, as of leaves or gravel."""
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = _bytes(colour(generator))
    least, largest = generator.uniform(2.0, 8.0), generator.uniform(8.0, 26.0)
    palette = [colour(generator) for _ in range(4)]
    count = int(generator.integers(30, 90))
    centres = generator.integers(0, (width, height), (count, 2)).tolist()
    axes = np.maximum(generator.uniform(least, largest, (count, 2)), 1).astype(int).tolist()
    angles = generator.uniform(0, 180, count).tolist()
    shades = np.array(palette)[generator.integers(4, size=count)] * generator.uniform(0.7, 1.25, (count, 1))
    for centre, half, angle, shade in zip(centres, axes, angles, np.minimum(shades * 255, 255).tolist(), strict=True):
        cv2.ellipse(canvas, centre, half, angle, 0, 360, shade, cv2.FILLED, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def photograph(generator: Generator, height: int, width: int, split: str) -> np.ndarray:
    """A piece of one of scikit-learn's sample photographs, as it is or mirrored, and in other colours."""
    photos = _photographs()
    photo = photos[generator.integers(len(photos))]
    left_edge, right_edge = (int(share * photo.shape[1]) for share in PARTS[split])
    part = photo[:, left_edge:right_edge]
    side = int(generator.uniform(0.35, 1.0) * min(part.shape[:2]))
    top, left = (int(generator.integers(0, extent - side + 1)) for extent in part.shape[:2])
    piece = cv2.resize(part[top : top + side, left : left + side], (width, height), interpolation=cv2.INTER_AREA)
    mirrored = piece[:, ::-1] if generator.random() < 0.5 else piece
    return mirrored[..., generator.permutation(3)].astype(np.float32) / 255


TEXTURES: tuple[Texture, ...] = (clouds, stripes, tiles, fibres, pebbles, photograph, photograph)


@functools.lru_cache(maxsize=1)
def _photographs() -> tuple[np.ndarray, ...]:
    from sklearn.datasets import load_sample_images

    return tuple(load_sample_images().images)


def _turned_axes(generator: Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in pixels along two turned axes, float32 [h, w] each."""
    angle = generator.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    down, across = np.indices((height, width), np.float32)
    return cos * across + sin * down, cos * down - sin * across


def _turned_axis(generator: Generator, height: int, width: int) -> np.ndarray:
    return _turned_axes(generator, height, width)[0]


def _mixed(generator: Generator, field: np.ndarray, contrast: float) -> np.ndarray:
    """A field 0..1 as a mixture of two colours, the second moved towards the first by what contrast leaves."""
    first, second = colour(generator), colour(generator)
    return _between(field, [first, first + (second - first) * np.float32(contrast)])


def _between(field: np.ndarray, colours: list[np.ndarray]) -> np.ndarray:
    """Colours that follow each other as a field, float32 [h, w], goes from 0 to 1; by a table of 256 steps."""
    steps = np.linspace(0, len(colours) - 1, 256, dtype=np.float32)
    table = np.stack([np.interp(steps, range(len(colours)), column) for column in np.array(colours).T], axis=1)
    places = np.clip(field * np.float32(255), 0, 255).astype(np.uint8)
    return np.take(table.astype(np.float32), places, axis=0)


def _with_clutter(generator: Generator, texture: np.ndarray) -> np.ndarray:
    """Lines, arcs, crosses, dots and letters over a texture."""
    canvas = np.ascontiguousarray(texture * 255, dtype=np.uint8)
    for _ in range(int(generator.integers(0, 14))):
        draw = CLUTTER[generator.integers(len(CLUTTER))]
        draw(generator, canvas, min(canvas.shape[:2]))
    return canvas.astype(np.float32) / 255


def _bytes(shade: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = np.clip(shade * 255, 0, 255).tolist()
    return red, green, blue


def _somewhere(generator: Generator, canvas: np.ndarray) -> np.ndarray:
    return generator.integers(0, (canvas.shape[1], canvas.shape[0]))


def _thickness(generator: Generator, side: int) -> int:
    return int(generator.integers(1, max(2, side // 40) + 1))


def _ellipse(
    canvas: np.ndarray,
    centre: np.ndarray,
    axes: np.ndarray,
    angle: float,
    shade: np.ndarray,
    thickness: int,
    arc: tuple[float, float] = (0.0, 360.0),
) -> None:
    half = np.maximum(axes, 1).astype(int).tolist()
    cv2.ellipse(canvas, centre.tolist(), half, angle, *arc, _bytes(shade), thickness, cv2.LINE_AA)


def _line(generator: Generator, canvas: np.ndarray, side: int) -> None:
    """Long, so that it is no 1."""
    start, angle = _somewhere(generator, canvas), generator.uniform(0, 2 * np.pi)
    reach = generator.uniform(0.5, 1.2) * side
    end = start + (reach * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    cv2.line(canvas, start.tolist(), end.tolist(), _bytes(colour(generator)), _thickness(generator, side), cv2.LINE_AA)


def _arc(generator: Generator, canvas: np.ndarray, side: int) -> None:
    """A part of an ellipse that is too flat or too large for a digit's bow."""
    axes = generator.uniform(0.15, 0.6) * side * np.array([1.0, generator.uniform(0.15, 0.5)])
    first = generator.uniform(0, 360)
    reach = (first, first + generator.uniform(40, 150))
    shade, angle = colour(generator), generator.uniform(0, 180)
    _ellipse(canvas, _somewhere(generator, canvas), axes, angle, shade, _thickness(generator, side), reach)


def _cross(generator: Generator, canvas: np.ndarray, side: int) -> None:
    """A plus, a star or a tilted cross."""
    markers = (cv2.MARKER_CROSS, cv2.MARKER_TILTED_CROSS, cv2.MARKER_STAR, cv2.MARKER_DIAMOND)
    size = int(generator.uniform(0.05, 0.2) * side)
    marker, shade = markers[generator.integers(len(markers))], _bytes(colour(generator))
    where = _somewhere(generator, canvas).tolist()
    cv2.drawMarker(canvas, where, shade, marker, size, _thickness(generator, side), cv2.LINE_AA)


def _blot(generator: Generator, canvas: np.ndarray, side: int) -> None:
    """A filled spot."""
    axes = generator.uniform(0.01, 0.08, 2) * side
    shade, angle = colour(generator), generator.uniform(0, 180)
    _ellipse(canvas, _somewhere(generator, canvas), axes, angle, shade, cv2.FILLED)


def _zigzag(generator: Generator, canvas: np.ndarray, side: int) -> None:
    """Four to seven corners, one after the other in one direction."""
    count, step = int(generator.integers(4, 8)), generator.uniform(0.04, 0.1) * side
    along = np.arange(count) * step
    across = np.where(np.arange(count) % 2, step, -step) * generator.uniform(0.4, 1.0)
    angle = generator.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = (_somewhere(generator, canvas) + np.stack([along, across], 1) @ turn).astype(np.int32)
    cv2.polylines(canvas, [corners], False, _bytes(colour(generator)), _thickness(generator, side), cv2.LINE_AA)


def _letter(generator: Generator, canvas: np.ndarray, side: int) -> None:
    """Print, so that there is something beside digits to be told from them."""
    letter, font = LETTERS[generator.integers(len(LETTERS))], FONTS[generator.integers(len(FONTS))]
    scale = generator.uniform(0.08, 0.25) * side / 22
    where = _somewhere(generator, canvas).tolist()
    shade = _bytes(colour(generator))
    cv2.putText(canvas, letter, where, font, scale, shade, _thickness(generator, side), cv2.LINE_AA)


CLUTTER: tuple[Callable[[Generator, np.ndarray, int], None], ...] = (_line, _arc, _cross, _blot, _zigzag, _letter)
