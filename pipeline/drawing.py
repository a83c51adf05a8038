"""Pictures with what is known of them drawn on: boxes, corners, key points, masks, captions, contact sheets.

Whatever fields an Example holds are drawn; nothing here knows the task.
"""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.example import (
    BOXES,
    CLASSES,
    CORNERS,
    CROWD,
    DIFFICULT,
    IGNORED,
    IMAGE,
    LABEL,
    LABEL_PARTS,
    LABEL_SHARES,
    LABELS,
    MASK,
    MASKS,
    NO_OBJECT,
    POINTS,
    TEXT,
    VALUE,
    DataInfo,
)

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178),
)  # fmt: skip
"""Told apart by everyone (Okabe and Ito, 2008); class number n has colour n, from the start again after the last."""
IGNORED_COLOUR = (0, 0, 0)
SCORES = "scores"
"""How sure a model is of each object, beside its `boxes` and `classes`."""
MARKS = {DIFFICULT: "*", CROWD: "+"}
TINT = 0.45
"""How much of a mask's colour is mixed into the picture."""
CAPTION_HEIGHT = 28
"""Of a line of text below a picture, in pixels."""
CHEQUER, CHEQUERED = 4, (200, 235)
"""Side of the squares that stand for missing pixels, and their two brightnesses."""
HALF_KNOWN = 128
"""Pixels of which less than this is known are drawn as missing."""
LEAST_SHARE = 0.005
"""Shares below this are not named."""
FONT = Path("mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
"""Comes with matplotlib; knows the letters of most languages written from left to right."""

Values = Mapping[str, Any]
"""One example without a batch axis, as numpy arrays."""


@dataclass(frozen=True)
class Names:
    """What the numbers in an example stand for.

    Args:
        classes: of `label`, `labels`, `classes` and `mask`.
        values: of `value`.
    """

    classes: Sequence[str] = ()
    values: Sequence[str] = ()

    @classmethod
    def of(cls, info: DataInfo) -> Names:
        """Those of a store."""
        return cls(info.class_names, info.value_names)

    def of_class(self, number: int) -> str:
        """The name of a class, or what to say where there is none."""
        return self.classes[number] if 0 <= number < len(self.classes) else "?" if number < 0 else str(number)


# ------------------------------------------------------------------------------------------------- one picture


def drawn(example: Values, names: Names, least_width: int = 0) -> Image.Image:
    """The picture of an example, uint8 [H,W,C], with its objects and masks.

    Args:
        least_width: in pixels; a narrower picture is enlarged by a whole factor.
    """
    picture = enlarged(_tinted(_in_colour(example[IMAGE]), example), least_width)
    if CLASSES in example:
        _draw_objects(picture, example, names)
    return picture


def _in_colour(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H,W,C] -> uint8 [H,W,3]; what is missing, where a last channel says so, as a chequered ground."""
    colours = {1: 1, 2: 1, 3: 3, 4: 3}[pixels.shape[-1]]
    shown = np.repeat(pixels[..., :colours], 3 // colours, axis=-1)
    if colours == pixels.shape[-1]:
        return shown
    squares = (np.indices(pixels.shape[:2]) // CHEQUER).sum(axis=0) % 2
    ground = np.where(squares, *CHEQUERED).astype(np.uint8)[..., np.newaxis]
    return np.where(pixels[..., -1:] < HALF_KNOWN, ground, shown)


def enlarged(pixels: np.ndarray, least_width: int) -> Image.Image:
    """Pixels uint8 [H,W,3] as a picture, every one as a square of pixels where the picture would be too narrow."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    factor = max(1, -(-least_width // picture.width))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _tinted(pixels: np.ndarray, example: Values) -> np.ndarray:
    """The pixels with the colours of `mask` and `masks` mixed in."""
    result = pixels.astype(np.float32)
    if MASK in example:
        table = np.array([_colour(number) for number in range(IGNORED)] + [IGNORED_COLOUR], np.float32)
        result += TINT * (table[example[MASK][..., 0]] - result)
    for number, mask in zip(example.get(CLASSES, ()), example.get(MASKS, ()), strict=False):
        if number != NO_OBJECT:
            result[mask > 0] += TINT * (np.array(_colour(number), np.float32) - result[mask > 0])
    return np.rint(result).astype(np.uint8)


def _draw_objects(picture: Image.Image, example: Values, names: Names) -> None:
    from PIL import ImageDraw

    draw, line = ImageDraw.Draw(picture), max(1, picture.width // 120)
    size = np.array(picture.size, np.float32)
    there = np.flatnonzero(example[CLASSES] != NO_OBJECT).tolist()
    for index in there:
        colour = _colour(example[CLASSES][index])
        if BOXES in example:
            low, high = (example[BOXES][index].reshape(2, 2) * size).tolist()
            draw.rectangle((*low, max(high[0] - 1, low[0]), max(high[1] - 1, low[1])), outline=colour, width=line)
        if CORNERS in example:
            ring = [tuple(corner) for corner in (example[CORNERS][index] * size).tolist()]
            draw.line([*ring, ring[0]], fill=colour, width=line)
        _draw_points(draw, example, index, size, line)
    for index in there:  # names last, so that no box hides them
        if BOXES in example:
            _draw_name(draw, picture, _object_name(example, index, names), example[BOXES][index] * np.tile(size, 2))


def _draw_points(draw: ImageDraw.ImageDraw, example: Values, index: int, size: np.ndarray, line: int) -> None:
    """Key points: a disc where visible, a ring where hidden."""
    colour = _colour(example[CLASSES][index])
    for x, y, visibility in example.get(POINTS, {index: ()})[index]:
        place, radius = np.array([x, y]) * size, 2 * line
        if visibility > 0:
            around = (*(place - radius).tolist(), *(place + radius).tolist())
            draw.ellipse(around, fill=colour if visibility > 1 else None, outline=colour, width=line)


def _object_name(example: Values, index: int, names: Names) -> str:
    """The class, with `*` where the object is difficult and `+` where it stands for many; with how sure it is, where a
    model found it."""
    marks = [mark for name, mark in MARKS.items() if name in example and example[name][index]]
    score = f" {example[SCORES][index]:.2f}" if SCORES in example else ""
    return names.of_class(int(example[CLASSES][index])) + "".join(marks) + score


def _draw_name(draw: ImageDraw.ImageDraw, picture: Image.Image, name: str, box: np.ndarray) -> None:
    """A name on a dark ground at the top left of a box, inside the picture."""
    letters = font(max(9, picture.width // 14))
    name = _shortened(name, letters, picture.width // 2, False)
    _, _, width, height = draw.textbbox((0, 0), name, font=letters)
    x = min(max(0.0, float(box[0])), max(0.0, picture.width - width - 4.0))
    y = float(box[1]) - height - 2 if box[1] > height + 2 else min(float(box[1]), picture.height - height - 2.0)
    draw.rectangle((x, y, x + width + 3, y + height + 1), fill=(32, 32, 32))
    draw.text((x + 2, y), name, fill="white", font=letters)


def _colour(number: int) -> tuple[int, int, int]:
    return COLOURS[int(number) % len(COLOURS)]


# ------------------------------------------------------------------------------------------------- in words


def captions(example: Values, names: Names) -> list[str]:
    """What an example says of its whole picture, one line for each of its fields: labels, values, text."""
    lines = []
    if LABEL_PARTS in example:
        lines.append(_parts(example[LABEL_PARTS], example[LABEL_SHARES], names))
    elif LABEL in example:
        lines.append(names.of_class(int(example[LABEL])))
    if LABELS in example:
        lines.append(_several(example[LABELS], names))
    if VALUE in example:
        known = zip(names.values, example[VALUE].tolist(), strict=False)
        lines.append(", ".join(f"{name} {'?' if np.isnan(value) else f'{value:.4g}'}" for name, value in known))
    if example.get(TEXT):
        lines.append(f"“{example[TEXT].decode('utf-8', 'replace')}”")
    return lines


def _parts(parts: np.ndarray, shares: np.ndarray, names: Names) -> str:
    """Such as `rose: 70%, daisy: 30%`, the largest share first; a name alone where it has all of it."""
    total: dict[int, float] = {}
    for part, share in zip(parts.tolist(), shares.tolist(), strict=True):
        total[part] = total.get(part, 0.0) + share
    seen = sorted(((share, part) for part, share in total.items() if share >= LEAST_SHARE), reverse=True)
    if len(seen) == 1:
        return names.of_class(seen[0][1])
    return ", ".join(f"{names.of_class(part)}: {share:.0%}" for share, part in seen)


def _several(labels: np.ndarray, names: Names) -> str:
    """The classes that are there, with their shares after mixing, and how many are not known."""
    there = [
        f"{names.of_class(number)}: {share:.0%}" if share < 1.0 - LEAST_SHARE else names.of_class(number)
        for number, share in enumerate(labels.tolist())
        if share >= LEAST_SHARE
    ]
    unknown = int(np.isnan(labels).sum())
    return ", ".join([*there, *([f"{unknown} not known"] if unknown else [])]) or "none"


# ------------------------------------------------------------------------------------------------- text and sheets


@functools.lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Letters of so many pixels: DejaVu Sans, or Pillow's own where matplotlib is not there."""
    from PIL import ImageFont

    package = importlib.util.find_spec("matplotlib")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (Path(folder) / FONT).is_file():
            return ImageFont.truetype(str(Path(folder) / FONT), size)
    return ImageFont.load_default(size=size)


def wrapped(text: str, letters: Any, width: int, most: int) -> list[str]:
    """A text in at most so many lines of so many pixels; what is too long is cut off with an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and letters.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    cut = len(lines) > most
    return [_shortened(line, letters, width, cut and number == most - 1) for number, line in enumerate(lines[:most])]


def _shortened(line: str, letters: Any, width: int, cut: bool) -> str:
    if not cut and letters.getlength(line) <= width:
        return line
    while line and letters.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


def with_caption(picture: Image.Image, text: str) -> Image.Image:
    """A picture with a line of text below it, white on black."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (picture.width, picture.height + CAPTION_HEIGHT), "black")
    canvas.paste(picture)
    letters = font(CAPTION_HEIGHT // 2)
    line = _shortened(text, letters, picture.width - 16, False)
    ImageDraw.Draw(canvas).text((8, picture.height + CAPTION_HEIGHT // 5), line, fill="white", font=letters)
    return canvas


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one height with a white line between them."""
    from PIL import Image

    line = max(2, left.width // 40)
    canvas = Image.new("RGB", (left.width + line + right.width, left.height), "white")
    canvas.paste(left)
    canvas.paste(right, (left.width + line, 0))
    return canvas


@dataclass(frozen=True)
class Cell:
    """One picture of a contact sheet.

    Args:
        picture: all of a sheet have the same size.
        lines: what stands below it.
    """

    picture: Image.Image
    lines: Sequence[str]


def sheet(headings: Sequence[str], rows: Sequence[Sequence[Cell]], most_lines: int = 3) -> Image.Image:
    """Pictures in rows under headings, each with its caption below it.

    Letters are as large as a 36th of the sheet's width, so that they can be read where the sheet is as wide as a phone.
    """
    from PIL import Image, ImageDraw

    width, height = rows[0][0].picture.size
    gap = max(4, width // 24)
    across = gap + len(headings) * (width + gap)
    letters = font(max(9, across // 36))
    line_height = round(sum(letters.getmetrics()) * 1.05)
    texts = [[_below(cell, letters, width, most_lines) for cell in row] for row in rows]
    heights = [height + gap + line_height * max(map(len, row)) + gap for row in texts]
    canvas = Image.new("RGB", (across, line_height + 2 * gap + sum(heights)), "white")
    draw = ImageDraw.Draw(canvas)
    places = [gap + column * (width + gap) for column in range(len(headings))]
    for x, heading in zip(places, headings, strict=True):
        draw.text((x, gap), heading, fill=(90, 90, 90), font=letters)
    top = line_height + 2 * gap
    for row, row_texts, row_height in zip(rows, texts, heights, strict=True):
        for x, cell, lines in zip(places, row, row_texts, strict=True):
            canvas.paste(cell.picture, (x, top))
            draw.text((x, top + height + gap // 4), "\n".join(lines), fill="black", font=letters)
        top += row_height
    return canvas


def _below(cell: Cell, letters: Any, width: int, most: int) -> list[str]:
    return [line for text in cell.lines for line in wrapped(text, letters, width, most)][: 2 * most]


def png(picture: Image.Image) -> bytes:
    """The picture's PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()
