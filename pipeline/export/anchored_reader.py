"""What a runtime makes of an anchored `.tflite`: boxes, by the anchors and scales that stand in the file's metadata.

It is written from MediaPipe's side of the format and uses none of the detector's code, so that a file whose metadata
is wrong gives wrong boxes here too. Only the suppression is the task's own: with MediaPipe's, which is another, the
answers could not be held against the trained model's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf
from pipeline.errors import ExportError
from pipeline.export.anchored import CUSTOM_METADATA, DETECTOR_METADATA
from pipeline.export.metadata_reader import TableReader, read_metadata
from pipeline.export.tflite import SUBGRAPHS
from pipeline.metrics.base import Arrays
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    from pipeline.predictors import Predictor


def answering(task: Task, file: Path, network: Predictor) -> Predictor:
    """The task's predictions from exported files: their own, or what a runtime makes of those of an anchored `.tflite`.

    Args:
        file: or folder.
        network: of that file.
    """
    options = _detector_options(file) if file.suffix == ".tflite" else None
    return network if options is None else AnchoredPredictor(task, options, network)


class AnchoredPredictor:
    """A network that gives steps from anchors, decoded as MediaPipe decodes them, then suppressed as the task says.

    Args:
        task: resolved; a detector with anchors.
        options: the file's ObjectDetectorOptions.
        network: gives `location` [B,P,4] and `score` [B,P,K].
    """

    def __init__(self, task: Task, options: TableReader, network: Predictor):
        self._anchored, self._network = task.anchored(), network
        rows = options.table(1).table(0).tables(0)
        self._anchors = np.array([[row.real(slot) for slot in range(4)] for row in rows], np.float32)
        decoding = options.table(2)
        self._scales = np.array([decoding.real(slot) for slot in (7, 6, 9, 8)], np.float32)  # y, x, h, w

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The task's predictions."""
        given = self._network(inputs)
        boxes = tf.clip_by_value(tf.constant(self._boxes(given["location"])), 0.0, 1.0)
        chosen = self._anchored.choose(boxes, tf.constant(given["score"]))
        return {name: value.numpy() for name, value in chosen.items()}

    def _boxes(self, location: np.ndarray) -> np.ndarray:
        """x_min, y_min, x_max, y_max as shares of the picture, float32 [B,P,4]."""
        y, x, height, width = np.moveaxis(location / self._scales, -1, 0)
        across, down, wide, high = self._anchors.T
        x, y = x * wide + across, y * high + down
        width, height = np.exp(width) * wide, np.exp(height) * high
        return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=-1)


def _detector_options(file: Path) -> TableReader | None:
    """ObjectDetectorOptions of a `.tflite`; None where it has none, since it decodes by itself."""
    try:
        graph = read_metadata(file.read_bytes()).tables(SUBGRAPHS)[0]
    except ExportError:  # without metadata, as `compress` writes it
        return None
    found = [entry.data(1) for entry in graph.tables(CUSTOM_METADATA) if entry.text(0) == DETECTOR_METADATA]
    return TableReader(found[0]) if found else None
