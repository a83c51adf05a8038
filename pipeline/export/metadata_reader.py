"""Reading the metadata of a `.tflite` as a client does: how its picture wants to be prepared."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.preprocess import KNOWN, LETTERBOX_GREY, MISSING
from pipeline.compress import flatbuffer
from pipeline.errors import ExportError
from pipeline.export.metadata import GRAYSCALE, METADATA_NAME, RGB

MODES = {RGB: "RGB", GRAYSCALE: "L"}
"""Colours in the metadata -> Pillow's name of them."""
WITH_KNOWN = ("RGBA", "LA")


class TableReader:
    """One table of a flatbuffer, read by slot numbers of the schema, without generated code."""

    def __init__(self, data: bytes, position: int | None = None):
        from flatbuffers.table import Table

        self._data = data
        self._table = Table(bytearray(data), int.from_bytes(data[:4], "little") if position is None else position)

    def text(self, slot: int) -> str:
        """A string."""
        return str(self._table.String(self._place(slot)).decode())

    def byte(self, slot: int) -> int:
        """An enumeration's value or a union's type."""
        return int.from_bytes(self._data[self._place(slot) :][:1], "little")

    def unsigned(self, slot: int) -> int:
        """A 32-bit unsigned number."""
        return int.from_bytes(self._data[self._place(slot) :][:4], "little")

    def real(self, slot: int) -> float:
        """A 32-bit float; 0 where it is left out, as the format has it."""
        return float(np.frombuffer(self._data, "<f4", 1, self._place(slot))[0]) if self._is_there(slot) else 0.0

    def table(self, slot: int) -> TableReader:
        """A table in a table."""
        return TableReader(self._data, self._table.Indirect(self._place(slot)))

    def tables(self, slot: int) -> list[TableReader]:
        """A vector of tables; empty where it is left out."""
        start, length = self._vector(slot) if self._is_there(slot) else (0, 0)
        return [TableReader(self._data, self._table.Indirect(start + 4 * index)) for index in range(length)]

    def floats(self, slot: int) -> list[float]:
        """A vector of 32-bit floats."""
        start, length = self._vector(slot)
        return [float(value) for value in np.frombuffer(self._data, "<f4", length, start)]

    def data(self, slot: int) -> bytes:
        """A vector of bytes."""
        start, length = self._vector(slot)
        return self._data[start : start + length]

    def _is_there(self, slot: int) -> bool:
        return int(self._table.Offset(4 + 2 * slot)) != 0

    def _place(self, slot: int) -> int:
        return int(self._table.Offset(4 + 2 * slot) + self._table.Pos)

    def _vector(self, slot: int) -> tuple[int, int]:
        offset = self._table.Offset(4 + 2 * slot)
        return int(self._table.Vector(offset)), int(self._table.VectorLen(offset))


@dataclass(frozen=True)
class Preparation:
    """How the metadata wants a picture.

    Args:
        height, width: in pixels.
        mode: Pillow's name of the channels: `RGB` or `L`; `RGBA` or `LA` where the last says which pixels are known.
        mean, std: the network takes (pixel - mean) / std of pixels 0..255, unless its input is quantized.
    """

    height: int
    width: int
    mode: str
    mean: float
    std: float


def read_metadata(model: bytes) -> TableReader:
    """The ModelMetadata of a `.tflite` file's content; ExportError where it has none."""
    tree = flatbuffer.unpack(model)
    places = {entry.name: entry.buffer for entry in tree.metadata or []}
    if METADATA_NAME not in places:
        raise ExportError("The .tflite file holds no metadata; `convoy export` writes files that do.")
    return TableReader(bytes(tree.buffers[places[METADATA_NAME]].data))


def read_preparation(model: bytes) -> Preparation:
    """What the metadata says of the input picture."""
    image = read_metadata(model).tables(3)[0].tables(2)[0]
    properties = image.table(3).table(1)
    normalisation = image.tables(4)[0].table(1)
    return Preparation(
        height=properties.table(1).unsigned(1),
        width=properties.table(1).unsigned(0),
        mode=MODES.get(properties.byte(0)) or _mode_with_known(model),
        mean=normalisation.floats(0)[0],
        std=normalisation.floats(1)[0],
    )


def _mode_with_known(model: bytes) -> str:
    """`RGBA` or `LA`, by the shape of the input; metadata has no words for either."""
    graph = flatbuffer.unpack(model).subgraphs[0]
    return {2: "LA", 4: "RGBA"}[int(graph.tensors[graph.inputs[0]].shape[-1])]


def prepare_picture(data: bytes, preparation: Preparation, fit: str, missing: str = "zero") -> np.ndarray:
    """A client's own way to the pixels, with Pillow and none of the model's code.

    Args:
        data: JPEG or PNG.
        fit: `stretch`, `crop` or `letterbox`; metadata has words for it only.
        missing: what takes the place of transparent pixels: `zero`, `mean` or `kept`; metadata says nothing of it.

    Returns:
        uint8 [H, W, C], 0..255.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        bands = [(opened.convert(preparation.mode), LETTERBOX_GREY)]
    if preparation.mode in WITH_KNOWN:
        bands = _colours_and_known(bands[0][0], missing)
    size = preparation.width, preparation.height
    fitted = [np.asarray(FITS[fit](picture, size, bars)) for picture, bars in bands]
    return np.concatenate([pixels.reshape(preparation.height, preparation.width, -1) for pixels in fitted], axis=-1)


def _colours_and_known(picture: Any, missing: str) -> list[tuple[Any, int]]:
    """A picture with transparency -> its colours and which pixels are known, each with the value of bars beside it."""
    from PIL import Image

    pixels = np.array(picture)
    colours, known = pixels[..., :-1], pixels[..., -1] > 0
    if missing == "mean" and known.any():
        colours[~known] = np.rint(colours[known].mean(axis=0))
    elif missing != "kept":
        colours[~known] = 0
    grey = colours.shape[-1] == 1
    return [
        (Image.fromarray(colours[..., 0] if grey else colours), LETTERBOX_GREY),
        (Image.fromarray(np.where(known, np.uint8(KNOWN), np.uint8(MISSING))), MISSING),
    ]


def _stretch(picture: Any, size: tuple[int, int], bars: int) -> Any:
    from PIL import Image

    return picture.resize(size, Image.Resampling.BILINEAR)


def _crop(picture: Any, size: tuple[int, int], bars: int) -> Any:
    from PIL import Image, ImageOps

    return ImageOps.fit(picture, size, Image.Resampling.BILINEAR)


def _letterbox(picture: Any, size: tuple[int, int], bars: int) -> Any:
    from PIL import Image

    factor = min(room / side for room, side in zip(size, picture.size, strict=True))
    width, height = (max(round(side * factor), 1) for side in picture.size)
    canvas = Image.new(picture.mode, size, (bars,) * len(picture.getbands()))
    canvas.paste(_stretch(picture, (width, height), bars), ((size[0] - width) // 2, (size[1] - height) // 2))
    return canvas


FITS = {"stretch": _stretch, "crop": _crop, "letterbox": _letterbox}
