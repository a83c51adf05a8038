"""RetinaNet: anchors, two towers on a feature pyramid, focal loss (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from models.detectors.base import AnchoredOneStage, Counting, Raw, focal, numbers, rare, tower
from models.detectors.layout import BOXES, CLASSES, Layout
from models.detectors.truth import Truth
from models.stack import tf

Tensor = Any
BoxLoss = Literal["smooth_l1", "giou", "ciou"]


class RetinaNet(AnchoredOneStage):
    """One stage on anchors; the focal loss keeps the many easy places from drowning the few objects."""

    kind: Literal["retinanet"] = "retinanet"
    """RetinaNet."""
    head_depth: int = Field(default=2, ge=0, le=8)
    """Convolutions of each of the two towers; 4 in the paper. Each level has towers of its own, so that int8 has scales
    of its own for each."""
    head_width: int = Field(default=64, ge=8)
    """Their channels; 256 in the paper."""
    positive_from: float = Field(default=0.5, gt=0.0, lt=1.0)
    """IoU with an object from which on an anchor answers for it."""
    negative_below: float = Field(default=0.4, ge=0.0, lt=1.0)
    """IoU below which it should say that nothing is there."""
    focal_gamma: float = Field(default=2.0, ge=0.0)
    """How fast what is right already ceases to count; 0 is plain cross-entropy."""
    focal_alpha: float = Field(default=0.25, gt=0.0, lt=1.0)
    """What an object counts, and 1 - this its absence."""
    box_loss: BoxLoss = "giou"
    """What a wrong box costs: of the four numbers, or of the overlap."""
    box_weight: float = Field(default=2.0, gt=0.0)
    """What boxes count beside classes."""

    def class_numbers(self, num_classes: int) -> int:
        """One logit a class."""
        return num_classes

    def head(self, levels: Mapping[int, Tensor], num_classes: int) -> dict[str, Tensor]:
        """See the base."""
        count, outputs = self.answers(len(levels)), {}
        for stride, features in levels.items():
            classes = tower(features, self.head_width, self.head_depth, f"class_tower_{stride}")
            found = tower(features, self.head_width, self.head_depth, f"box_tower_{stride}")
            outputs[f"{CLASSES}_{stride}"] = numbers(classes, count * num_classes, f"{CLASSES}_{stride}", rare())
            outputs[f"{BOXES}_{stride}"] = numbers(found, count * self.box_numbers(), f"{BOXES}_{stride}")
        return outputs

    def scores(self, raw: Raw) -> Tensor:
        """See the base."""
        return tf.sigmoid(raw.classes)

    def costs_of(self, layout: Layout, truth: Truth, raw: Raw, counting: Counting) -> Tensor:
        """Focal loss of the classes at all places, and the cost of the boxes that answer for an object."""
        from models.detectors import matching

        anchors = tf.convert_to_tensor(self.anchors.boxes(layout))
        matches = matching.by_overlap(truth, anchors, self.positive_from, self.negative_below)
        classes = matching.of_object(truth.classes, matches)
        weights = tf.where(matches.positive, counting.of(classes), 0.0)  # [B, P]
        expected = tf.one_hot(classes, raw.classes.shape[-1]) * tf.cast(matches.positive, tf.float32)[..., tf.newaxis]
        wrong = tf.reduce_sum(focal(expected, raw.classes, self.focal_gamma, self.focal_alpha), axis=-1)
        asked = weights + tf.cast(matches.negative, tf.float32)
        boxes = weights * box_costs(
            anchors, matching.of_object(truth.boxes, matches), raw.boxes, self.scales, self.box_loss
        )
        return tf.reduce_sum(asked * wrong + self.box_weight * boxes, axis=-1) / counting.objects


def box_costs(beginnings: Tensor, wanted: Tensor, steps: Tensor, scales: tuple[float, float], kind: BoxLoss) -> Tensor:
    """What each box costs that is told as steps from another, were it to be the one wanted.

    Args:
        beginnings: what the steps begin with, float32 [..., P, 4], in pixels; anchors, or proposals.
        wanted: float32 [B, P, 4], in pixels.
        steps: float32 [B, P, 4].

    Returns:
        float32 [B, P].
    """
    from models import boxes

    if kind == "smooth_l1":
        return tf.reduce_sum(boxes.smooth_l1(steps - boxes.to_steps(beginnings, wanted, scales), beta=1.0), axis=-1)
    return boxes.OVERLAP_LOSSES[kind](wanted, boxes.from_steps(beginnings, steps, scales))
