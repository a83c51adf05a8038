"""Draws docs/scenes.png: python docs/tools/scenes_picture.py

Scenes as the source `scenes` gives them by default, the same with their boxes, more of them with their boxes, and
pictures of one sequence.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.example import BOXES, CLASSES, IMAGE, RawExample, content_of
from pipeline.data.sources import Scenes, SceneSequences
from pipeline.drawing import Names, drawn

FILE = Path(__file__).resolve().parent.parent / "scenes.png"
ACROSS, GAP = 5, 4
FRAMES_BETWEEN = 8
COLOURS = 160


def main() -> None:
    scenes = list(islice(Scenes().examples(), 2 * ACROSS))
    sequence = islice(SceneSequences(train=1).examples(), 0, None, FRAMES_BETWEEN)
    rows = [map(pixels_of, scenes[:ACROSS]), *(map(with_boxes, row) for row in (scenes[:ACROSS], scenes[ACROSS:]))]
    rows.append(map(with_boxes, islice(sequence, ACROSS)))
    sheet([list(row) for row in rows]).quantize(COLOURS, dither=Image.Dither.NONE).save(FILE, "PNG", optimize=True)
    print(f"{FILE.name}  {FILE.stat().st_size} bytes")


def pixels_of(example: RawExample) -> Image.Image:
    return Image.open(io.BytesIO(content_of(example.image))).convert("RGB")


def with_boxes(example: RawExample) -> Image.Image:
    picture, objects = pixels_of(example), example.objects or ()
    boxes = np.array([one.box for one in objects], np.float32).reshape(-1, 4) / np.tile(picture.size, 2)
    classes = np.array([int(one.label) for one in objects], int)
    return drawn({IMAGE: np.asarray(picture), BOXES: boxes, CLASSES: classes}, Names("0123456789"))


def sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Rows of pictures of one size."""
    width, height = (side + GAP for side in rows[0][0].size)
    whole = Image.new("RGB", (width * ACROSS - GAP, height * len(rows) - GAP), "white")
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            whole.paste(picture, (width * across, height * down))
    return whole


if __name__ == "__main__":
    main()
