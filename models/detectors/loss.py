"""The Keras loss of all detectors. Imported only where something is trained."""

from __future__ import annotations

from models.detectors import truth
from models.detectors.base import Counting, Detector
from models.detectors.layout import Layout, LayoutOfBatch
from models.stack import keras, tf


class DetectionLoss(keras.losses.Loss):
    """Targets float32 [B, N, 8] (see `models.detectors.truth`) against `Detector.told`, float32 [B, ...] -> [B].

    Args:
        detector: what a wrong answer costs.
        layout: the places of the network at the size that ships; where their number is not known, pictures are of any.
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
        layout = self.layout
        if y_pred.shape[1] is None:
            height, width = tf.unstack(truth.size_of(y_true))
            layout = LayoutOfBatch(height, width, layout.strides, layout.answers)
        wanted = truth.read(y_true, layout.scale())
        return self.detector.costs(layout, wanted, y_pred, self.num_classes, self.counting)
