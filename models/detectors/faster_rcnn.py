"""Faster R-CNN: one stage proposes regions, another says what is in each (Ren et al. 2015), on a feature pyramid.

Ground truth does not enter the graph: what each region should say is settled inside the loss, on the regions that the
network proposes. So one graph is trained, evaluated and exported, and nothing is drawn at random.

B = batch, P = anchors, Q = proposals, K = classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from models.detectors.base import STEPS, Anchored, Counting, Raw, focal, joined, numbers, rare, tower
from models.detectors.layout import BOXES, CLASSES, Layout
from models.detectors.retinanet import BoxLoss, box_costs
from models.detectors.truth import Truth
from models.stack import tf
from models.suppression import ClassAgnostic

Tensor = Any

PROPOSALS = "proposals"
REGION_CLASSES = "region_classes"
REGION_BOXES = "region_boxes"
BEST_FROM = 0.3
"""IoU from which on an object's best proposal answers for it where none reaches `region_positive_from`: without it, a
young network, whose proposals fit badly, would learn of no object."""


@dataclass(frozen=True)
class Stages:
    """What a network says.

    Args:
        anchors: of the first stage: `classes` [B, P, 1], whether there is anything, and `boxes` [B, P, 4].
        proposals: float32 [B, Q, 4], in pixels; without an area where there are no more.
        regions: of the second stage: `classes` [B, Q, 1 + K] and `boxes` [B, Q, 4], steps from the proposals.
    """

    anchors: Raw
    proposals: Tensor
    regions: Raw


class FasterRCNN(Anchored):
    """Two stages: the second looks at each proposal by itself, which costs time and pays where classes are alike."""

    any_size: ClassVar[bool] = False
    by_place: ClassVar[bool] = False
    kind: Literal["faster_rcnn"] = "faster_rcnn"
    """Faster R-CNN."""
    head_depth: int = Field(default=1, ge=0, le=8)
    """Convolutions of the proposal network, as in the paper. Each level has its own, so that int8 has scales of its own
    for each."""
    head_width: int = Field(default=64, ge=8)
    """Their channels; 256 in the paper, for its smaller network."""
    positive_from: float = Field(default=0.5, gt=0.0, lt=1.0)
    """IoU with an object from which on an anchor should propose it; 0.7 in the paper."""
    negative_below: float = Field(default=0.4, ge=0.0, lt=1.0)
    """IoU below which it should say that nothing is there; 0.3 in the paper."""
    focal_gamma: float = Field(default=2.0, ge=0.0)
    """How fast anchors that are right already cease to count (focal loss, in place of the paper's drawing of 256)."""
    focal_alpha: float = Field(default=0.25, gt=0.0, lt=1.0)
    """What an object counts there, and 1 - this its absence."""
    candidates: int = Field(default=256, ge=1)
    """How many of the best boxes of the first stage are compared; 2,000 in the paper."""
    proposal_iou: float = Field(default=0.7, ge=0.0, lt=1.0)
    """Of boxes that overlap by more, only the best is proposed."""
    proposals: int = Field(default=64, ge=1)
    """Regions that the second stage looks at, always as many; 300 in the paper."""
    region_bins: int = Field(default=7, ge=1, le=16)
    """A region is looked at in as many rows and columns."""
    region_cells: float = Field(default=4.0, gt=0.0)
    """A region is cut from the coarsest level in which its side is at least so many cells; 14 in the paper on feature
    pyramids, for large pictures."""
    region_channels: int = Field(default=32, ge=4)
    """Channels of the maps that regions are cut from: few, as of Li et al. 2017 ("Light-head R-CNN", section 3.1)."""
    region_width: int = Field(default=128, ge=8)
    """Width of the two dense layers of the second stage; 1,024 in the paper on feature pyramids."""
    region_positive_from: float = Field(default=0.5, gt=0.0, lt=1.0)
    """IoU with an object from which on a region answers for it; below, it should say that nothing is there."""
    negatives: float = Field(default=3.0, gt=0.0)
    """What regions without an object count together, at most, for each that has one: the mean of drawing as many at
    random (Girshick 2015, "Fast R-CNN", section 2.3)."""
    box_loss: BoxLoss = "giou"
    """What a wrong box costs, in both stages: of the four numbers, or of the overlap."""
    box_weight: float = Field(default=2.0, gt=0.0)
    """What boxes count beside classes."""

    @property
    def suppression(self) -> ClassAgnostic:
        """What chooses the proposals."""
        return ClassAgnostic(iou=self.proposal_iou, most=self.proposals, candidates=self.candidates, least_score=0.0)

    def network(self, layout: Layout, levels: Mapping[int, Tensor], num_classes: int) -> dict[str, Tensor]:
        """`classes_S` [B, h, w, A] and `boxes_S` [B, h, w, A*4] of the anchors, `proposals` [B, Q, 4] as shares of the
        picture, `region_classes` [B, Q, 1, 1 + K] and `region_boxes` [B, Q, 1, 4]."""
        from models.detectors.layers import Propose

        outputs = self._first_stage(levels)
        proposals = Propose(self, layout, name=PROPOSALS)([outputs[name] for name in layout.outputs()])
        x = self._looked_at(layout, levels, proposals)
        return {
            **outputs,
            PROPOSALS: proposals,
            REGION_CLASSES: numbers(x, 1 + num_classes, REGION_CLASSES, kernel_size=1),
            REGION_BOXES: numbers(x, STEPS, REGION_BOXES, kernel_size=1),
        }

    def told(self, layout: Layout, outputs: Mapping[str, Tensor]) -> Tensor:
        """All numbers of both stages and the proposals, one behind the other."""
        said = self._said(layout, outputs)
        parts = (said.anchors.classes, said.anchors.boxes, said.proposals, said.regions.classes, said.regions.boxes)
        return tf.concat([tf.reshape(part, [-1, math.prod(part.shape[1:])]) for part in parts], axis=1)

    def costs(self, layout: Layout, truth: Truth, told: Tensor, num_classes: int, counting: Counting) -> Tensor:
        """Both stages, as one sum over the picture."""
        said = self.heard(layout, told, num_classes)
        first = self._anchor_costs(layout, truth, said.anchors, counting)
        second = self._region_costs(truth, said.proposals, said.regions, counting)
        return (first + second) / counting.objects

    def found(self, layout: Layout, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See the base; one box a proposal."""
        from models import boxes

        said = self._said(layout, outputs)
        there = tf.cast(boxes.area(said.proposals) > 0.0, tf.float32)
        scores = tf.nn.softmax(said.regions.classes)[..., 1:] * there[..., tf.newaxis]
        return boxes.from_steps(said.proposals, said.regions.boxes, self.scales), scores

    def divergence(
        self, layout: Layout, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], temperature: float
    ) -> Tensor:
        """See the base; anchor by anchor, and region by region where the two propose the same."""
        from models.detectors import distillation

        ours, theirs = self._said(layout, student), self._said(layout, teacher)
        sure = tf.sigmoid(theirs.anchors.classes[..., 0])
        anchors = distillation.divergence(ours.anchors, theirs.anchors, sure, temperature)
        regions, certainty = self._of_same_regions(ours, theirs)
        return anchors + distillation.divergence(ours.regions, regions, certainty, temperature)

    # --------------------------------------------------------------------------------------------- the network

    def _first_stage(self, levels: Mapping[int, Tensor]) -> dict[str, Tensor]:
        count, outputs = self.answers(len(levels)), {}
        for stride, features in levels.items():
            x = tower(features, self.head_width, self.head_depth, f"proposal_tower_{stride}")
            outputs[f"{CLASSES}_{stride}"] = numbers(x, count, f"{CLASSES}_{stride}", rare(), 1)
            outputs[f"{BOXES}_{stride}"] = numbers(x, count * STEPS, f"{BOXES}_{stride}", kernel_size=1)
        return outputs

    def _looked_at(self, layout: Layout, levels: Mapping[int, Tensor], proposals: Tensor) -> Tensor:
        """[B, Q, 1, region_width]. The dense layers are convolutions over the regions, which lie one below the other:
        the first takes in a whole region at a step."""
        from models.blocks import Style
        from models.detectors.regions import aligned
        from models.stack import keras

        thin = {
            stride: tower(features, self.region_channels, 1, f"region_features_{stride}", kernel_size=1)
            for stride, features in levels.items()
        }
        style, bins = Style(), self.region_bins
        x = aligned(layout, thin, proposals, bins, self.region_cells)
        x = style.bn(style.convolution(x, self.region_width, "region_conv", bins, stride=bins), "region_bn")
        x = keras.layers.ReLU(name="region_relu")(x)
        return tower(x, self.region_width, 1, "region_tower", kernel_size=1)

    # --------------------------------------------------------------------------------------------- what it says

    def _said(self, layout: Layout, outputs: Mapping[str, Tensor]) -> Stages:
        proposals = tf.cast(outputs[PROPOSALS], tf.float32) * layout.scale()
        regions = (outputs[name] for name in (REGION_CLASSES, REGION_BOXES))
        flat = (tf.reshape(tf.cast(one, tf.float32), [-1, self.proposals, one.shape[-1]]) for one in regions)
        return Stages(joined(layout, outputs), proposals, Raw(*flat))

    def heard(self, layout: Layout, told: Tensor, num_classes: int) -> Stages:
        """The inverse of `told`."""
        places, regions = len(layout.middles()), self.proposals
        shapes = [(places, 1), (places, STEPS), (regions, 4), (regions, 1 + num_classes), (regions, STEPS)]
        parts = tf.split(told, [math.prod(shape) for shape in shapes], axis=1)
        objectness, steps, proposals, classes, boxes = (
            tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, shapes, strict=True)
        )
        return Stages(Raw(objectness, steps), proposals, Raw(classes, boxes))

    def _of_same_regions(self, ours: Stages, theirs: Stages) -> tuple[Raw, Tensor]:
        """What the others say of our regions, as steps from these, and how sure they are, float32 [B, Q]; where they
        look at nothing near, what we say ourselves, and 0."""
        from models import boxes

        overlaps = boxes.pairwise_iou(ours.proposals, theirs.proposals)
        nearest, reached = tf.argmax(overlaps, axis=-1), tf.reduce_max(overlaps, axis=-1)
        same = (reached >= self.region_positive_from)[..., tf.newaxis]
        found = boxes.from_steps(theirs.proposals, theirs.regions.boxes, self.scales)
        classes, found = (tf.gather(one, nearest, axis=1, batch_dims=1) for one in (theirs.regions.classes, found))
        steps = boxes.to_steps(ours.proposals, found, self.scales)
        certainty = tf.reduce_max(tf.nn.softmax(classes)[..., 1:], axis=-1) * tf.cast(same[..., 0], tf.float32)
        own = Raw(tf.stop_gradient(ours.regions.classes), tf.stop_gradient(ours.regions.boxes))
        return Raw(tf.where(same, classes, own.classes), tf.where(same, steps, own.boxes)), certainty

    # --------------------------------------------------------------------------------------------- what it costs

    def _anchor_costs(self, layout: Layout, truth: Truth, raw: Raw, counting: Counting) -> Tensor:
        """Focal loss of whether there is anything, and the cost of the boxes that answer for an object: [B]."""
        from models.detectors import matching

        anchors = tf.constant(self.anchors.boxes(layout))
        matches = matching.by_overlap(truth, anchors, self.positive_from, self.negative_below)
        weights = tf.where(matches.positive, counting.of(matching.of_object(truth.classes, matches)), 0.0)
        there = tf.cast(matches.positive, tf.float32)
        wrong = focal(there, raw.classes[..., 0], self.focal_gamma, self.focal_alpha)
        asked = weights + tf.cast(matches.negative, tf.float32)
        wanted = matching.of_object(truth.boxes, matches)
        boxes = weights * box_costs(anchors, wanted, raw.boxes, self.scales, self.box_loss)
        return tf.reduce_sum(asked * wrong + self.box_weight * boxes, axis=-1)

    def _region_costs(self, truth: Truth, proposals: Tensor, raw: Raw, counting: Counting) -> Tensor:
        """Cross-entropy of the classes, no object among them, and the cost of boxes: [B]."""
        from models import boxes
        from models.detectors import matching

        limit = self.region_positive_from
        matches = matching.by_overlap(truth, proposals, limit, limit, BEST_FROM)
        classes = matching.of_object(truth.classes, matches)
        expected = tf.where(matches.positive, classes + 1, 0)
        wrong = tf.nn.sparse_softmax_cross_entropy_with_logits(expected, raw.classes)  # [B, Q]
        weights = tf.where(matches.positive, counting.of(classes), 0.0)
        spare = tf.cast(matches.negative & (boxes.area(proposals) > 0.0), tf.float32)
        asked = weights + spare * self._share(matches.positive, spare)
        wanted = matching.of_object(truth.boxes, matches)
        costs = weights * box_costs(proposals, wanted, raw.boxes, self.scales, self.box_loss)
        return tf.reduce_sum(asked * wrong + self.box_weight * costs, axis=-1)

    def _share(self, positive: Tensor, spare: Tensor) -> Tensor:
        """What each region without an object counts, float32 [B, 1]."""
        positives = tf.reduce_sum(tf.cast(positive, tf.float32), axis=-1, keepdims=True)
        wanted = self.negatives * tf.maximum(positives, 1.0)
        return tf.minimum(wanted / tf.maximum(tf.reduce_sum(spare, axis=-1, keepdims=True), 1.0), 1.0)
