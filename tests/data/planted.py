"""A source with objects and masks at known places, for the tests of what is stored of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Literal

import numpy as np
from PIL import Image

from pipeline.data.example import RawExample, RawObject
from pipeline.data.prepare import DataSettings
from pipeline.data.sources import DataSource
from pipeline.data.splits import Splits
from tests.data.pictures import encoded, noise

HEIGHT, WIDTH = 24, 40
EXIF_ORIENTATION = 0x0112
QUARTER_TURN = 6  # to be turned by 90 degrees clockwise when it is shown


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def palette_png(pixels: np.ndarray) -> bytes:
    """A mask as Pascal VOC has them: indices of colours."""
    picture = Image.fromarray(pixels, "P")
    picture.putpalette([number * 37 % 256 for number in range(768)])
    return encoded(picture)


def filled(box: tuple[int, int, int, int], value: int = 1) -> np.ndarray:
    x_min, y_min, x_max, y_max = box
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[y_min:y_max, x_min:x_max] = value
    return pixels


def picture(seed: int) -> bytes:
    return encoded(noise(seed, HEIGHT, WIDTH))


def turned(upright: Image.Image) -> bytes:
    """A JPEG whose pixels lie on their side, and whose EXIF says so."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = QUARTER_TURN
    return encoded(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)


class Planted(DataSource):
    """Examples given by a function of this file, so that another process can make them again."""

    kind: Literal["planted"] = "planted"
    what: str

    def check(self) -> None:
        return

    def examples(self) -> Iterator[RawExample]:
        yield from EXAMPLES[self.what]()

    def fingerprint(self) -> str:
        return self.what


class PlantedSettings(DataSettings):
    """DataSettings with a source that no configuration knows."""

    source: Planted
    splits: Splits = Splits(validation=0.25, test=0)


def settings(what: str, **changes: object) -> DataSettings:
    return PlantedSettings(source=Planted(what=what), **changes)


def boxes() -> Iterator[RawExample]:
    """Twelve pictures with 0 to 3 objects; number 5 has only objects that cannot be used."""
    for number in range(12):
        objects = [
            RawObject("ring" if place else "disc", (4 * place, 2, 4 * place + 8, 14), where=f"{number}.xml:{place}")
            for place in range(number % 4)
        ]
        if number == 5:
            bad = [(3, 3, 3, 9), (60, 2, 70, 9), (float("nan"), 0, 4, 4)]
            objects = [RawObject("disc", box, where=f"5.xml:{place}") for place, box in enumerate(bad)]
        yield RawExample(id=f"{number}.png", image=picture(number), objects=objects, where=f"{number}.png")


def everything() -> Iterator[RawExample]:
    """Eight pictures; the first has every optional field, the others have some or none."""
    corners = [(10.0, 2.0), (18.0, 10.0), (10.0, 18.0), (2.0, 10.0)]
    points = [(20.0, 6.0, 2.0), (5.0, 5.0, 0.0), (44.0, 6.0, 2.0)]
    full = [
        RawObject("disc", (-4, -2, 20, 12), points=points, mask=filled((0, 0, 20, 12)), difficult=True),
        RawObject("ring", corners=corners, crowd=True),
        RawObject("ring", mask=palette_png(filled((8, 4, 16, 20), 7))),
    ]
    yield RawExample(id="0.png", image=picture(0), objects=full, mask=palette_png(filled((0, 0, 20, 12), 2)))
    for number in range(1, 8):
        plain = [RawObject("disc", (0, 0, WIDTH, HEIGHT))]
        yield RawExample(id=f"{number}.png", image=picture(number), objects=plain if number % 2 else (), where="x")


def regions() -> Iterator[RawExample]:
    for number in range(8):
        yield RawExample(id=f"{number}", image=picture(number), mask=filled((0, 0, 4 + number, 10), number % 3))


def on_its_side() -> Iterator[RawExample]:
    """Number 0 is a JPEG that EXIF turns; a white square stands at (30, 4, 38, 12) of the picture as it is shown."""
    for number in range(4):
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        pixels[4:12, 30:38] = 255
        shown = Image.fromarray(pixels)
        objects = [RawObject("square", (30, 4, 38, 12), mask=filled((30, 4, 38, 12))), RawObject("all", (0, 0, 40, 24))]
        yield RawExample(id=f"{number}", image=encoded(shown) if number else turned(shown), objects=objects)


EXAMPLES = {"boxes": boxes, "everything": everything, "regions": regions, "on_its_side": on_its_side}
