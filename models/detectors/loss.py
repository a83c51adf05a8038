"""The Keras loss of all detectors. Imported only where something is trained."""

from __future__ import annotations

from models.detectors import truth
from models.detectors.base import Counting, Detector
from models.detectors.layout import Layout
from models.stack import keras, tf


class DetectionLoss(keras.losses.Loss):
    """Targets float32 [B, N, 6] (see `models.detectors.truth`) against `Detector.told`, float32 [B, ...] -> [B].

    Args:
        detector: what a wrong answer costs.
        layout: the places of the network.
        num_classes: K.
        counting: what an error counts.
    """

    def __init__(
        self, detector: Detector, layout: Layout, num_classes: int, counting: Counting, name: str = "detection_loss"
    ):
        super().__init__(name=name)
        self.detector, self.layout, self.counting = detector, layout, counting
        self.num_classes = num_classes

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        wanted = truth.read(y_true, self.layout.scale())
        return self.detector.costs(self.layout, wanted, y_pred, self.num_classes, self.counting)
