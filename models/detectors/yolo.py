"""YOLO: no anchors, towers of their own for classes and boxes, distances as distributions, task-aligned assignment.

The design of YOLOv8 (Jocher et al. 2023), whose parts are of Ge et al. 2021 ("YOLOX", section 2.1: decoupled head, no
anchors), Li et al. 2020 ("Generalized focal loss", section 3.2: distribution focal loss) and Feng et al. 2021 ("TOOD").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from models.detectors.base import Counting, OneStage, Raw, numbers, rare, tower
from models.detectors.layout import BOXES, CLASSES, Layout
from models.detectors.truth import Truth
from models.stack import tf

Tensor = Any


class YOLO(OneStage):
    """One stage without anchors: each place gives its distances to the four edges."""

    kind: Literal["yolo"] = "yolo"
    """YOLO."""
    head_depth: int = Field(default=2, ge=0, le=8)
    """Convolutions of each of the two towers."""
    head_width: int = Field(default=64, ge=8)
    """Their channels."""
    bins: int = Field(default=16, ge=2, le=64)
    """Of a distance's distribution: the largest distance is one less, in strides."""
    places: int = Field(default=10, ge=1)
    """Places that answer for an object, at most."""
    score_power: float = Field(default=0.5, ge=0.0)
    """How much the score decides which places these are; `alpha` of task-aligned assignment."""
    overlap_power: float = Field(default=6.0, ge=0.0)
    """How much the overlap does; `beta`."""
    box_loss: Literal["giou", "ciou"] = "ciou"
    """What a wrong box costs."""
    class_weight: float = Field(default=0.5, gt=0.0)
    """What classes count."""
    box_weight: float = Field(default=7.5, gt=0.0)
    """What boxes count."""
    distribution_weight: float = Field(default=1.5, ge=0.0)
    """What the distances' distributions count."""

    def answers(self, levels: int) -> int:
        """One a cell."""
        return 1

    def class_numbers(self, num_classes: int) -> int:
        """One logit a class."""
        return num_classes

    def box_numbers(self) -> int:
        """A distribution for each edge."""
        return 4 * self.bins

    def head(self, levels: Mapping[int, Tensor], num_classes: int) -> dict[str, Tensor]:
        """See the base."""
        outputs = {}
        for stride, features in levels.items():
            classes = tower(features, self.head_width, self.head_depth, f"class_tower_{stride}")
            found = tower(features, self.head_width, self.head_depth, f"box_tower_{stride}")
            outputs[f"{CLASSES}_{stride}"] = numbers(classes, num_classes, f"{CLASSES}_{stride}", rare(), 1)
            outputs[f"{BOXES}_{stride}"] = numbers(found, self.box_numbers(), f"{BOXES}_{stride}", 1.0, 1)
        return outputs

    def scores(self, raw: Raw) -> Tensor:
        """See the base."""
        return tf.sigmoid(raw.classes)

    def boxes(self, layout: Layout, raw: Raw) -> Tensor:
        """See the base."""
        from models.boxes import from_distances

        shares = tf.nn.softmax(self._distributions(raw))
        distances = tf.linalg.matvec(shares, tf.range(self.bins, dtype=tf.float32))
        return from_distances(tf.convert_to_tensor(layout.middles()), distances * layout.steps())

    def costs_of(self, layout: Layout, truth: Truth, raw: Raw, counting: Counting) -> Tensor:
        """Cross-entropy of scores against how well places fit, and of each object the mean cost of its places' boxes,
        the better fitting ones counting more."""
        from models import boxes
        from models.detectors import matching

        found = self.boxes(layout, raw)
        matches = self._assigned(layout, truth, found, self.scores(raw))
        classes = matching.of_object(truth.classes, matches)
        weights = tf.where(matches.positive, counting.of(classes), 0.0)
        expected = tf.one_hot(classes, raw.classes.shape[-1]) * matches.quality[..., tf.newaxis]
        wrong = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(expected, raw.classes), axis=-1)
        asked = weights + tf.cast(matches.negative, tf.float32)
        wanted = matching.of_object(truth.boxes, matches)
        box = boxes.OVERLAP_LOSSES[self.box_loss](wanted, found)
        spread = self._distribution_costs(layout, wanted, raw)
        share = weights * matches.quality / self._fitting(truth, matches)  # sums to about 1 for each object
        boxes_cost = share * (self.box_weight * box + self.distribution_weight * spread)
        classes_cost = self.class_weight * asked * wrong / (0.5 * self.places)
        return tf.reduce_sum(classes_cost + boxes_cost, axis=-1) / counting.objects

    def _assigned(self, layout: Layout, truth: Truth, found: Tensor, scores: Tensor) -> Any:
        from models.detectors import matching

        points, steps = tf.convert_to_tensor(layout.middles()), tf.convert_to_tensor(layout.steps()[:, 0])
        found, scores = tf.stop_gradient(found), tf.stop_gradient(scores)
        powers = self.score_power, self.overlap_power
        return matching.task_aligned(truth, points, steps[:, tf.newaxis], found, scores, self.places, powers)

    def _fitting(self, truth: Truth, matches: Any) -> Tensor:
        """The sum of the quality of all places of each place's object, float32 [B, P]."""
        owners = tf.one_hot(matches.object, tf.shape(truth.classes)[1]) * matches.quality[..., tf.newaxis]
        total = tf.reduce_sum(owners, axis=1)  # [B, N]
        return tf.maximum(tf.gather(total, matches.object, axis=1, batch_dims=1), 1e-6)

    def _distribution_costs(self, layout: Layout, wanted: Tensor, raw: Raw) -> Tensor:
        """Cross-entropy against the two bins around each true distance: float32 [B, P], the mean of the edges."""
        from models.boxes import to_distances

        distances = to_distances(tf.convert_to_tensor(layout.middles()), wanted) / layout.steps()
        distances = tf.clip_by_value(distances, 0.0, self.bins - 1.01)
        below = tf.floor(distances)
        upper = distances - below
        logarithms = tf.nn.log_softmax(self._distributions(raw))
        lower_bin = tf.cast(below, tf.int32)
        low = tf.gather(logarithms, lower_bin, axis=-1, batch_dims=3)
        high = tf.gather(logarithms, lower_bin + 1, axis=-1, batch_dims=3)
        return -tf.reduce_mean((1.0 - upper) * low + upper * high, axis=-1)

    def _distributions(self, raw: Raw) -> Tensor:
        """float32 [B, P, 4, bins], logits."""
        places = raw.boxes.shape[1]
        sizes = [-1, places] if places else [tf.shape(raw.boxes)[0], -1]
        return tf.reshape(raw.boxes, [*sizes, 4, self.bins])
