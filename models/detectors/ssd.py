"""SSD: anchors, one convolution on each level, softmax with hard-negative mining (Liu et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from models.detectors.base import AnchoredOneStage, Counting, Raw, numbers, tower
from models.detectors.layout import BOXES, CLASSES, Layout
from models.detectors.retinanet import BoxLoss, box_costs
from models.detectors.truth import Truth
from models.stack import tf

Tensor = Any


class SSD(AnchoredOneStage):
    """One stage on anchors, the smallest head of all; of the places without an object only the most mistaken count."""

    kind: Literal["ssd"] = "ssd"
    """SSD."""
    head_depth: int = Field(default=0, ge=0, le=8)
    """Convolutions before those that answer; none in the paper."""
    head_width: int = Field(default=64, ge=8)
    """Their channels."""
    positive_from: float = Field(default=0.5, gt=0.0, lt=1.0)
    """IoU with an object from which on an anchor answers for it; below, it should say that nothing is there."""
    negatives: float = Field(default=3.0, gt=0.0)
    """Places without an object that count, for each that has one."""
    box_loss: BoxLoss = "smooth_l1"
    """What a wrong box costs: of the four numbers, or of the overlap."""
    box_weight: float = Field(default=1.0, gt=0.0)
    """What boxes count beside classes."""

    def class_numbers(self, num_classes: int) -> int:
        """One logit a class, and first that of no object."""
        return num_classes + 1

    def head(self, levels: Mapping[int, Tensor], num_classes: int) -> dict[str, Tensor]:
        """See the base."""
        count, outputs = self.answers(len(levels)), {}
        for stride, features in levels.items():
            x = tower(features, self.head_width, self.head_depth, f"tower_{stride}")
            outputs[f"{CLASSES}_{stride}"] = numbers(x, count * (num_classes + 1), f"{CLASSES}_{stride}")
            outputs[f"{BOXES}_{stride}"] = numbers(x, count * self.box_numbers(), f"{BOXES}_{stride}")
        return outputs

    def scores(self, raw: Raw) -> Tensor:
        """See the base."""
        return tf.nn.softmax(raw.classes)[..., 1:]

    def costs_of(self, layout: Layout, truth: Truth, raw: Raw, counting: Counting) -> Tensor:
        """Cross-entropy of the places that answer for objects and of the hardest others, and the cost of boxes."""
        from models.detectors import matching

        anchors = tf.convert_to_tensor(self.anchors.boxes(layout))
        matches = matching.by_overlap(truth, anchors, self.positive_from, self.positive_from)
        classes = matching.of_object(truth.classes, matches)
        expected = tf.where(matches.positive, classes + 1, 0)
        wrong = tf.nn.sparse_softmax_cross_entropy_with_logits(expected, raw.classes)  # [B, P]
        weights = tf.where(matches.positive, counting.of(classes), 0.0)
        asked = weights + tf.cast(self._hardest(wrong, matches), tf.float32)
        boxes = weights * box_costs(
            anchors, matching.of_object(truth.boxes, matches), raw.boxes, self.scales, self.box_loss
        )
        return tf.reduce_sum(asked * wrong + self.box_weight * boxes, axis=-1) / counting.objects

    def _hardest(self, wrong: Tensor, matches: Any) -> Tensor:
        """bool [B, P]: the negative places of a picture that are most mistaken, at least one cell's worth of them."""
        candidates = tf.stop_gradient(tf.where(matches.negative, wrong, -1.0))
        positives = tf.reduce_sum(tf.cast(matches.positive, tf.float32), axis=-1, keepdims=True)
        wanted = tf.cast(tf.math.ceil(self.negatives * tf.maximum(positives, 1.0)), tf.int32)
        places = tf.argsort(candidates, axis=-1, direction="DESCENDING")
        rank = tf.argsort(places, axis=-1)
        return matches.negative & (rank < wanted)
