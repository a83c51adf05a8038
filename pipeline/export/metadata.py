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
from pipeline.tasks.base import Content, Meaning

METADATA_NAME = b"TFLITE_METADATA"
METADATA_IDENTIFIER = b"M001"
PARSER_VERSION, PARSER_VERSION_OF_GROUPS = "1.0.0", "1.2.0"
"""The least that has all fields used: without groups of outputs, and with."""

# Enumerations and union types of the schema.
UNKNOWN, RGB, GRAYSCALE = 0, 1, 2
FEATURE_PROPERTIES, IMAGE_PROPERTIES, BOUNDING_BOX_PROPERTIES = 1, 2, 3
BOUNDARIES = 1
NORMALIZATION_OPTIONS, SCORE_THRESHOLDING_OPTIONS = 1, 3
TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS = 2, 3

NAMES: dict[Content, str] = {
    "boxes": "location",
    "categories": "category",
    "scores": "score",
    "count": "number of detections",
}
"""What MediaPipe's ObjectDetector calls its outputs, and finds them by; all others go by the signature's names."""
OBJECTS = "detection_result"
"""The group of outputs with one entry for each object, as MediaPipe's metadata writer names it."""
LABEL_KINDS: dict[Content, int] = {"feature": TENSOR_AXIS_LABELS, "categories": TENSOR_VALUE_LABELS}
"""What labels are names of: the entries of the last axis, or the values."""


@dataclass(frozen=True)
class Byte:
    value: int


@dataclass(frozen=True)
class UnsignedInt:
    value: int


@dataclass(frozen=True)
class Float:
    value: float


@dataclass(frozen=True)
class Bool:
    value: bool


@dataclass(frozen=True)
class Bytes:
    value: bytes


class Table(dict[int, Any]):
    """A flatbuffer table: slot number in the schema -> text, number, Table, or a list of texts, Tables or numbers."""


def write_metadata(model: bytes, metadata: Table, labels: Sequence[str]) -> bytes:
    """The model with `metadata` inside and, where there are labels, `labels.txt` appended."""
    described = _with_metadata_buffer(model, serialise(metadata))
    return _with_file(described, LABEL_FILE, labels_text(labels)) if labels else described


def model_metadata(name: str, description: str, picture: PictureFormat, outputs: Sequence[Table]) -> Table:
    """ModelMetadata of a network with one picture as its input."""
    subgraph = Table({2: [picture_metadata(picture)], 3: list(outputs)})
    of_objects = [NAMES[content] for content in ("boxes", "categories", "scores")]
    grouped = {*of_objects} <= {output[0] for output in outputs}
    if grouped:
        subgraph[8] = [Table({0: OBJECTS, 1: of_objects})]
    version = PARSER_VERSION_OF_GROUPS if grouped else PARSER_VERSION
    return Table({0: name, 1: description, 3: [subgraph], 7: version})


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
    """TensorMetadata of one prediction; `labelled` when the labels name the entries of its last axis, or its values."""
    table = Table({0: NAMES.get(meaning.content, name), 1: meaning.text, 3: CONTENTS[meaning.content]})
    if meaning.low is not None and meaning.high is not None:
        table[5] = Table({0: [meaning.high], 1: [meaning.low]})
    if meaning.threshold is not None:
        table[4] = [_process_unit(SCORE_THRESHOLDING_OPTIONS, Table({0: Float(meaning.threshold)}))]
    if labelled:
        kind = Byte(LABEL_KINDS[meaning.content])
        table[6] = [Table({0: LABEL_FILE, 1: "Names of the entries, in order.", 2: kind})]
    return table


def serialise(root: Table, identifier: bytes = METADATA_IDENTIFIER) -> bytes:
    """The flatbuffer of a tree of tables."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, root), identifier)
    return bytes(builder.Output())


def _content(kind: int, properties: Table) -> Table:
    return Table({0: Byte(kind), 1: properties})


def _content_of_objects(kind: int, properties: Table) -> Table:
    """Content from axis 2 on, counted from 0: what each of the M objects of [B,M] or [B,M,4] has."""
    return Table({**_content(kind, properties), 2: Table({0: UnsignedInt(2), 1: UnsignedInt(2)})})


def _boxes() -> Table:
    """BoundingBoxProperties: which of the four numbers are left, top, right and bottom. That they are shares of the
    picture, CoordinateType.RATIO, is the schema's default."""
    return Table({0: [UnsignedInt(index) for index in range(4)], 1: Byte(BOUNDARIES)})


CONTENTS: dict[Content, Table] = {
    "feature": _content(FEATURE_PROPERTIES, Table()),
    "boxes": _content_of_objects(BOUNDING_BOX_PROPERTIES, _boxes()),
    "categories": _content_of_objects(FEATURE_PROPERTIES, Table()),
    "scores": _content_of_objects(FEATURE_PROPERTIES, Table()),
    "count": _content(FEATURE_PROPERTIES, Table()),
}


def _process_unit(kind: int, options: Table) -> Table:
    return Table({0: Byte(kind), 1: options})


def _write(builder: Any, value: Any) -> int:
    """Writes what is kept outside a table (tables, texts, vectors) and gives its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list):
        return _write_vector(builder, value)
    if isinstance(value, Bytes):
        return _write_bytes(builder, value.value)
    held = {slot: inner for slot, inner in value.items() if isinstance(inner, str | list | Table | Bytes)}
    offsets = {slot: _write(builder, inner) for slot, inner in held.items()}
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
        case Bool(truth):
            builder.PrependBoolSlot(slot, truth, 0)
        case _:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)


def _write_vector(builder: Any, values: list[Any]) -> int:
    """A vector of tables or texts, of unsigned numbers, or of floats; each entry takes 4 bytes."""
    match values[0]:
        case Table() | str():
            entries, put = [_write(builder, value) for value in values], builder.PrependUOffsetTRelative
        case UnsignedInt():
            entries, put = [value.value for value in values], builder.PrependUint32
        case _:
            entries, put = values, builder.PrependFloat32
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        put(entry)
    return int(builder.EndVector())


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
