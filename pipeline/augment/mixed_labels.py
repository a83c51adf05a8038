"""What becomes of labels and objects where pictures are mixed.

Labels of whole pictures: `label` stays that of the example itself, `label_parts` and `label_shares` say what is in the
picture. `labels` and `value` are mixed linearly; where some of the parts are not known (NaN), those that are known
count alone. `text` stays that of the example itself: two texts have no mean.

B = batch, N = objects, P = pictures mixed into one, H, W = picture, K = classes or targets.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from models.stack import tf
from pipeline.augment.places import ROUNDING, area, keep_objects
from pipeline.data.example import (
    BOXES,
    CORNERS,
    LABEL,
    LABEL_PARTS,
    LABEL_SHARES,
    LABELS,
    MASKS,
    OBJECT_FIELDS,
    POINTS,
    VALUE,
    Example,
)

if TYPE_CHECKING:
    import tensorflow as tf

HIDDEN = 1.0
"""The visibility of a key point that is labelled but covered."""


def mix_labels(examples: Example, members: tf.Tensor, shares: tf.Tensor) -> Example:
    """The batch with the labels of whole pictures mixed.

    Args:
        members: the places in the batch of what each example now consists of, int32 [B,P]; the first stands for the
            example itself where all others have share 0.
        shares: float32 [B,P]; they sum to 1.
    """
    mixed: Example = {}
    if LABEL in examples:
        mixed[LABEL_PARTS], mixed[LABEL_SHARES] = mixed_parts(examples, members, shares)
    for name in (LABELS, VALUE):
        if name in examples:
            mixed[name] = known_mean(tf.gather(examples[name], members), shares[..., tf.newaxis])
    return {**examples, **mixed}


def mixed_parts(examples: Example, members: tf.Tensor, shares: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`label_parts` and `label_shares`, [B,P*M] where there were M; parts without a share repeat `label`."""
    own = examples[LABEL][:, tf.newaxis]
    before = examples.get(LABEL_PARTS, own)
    before_shares = examples.get(LABEL_SHARES, tf.ones_like(own, tf.float32))
    count = members.shape[1] * before.shape[1]
    parts = tf.reshape(tf.gather(before, members), [-1, count])
    multiplied = tf.reshape(tf.gather(before_shares, members) * shares[..., tf.newaxis], [-1, count])
    return tf.where(multiplied > 0.0, parts, own), multiplied


def known_mean(parts: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """The mean of parts float32 [B,P,K] by shares [B,P,1], over those that are known; NaN where none is."""
    known = ~tf.math.is_nan(parts)
    weights = tf.where(known, shares, 0.0)
    total = tf.reduce_sum(weights, axis=1)
    mean = tf.math.divide_no_nan(tf.reduce_sum(weights * tf.where(known, parts, 0.0), axis=1), total)
    return tf.where(total > 0.0, mean, math.nan)


def objects_of(examples: Example, members: tf.Tensor) -> Example:
    """Class, place and shape of the objects of other examples: members int32 [B]."""
    return {name: tf.gather(examples[name], members) for name in OBJECT_FIELDS if name in examples}


def together(*parts: Example) -> Example:
    """The objects of several pictures in one, N added up."""
    return {name: tf.concat([part[name] for part in parts], axis=1) for name in parts[0]}


def uncovered(objects: Example, region: tf.Tensor, min_visible: float) -> Example:
    """Objects after something was pasted over a region, bool [B,H,W].

    Masks lose what is covered, and their boxes shrink to what is left; boxes of objects without a mask stay as they
    are. Objects that are covered too far are dropped, key points that are covered count as hidden.
    """
    left = objects
    if POINTS in objects:
        points = objects[POINTS]
        visibility = tf.where(at_points(region, points), tf.minimum(points[..., 2], HIDDEN), points[..., 2])
        left = {**left, POINTS: tf.concat([points[..., :2], visibility[..., tf.newaxis]], axis=-1)}
    share = 1.0 - share_inside(objects[BOXES], region)
    return seen(left, ~region, objects[BOXES], share, min_visible)


def clipped(objects: Example, region: tf.Tensor, rectangle: tf.Tensor, min_visible: float) -> Example:
    """Objects of which only what is in a rectangle is shown.

    Args:
        region: the pixels of the rectangle, bool [B,H,W].
        rectangle: x_min, y_min, x_max, y_max as shares, float32 [B,4].
    """
    low, high = rectangle[:, tf.newaxis, :2], rectangle[:, tf.newaxis, 2:]
    boxes = objects[BOXES]
    inside = tf.concat([tf.clip_by_value(part, low, high) for part in (boxes[..., :2], boxes[..., 2:])], axis=-1)
    left = dict(objects)
    if CORNERS in objects:
        left[CORNERS] = tf.clip_by_value(objects[CORNERS], low[:, tf.newaxis], high[:, tf.newaxis])
    if POINTS in objects:
        left[POINTS] = tf.where(at_points(region, objects[POINTS])[..., tf.newaxis], objects[POINTS], 0.0)
    share = tf.math.divide_no_nan(area(inside), area(boxes))
    return seen(left, region, inside, share, min_visible)


def seen(objects: Example, region: tf.Tensor, boxes: tf.Tensor, share: tf.Tensor, min_visible: float) -> Example:
    """Objects of which only what is in a region, bool [B,H,W], is seen.

    Args:
        boxes, share: of what is seen, float32 [B,N,4] and [B,N], for objects without a mask.
    """
    left: Example = {}
    if MASKS in objects:
        left[MASKS] = objects[MASKS] * tf.cast(region, tf.uint8)[:, tf.newaxis]
        before, after = (
            tf.reduce_sum(tf.cast(masks, tf.int32), axis=[2, 3]) for masks in (objects[MASKS], left[MASKS])
        )
        known = before > 0
        share = tf.where(known, tf.cast(after / tf.maximum(before, 1), tf.float32), share)
        shrunk = tf.where((after < before)[..., tf.newaxis], mask_bounds(left[MASKS]), objects[BOXES])
        boxes = tf.where(known[..., tf.newaxis], shrunk, boxes)
    return keep_objects({**objects, **left, BOXES: boxes}, (share > min_visible - ROUNDING) & (share > 0.0))


def mask_bounds(masks: tf.Tensor) -> tf.Tensor:
    """The box around each mask, uint8 [B,N,H,W] -> float32 [B,N,4] as shares; of no use where a mask is empty."""
    ends = [ends_of(tf.reduce_max(masks, axis=axis)) for axis in (2, 3)]
    return tf.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], axis=-1)


def ends_of(line: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the ones in uint8 [B,N,L] begin and end, as shares of L: float32 [B,N] each."""
    length = line.shape[2]
    first, behind = tf.argmax(line, axis=2), length - tf.argmax(tf.reverse(line, axis=[2]), axis=2)
    return tf.cast(first / length, tf.float32), tf.cast(behind / length, tf.float32)


def share_inside(boxes: tf.Tensor, region: tf.Tensor) -> tf.Tensor:
    """The share of each box's pixels, float32 [B,N,4], that is in a region, bool [B,H,W]: float32 [B,N]."""
    height, width = region.shape[1:]
    sums = tf.cumsum(tf.cumsum(tf.cast(region, tf.int32), axis=1), axis=2)
    sums = tf.pad(sums, [[0, 0], [1, 0], [1, 0]])  # [b,y,x]: pixels of the region above and left of y, x
    edges = tf.cast(tf.round(tf.clip_by_value(boxes, 0.0, 1.0) * [width, height, width, height]), tf.int32)
    left, top, right, bottom = tf.unstack(edges, axis=-1)

    def above_left(y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        return tf.gather_nd(sums, tf.stack([y, x], axis=-1), batch_dims=1)

    inside = above_left(bottom, right) - above_left(top, right) - above_left(bottom, left) + above_left(top, left)
    return tf.cast(inside / tf.maximum((right - left) * (bottom - top), 1), tf.float32)


def at_points(region: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Which key points float32 [B,N,P,3] lie in a region, bool [B,H,W]: bool [B,N,P]."""
    height, width = region.shape[1:]
    rows = tf.clip_by_value(tf.cast(points[..., 1] * float(height), tf.int32), 0, height - 1)
    columns = tf.clip_by_value(tf.cast(points[..., 0] * float(width), tf.int32), 0, width - 1)
    return tf.gather_nd(region, tf.stack([rows, columns], axis=-1), batch_dims=1)
