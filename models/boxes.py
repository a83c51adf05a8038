"""Boxes: how far they overlap, what a wrong one costs, and how networks write them down.

A box is x_min, y_min, x_max, y_max; all functions take boxes float32 [..., 4] of one unit, pixels or shares, and keep
it. A box without area overlaps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from models.stack import tf

Tensor = Any

EPSILON = 1e-7
LARGEST_STEP = math.log(1000.0 / 16.0)
"""Of a logarithm of sizes: larger ones would overflow (Detectron's `BBOX_XFORM_CLIP`)."""


def corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The low and the high corner: [..., 4] -> [..., 2], [..., 2].

    Not two slices: the gradient of each would be as large as all boxes, most of it zeros, and these would be added up.
    """
    low, high = tf.split(boxes, 2, axis=-1)
    return low, high


def area(boxes: Tensor) -> Tensor:
    """[..., 4] -> [...]."""
    return area_between(*corners(boxes))


def area_between(low: Tensor, high: Tensor) -> Tensor:
    """Of the boxes with these corners, [..., 2] each -> [...]."""
    width, height = tf.unstack(tf.maximum(high - low, 0.0), axis=-1)
    return width * height


def intersection(one: Tensor, other: Tensor) -> Tensor:
    """The common area of boxes [..., 4] and [..., 4], broadcast -> [...]."""
    (low, high), (other_low, other_high) = corners(one), corners(other)
    return area_between(tf.maximum(low, other_low), tf.minimum(high, other_high))


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union, 0..1, broadcast: [..., 4], [..., 4] -> [...]."""
    common = intersection(one, other)
    return common / (area(one) + area(other) - common + EPSILON)


def pairwise_iou(one: Tensor, other: Tensor) -> Tensor:
    """[..., N, 4] and [..., P, 4] -> [..., N, P]."""
    common = pairwise_intersection(one, other)
    return common / (area(one)[..., :, tf.newaxis] + area(other)[..., tf.newaxis, :] - common + EPSILON)


def pairwise_intersection(one: Tensor, other: Tensor) -> Tensor:
    """The common area of each with each: [..., N, 4] and [..., P, 4] -> [..., N, P].

    Axis by axis, so that P and not a corner's two numbers lie side by side in memory: of thousands of anchors, that is
    several times as fast.
    """
    sides = []
    for low, high in ((0, 2), (1, 3)):
        begin = tf.maximum(one[..., :, tf.newaxis, low], other[..., tf.newaxis, :, low])
        end = tf.minimum(one[..., :, tf.newaxis, high], other[..., tf.newaxis, :, high])
        sides.append(tf.maximum(end - begin, 0.0))
    return sides[0] * sides[1]


def share_inside(one: Tensor, other: Tensor) -> Tensor:
    """How much of each box lies in each of the others: [..., P, 4] in [..., N, 4] -> [..., N, P], 0..1."""
    return pairwise_intersection(other, one) / (area(one)[..., tf.newaxis, :] + EPSILON)


def giou(one: Tensor, other: Tensor) -> Tensor:
    """Generalised IoU, -1..1: boxes apart differ by how far (Rezatofighi et al. 2019, algorithm 1)."""
    common = intersection(one, other)
    union = area(one) + area(other) - common
    hull = area_between(*_hull(one, other))
    return common / (union + EPSILON) - (hull - union) / (hull + EPSILON)


def ciou(one: Tensor, other: Tensor) -> Tensor:
    """Complete IoU: less for middles apart and for other proportions (Zheng et al. 2020, section 3.3)."""
    overlap = iou(one, other)
    low, high = _hull(one, other)
    diagonal = tf.reduce_sum(tf.square(high - low), axis=-1)
    apart = tf.reduce_sum(tf.square(middle(one) - middle(other)), axis=-1)
    shape = 4.0 / math.pi**2 * tf.square(_slope(other) - _slope(one))
    weight = tf.stop_gradient(shape / (1.0 - overlap + shape + EPSILON))
    return overlap - apart / (diagonal + EPSILON) - weight * shape


def middle(boxes: Tensor) -> Tensor:
    """[..., 4] -> x, y [..., 2]."""
    low, high = corners(boxes)
    return 0.5 * (low + high)


def _hull(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The corners of the smallest box around both."""
    (low, high), (other_low, other_high) = corners(one), corners(other)
    return tf.minimum(low, other_low), tf.maximum(high, other_high)


def _slope(boxes: Tensor) -> Tensor:
    """The angle of a diagonal, which says its proportions."""
    low, high = corners(boxes)
    width, height = tf.unstack(tf.maximum(high - low, 0.0), axis=-1)
    return tf.math.atan2(width, height + EPSILON)


# ------------------------------------------------------------------------------------------------- written down


def from_distances(points: Tensor, distances: Tensor) -> Tensor:
    """Boxes around points [..., 2], by their distances to the left, top, right, bottom [..., 4] -> [..., 4]."""
    before, behind = corners(distances)
    return tf.concat([points - before, points + behind], axis=-1)


def to_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """The inverse; negative where a point is outside."""
    low, high = corners(boxes)
    return tf.concat([points - low, high - points], axis=-1)


def to_steps(anchors: Tensor, boxes: Tensor, scales: tuple[float, float]) -> Tensor:
    """Boxes as seen from anchors, [..., 4]: the middle's step in anchor sides, the logarithm of the sides' ratio
    (Ren et al. 2015, "Faster R-CNN", equation 2), each divided by its scale.

    Args:
        scales: of middles and of sizes, so that both kinds vary about as much.
    """
    sides, wanted = _sides(anchors), _sides(boxes)
    steps = (middle(boxes) - middle(anchors)) / sides / scales[0]
    return tf.concat([steps, tf.math.log(wanted / sides) / scales[1]], axis=-1)


def from_steps(anchors: Tensor, steps: Tensor, scales: tuple[float, float]) -> Tensor:
    """The inverse of `to_steps`."""
    sides, (to_middle, to_size) = _sides(anchors), corners(steps)
    centre = middle(anchors) + to_middle * scales[0] * sides
    half = 0.5 * sides * tf.exp(tf.minimum(to_size * scales[1], LARGEST_STEP))
    return tf.concat([centre - half, centre + half], axis=-1)


def _sides(boxes: Tensor) -> Tensor:
    low, high = corners(boxes)
    return tf.maximum(high - low, EPSILON)


# ------------------------------------------------------------------------------------------------- what they cost


def smooth_l1(errors: Tensor, beta: float) -> Tensor:
    """Squared below `beta`, linear beyond (Girshick 2015, "Fast R-CNN", equation 3): [...] -> [...]."""
    size = tf.abs(errors)
    return tf.where(size < beta, 0.5 * tf.square(errors) / beta, size - 0.5 * beta)


def giou_loss(expected: Tensor, found: Tensor) -> Tensor:
    """[..., 4], [..., 4] -> [...], 0 for the same boxes."""
    return 1.0 - giou(expected, found)


def ciou_loss(expected: Tensor, found: Tensor) -> Tensor:
    """[..., 4], [..., 4] -> [...], 0 for the same boxes."""
    return 1.0 - ciou(expected, found)


OVERLAP_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"giou": giou_loss, "ciou": ciou_loss}
