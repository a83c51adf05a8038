"""TFLite metadata: what a file expects and answers, inside the file, as MediaPipe Tasks and Android's tools read it.

The format is `metadata_schema.fbs` 1.5.0 of google-ai-edge/mediapipe (mediapipe/tasks/metadata): a flatbuffer that is
kept as one more buffer of the model, and label files in a zip archive that is appended to it. `tflite-support`, which
used to write it, does not install beside this TensorFlow.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from models.preprocess import PictureFormat
from pipeline.compress import flatbuffer
from pipeline.export.labels import LABEL_FILE, labels_text
from pipeline.tasks.base import Meaning

METADATA_NAME = b"TFLITE_METADATA"
METADATA_IDENTIFIER = b"M001"
MINIMUM_PARSER_VERSION = "1.0.0"

# Enumerations and union types of the schema.
UNKNOWN, RGB, GRAYSCALE = 0, 1, 2
IMAGE_PROPERTIES, FEATURE_PROPERTIES = 2, 1
NORMALIZATION_OPTIONS, SCORE_THRESHOLDING_OPTIONS = 1, 3
TENSOR_AXIS_LABELS = 2


@dataclass(frozen=True)
class Byte:
    value: int


@dataclass(frozen=True)
class UnsignedInt:
    value: int


@dataclass(frozen=True)
class Float:
    value: float


class Table(dict[int, Any]):
    """A flatbuffer table: slot number in the schema -> text, number, Table, or a list of Tables or floats."""


def write_metadata(model: bytes, metadata: Table, labels: Sequence[str]) -> bytes:
    """The model with `metadata` inside and, where there are labels, `labels.txt` appended."""
    described = _with_metadata_buffer(model, serialise(metadata))
    return _with_file(described, LABEL_FILE, labels_text(labels)) if labels else described


def model_metadata(name: str, description: str, picture: PictureFormat, outputs: Sequence[Table]) -> Table:
    """ModelMetadata of a network with one picture as its input."""
    subgraph = Table({2: [picture_metadata(picture)], 3: list(outputs)})
    return Table({0: name, 1: description, 3: [subgraph], 7: MINIMUM_PARSER_VERSION})


def picture_metadata(picture: PictureFormat) -> Table:
    """TensorMetadata of the input `image`: pixels as they are, 0..255; normalisation happens inside the graph.

    Mean 0 and deviation 1 have to be said all the same: MediaPipe refuses a float input without NormalizationOptions.
    """
    size = Table({0: UnsignedInt(picture.width), 1: UnsignedInt(picture.height)})
    colour = Byte(UNKNOWN if picture.marks_missing else {1: GRAYSCALE, 3: RGB}[picture.channels])
    normalisation = Table({0: [0.0], 1: [1.0]})
    return Table(
        {
            0: "image",
            1: f"Pixels 0..255, {picture.height} rows of {picture.width}, brought to that size by {picture.fit!r}.",
            3: _content(IMAGE_PROPERTIES, Table({0: colour, 1: size})),
            4: [_process_unit(NORMALIZATION_OPTIONS, normalisation)],
            5: Table({0: [255.0], 1: [0.0]}),
        }
    )


def output_metadata(name: str, meaning: Meaning, labelled: bool) -> Table:
    """TensorMetadata of one prediction; `labelled` when its last axis has one entry for each label."""
    table = Table({0: name, 1: meaning.text, 3: _content(FEATURE_PROPERTIES, Table())})
    if meaning.low is not None and meaning.high is not None:
        table[5] = Table({0: [meaning.high], 1: [meaning.low]})
        table[4] = [_process_unit(SCORE_THRESHOLDING_OPTIONS, Table({0: Float(meaning.low)}))]
    if labelled:
        table[6] = [Table({0: LABEL_FILE, 1: "Names of the entries, in order.", 2: Byte(TENSOR_AXIS_LABELS)})]
    return table


def serialise(root: Table) -> bytes:
    """The flatbuffer of a tree of tables."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, root), METADATA_IDENTIFIER)
    return bytes(builder.Output())


def _content(kind: int, properties: Table) -> Table:
    return Table({0: Byte(kind), 1: properties})


def _process_unit(kind: int, options: Table) -> Table:
    return Table({0: Byte(kind), 1: options})


def _write(builder: Any, value: Any) -> int:
    """Writes what is kept outside a table (tables, texts, vectors) and gives its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list):
        return _write_vector(builder, value)
    offsets = {slot: _write(builder, inner) for slot, inner in value.items() if isinstance(inner, str | list | Table)}
    builder.StartObject(max(value, default=-1) + 1)
    for slot, inner in value.items():
        _put_slot(builder, slot, inner, offsets)
    return builder.EndObject()


def _put_slot(builder: Any, slot: int, value: Any, offsets: Mapping[int, int]) -> None:
    match value:
        case Byte(number):
            builder.PrependInt8Slot(slot, number, 0)
        case UnsignedInt(number):
            builder.PrependUint32Slot(slot, number, 0)
        case Float(number):
            builder.PrependFloat32Slot(slot, number, 0.0)
        case _:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)


def _write_vector(builder: Any, values: list[Any]) -> int:
    """A vector of tables, or of floats."""
    tables = isinstance(values[0], Table)
    entries = [_write(builder, value) for value in values] if tables else values
    put = builder.PrependUOffsetTRelative if tables else builder.PrependFloat32
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        put(entry)
    return builder.EndVector()


def _with_metadata_buffer(model: bytes, metadata: bytes) -> bytes:
    import numpy as np

    schema = flatbuffer.schema()
    tree = flatbuffer.unpack(model)
    tree.metadata = [*(tree.metadata or []), schema.MetadataT(METADATA_NAME, len(tree.buffers))]
    tree.buffers = [*tree.buffers, schema.BufferT(np.frombuffer(metadata, np.uint8))]
    for buffer in tree.buffers:
        buffer.Pack = partial(_pack_aligned, buffer)
    return flatbuffer.pack(tree)


def _pack_aligned(buffer: Any, builder: Any) -> int:
    """`BufferT.Pack` with the schema's `force_align: 16`, which the generated Python leaves out.

    Kernels read weights in place from the mapped file, some of them with aligned loads.
    """
    schema = flatbuffer.schema()
    data = None if buffer.data is None else _write_bytes(builder, bytes(buffer.data))
    schema.BufferStart(builder)
    if data is not None:
        schema.BufferAddData(builder, data)
    return int(schema.BufferEnd(builder))


def _write_bytes(builder: Any, data: bytes) -> int:
    builder.StartVector(1, len(data), 16)
    builder.head = builder.Head() - len(data)
    builder.Bytes[builder.Head() : builder.Head() + len(data)] = data
    return int(builder.EndVector())


def _with_file(model: bytes, name: str, text: str) -> bytes:
    """Appends a stored zip entry with a fixed date, so that the same model gives the same bytes."""
    whole = io.BytesIO(model)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), text)
    return whole.getvalue()
