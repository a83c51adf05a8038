"""A detector's `.tflite` for runtimes that decode and suppress by themselves: steps from anchors, anchors inside.

MediaPipe's ObjectDetector does so for files with two outputs, `location` and `score`, and ObjectDetectorOptions in the
metadata (`object_detector_metadata_schema.fbs` 1.0.0 of google-ai-edge/mediapipe, mediapipe/tasks/metadata).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from models.detectors.base import FromAnchors
from models.stack import keras
from pipeline.compress import convert, flatbuffer
from pipeline.compress.compaction import compacted
from pipeline.export import anchored_name
from pipeline.export.metadata import Bool, Bytes, Float, Table, UnsignedInt, serialise
from pipeline.export.tflite import publish
from pipeline.tasks.base import Anchored, Task

DETECTOR_METADATA = "DETECTOR_METADATA"
OPTIONS_IDENTIFIER = b"V001"
CUSTOM_METADATA = 9
"""The slot of SubGraphMetadata."""
NUMBERS_OF_A_BOX, NUMBERS_OF_A_KEYPOINT = 4, 2


def publish_variants(task: Task, model: keras.Model, variants: Mapping[str, Path], folder: Path) -> list[Path]:
    """Publishes `NAME_anchored.tflite` for the file of each variant; arguments and errors as of `publish_anchored`."""
    return [
        publish_anchored(task, model, file.read_bytes(), folder / f"{anchored_name(name)}.tflite", name)
        for name, file in variants.items()
    ]


def publish_anchored(task: Task, model: keras.Model, content: bytes, path: Path, name: str) -> Path:
    """Writes a variant with the same network and the other decoding to `path`, whole or not at all.

    Args:
        task: resolved.
        model: the trained network, whose raw outputs the variant's have the names of.
        content: of the variant's `.tflite`.
        name: of the variant, for messages and the metadata.

    Raises:
        ConfigError: the task's boxes are not steps from anchors.
        StorageError: the disk is full or cannot be written.
    """
    anchored = task.anchored()
    network = flatbuffer.without_tail(content, convert.tflite_file(convert.decoding(task, model)))
    tail = convert.tflite_file(_decoding(anchored, model))
    whole = convert.runnable(compacted(flatbuffer.join(network, tail)))
    options = Table(
        {
            0: DETECTOR_METADATA,
            1: Bytes(serialise(detector_options(anchored.boxes, len(task.output_names)), OPTIONS_IDENTIFIER)),
        }
    )
    return publish(task, whole, path, name, anchored.meanings, {CUSTOM_METADATA: [options]})


def detector_options(boxes: FromAnchors, num_classes: int) -> Table:
    """ObjectDetectorOptions: the anchors, and how tensors become boxes."""
    anchors = [Table({slot: Float(float(number)) for slot, number in enumerate(row)}) for row in boxes.anchors]
    scales = [boxes.middle_scale, boxes.middle_scale, boxes.size_scale, boxes.size_scale]  # x, y, w, h
    decoding = Table(
        {
            0: UnsignedInt(num_classes),
            1: UnsignedInt(len(anchors)),
            2: UnsignedInt(NUMBERS_OF_A_BOX),
            5: UnsignedInt(NUMBERS_OF_A_KEYPOINT),  # there are none, but MediaPipe insists on two
            **{6 + number: Float(scale) for number, scale in enumerate(scales)},
            10: Bool(True),  # sizes are logarithms
        }
    )
    return Table({0: "1.0.0", 1: Table({0: Table({0: anchors})}), 2: decoding})


def _decoding(anchored: Anchored, trunk: keras.Model) -> keras.Model:
    inputs = {
        name: keras.Input(output.shape[1:], dtype=output.dtype, name=name)
        for name, output in zip(trunk.output_names, trunk.outputs, strict=True)
    }
    return keras.Model(inputs, anchored.decode(inputs), name="anchored")
