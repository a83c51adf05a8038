"""How boxes, corners and key points follow a picture that is moved.

Whatever moves pixels gives one function, from points of the picture to where they are afterwards; all that lies in the
picture follows by it. Coordinates are shares of the picture: 0 is its left or top edge, 1 its right or bottom edge.

B = batch, N = objects, P = key points, M = any number of points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf
from pipeline.data.example import (
    BOXES,
    CLASSES,
    CORNERS,
    NO_OBJECT,
    OBJECT_FIELDS,
    POINTS,
    Example,
)
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf

Move = Callable[["tf.Tensor"], "tf.Tensor"]
"""Points (x, y) float32 [B,M,2] as shares of the picture -> where they are in the result, as shares of that."""


ROUNDING = 1e-3
"""Shares closer than this count as equal: a box that is turned to the very edge has not left the picture."""


def move_objects(
    examples: Example, move: Move, min_visible: float | tf.Tensor, steps: int = 1, changed: tf.Tensor | None = None
) -> Example:
    """The batch with boxes, corners and key points moved; objects that left the picture become none.

    Args:
        min_visible: an object stays where at least this share of its moved box is inside the result; one for all, or
            float32 [B,1].
        steps: points on each side of a box that are followed; 1 is enough where straight lines stay straight.
        changed: bool [B], false for the examples whose objects stay as they are, to the last bit; None: all change.
    """
    moved: Example = {}
    stays = None
    if BOXES in examples:
        around = moved_bounds(outline(examples[BOXES], steps), move)
        stays = is_visible(around, min_visible)
        moved[BOXES] = tf.clip_by_value(around, 0.0, 1.0)
    if CORNERS in examples:
        corners = move_points(examples[CORNERS], move)
        stays = is_visible(bounds(corners), min_visible) if stays is None else stays
        moved[CORNERS] = tf.clip_by_value(corners, 0.0, 1.0)
    if POINTS in examples:
        moved[POINTS] = move_key_points(examples[POINTS], move)
    result = keep_objects({**examples, **moved}, stays)
    return result if changed is None else {**result, **_only_where(changed, result, examples)}


def keep_objects(examples: Example, stays: tf.Tensor | None) -> Example:
    """The batch without the objects that do not stay, bool [B,N]: class -1, and zeros in every other field."""
    if stays is None:
        return examples
    stays &= examples[CLASSES] != NO_OBJECT
    kept: Example = {CLASSES: tf.where(stays, examples[CLASSES], NO_OBJECT)}
    for name in (examples.keys() & OBJECT_FIELDS) - {CLASSES}:
        kept[name] = tf.where(_spread(stays, examples[name]), examples[name], tf.zeros([], examples[name].dtype))
    return {**examples, **kept}


def swap_points(examples: Example, pairs: Sequence[tuple[int, int]], mirrored: tf.Tensor) -> Example:
    """The batch with key points that belong to the left and the right changed over in the mirrored examples.

    Args:
        pairs: numbers of two key points each, such as the left and the right eye; no number twice.
        mirrored: bool [B].

    Raises:
        ConfigError: the objects have fewer key points.
    """
    if POINTS not in examples or not pairs:
        return examples
    points = examples[POINTS]
    order = np.arange(points.shape[2])
    left, right = np.array(pairs).T
    if max(*left, *right) >= len(order):
        raise ConfigError(
            f"`swap_points` names key point {max(*left, *right)}, but the objects have {len(order)} key points, 0 to "
            f"{len(order) - 1}. Name pairs of these, such as [[1, 2]]."
        )
    order[left], order[right] = right, left
    return {**examples, POINTS: tf.where(_spread(mirrored, points), tf.gather(points, order, axis=2), points)}


def _only_where(changed: tf.Tensor, after: Example, before: Example) -> Example:
    """The fields of objects, with the examples that are not changed, bool [B], as they were."""
    names = before.keys() & OBJECT_FIELDS
    return {name: tf.where(_spread(changed, before[name]), after[name], before[name]) for name in names}


def _spread(condition: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """A condition on the first axes of values, with as many axes as they have."""
    more = [1] * (values.shape.rank - condition.shape.rank)
    return tf.reshape(condition, tf.concat([tf.shape(condition), more], axis=0)) if more else condition


def outline(boxes: tf.Tensor, steps: int) -> tf.Tensor:
    """Points around each box, clockwise from the top left: float32 [B,N,4] -> [B,N,4*steps,2]."""
    along = np.arange(steps, dtype=np.float32) / steps
    zero, one = np.zeros(steps, np.float32), np.ones(steps, np.float32)
    across = np.concatenate([along, one, 1 - along, zero])
    down = np.concatenate([zero, along, one, 1 - along])
    low, size = boxes[..., tf.newaxis, :2], (boxes[..., 2:] - boxes[..., :2])[..., tf.newaxis, :]
    return low + size * np.stack([across, down], axis=-1)


def move_points(points: tf.Tensor, move: Move) -> tf.Tensor:
    """Points float32 [B, ..., 2] moved."""
    shape = tf.shape(points)
    return tf.reshape(move(tf.reshape(points, [shape[0], -1, 2])), shape)


def moved_bounds(points: tf.Tensor, move: Move) -> tf.Tensor:
    """The boxes around moved outlines: float32 [B,N,M,2] -> [B,N,4]."""
    return bounds(move_points(points, move))


def bounds(points: tf.Tensor) -> tf.Tensor:
    """The box around points: float32 [B,N,M,2] -> [B,N,4]."""
    return tf.concat([tf.reduce_min(points, axis=-2), tf.reduce_max(points, axis=-2)], axis=-1)


def is_visible(boxes: tf.Tensor, min_visible: float | tf.Tensor) -> tf.Tensor:
    """Whether at least this share of each box, float32 [B,N,4], is inside 0..1: bool [B,N]; no area: never."""
    return visible_share(boxes) > min_visible - ROUNDING


def visible_share(boxes: tf.Tensor) -> tf.Tensor:
    """The share of each box, float32 [B,N,4], that is inside 0..1: float32 [B,N]; -1 where no area is inside."""
    inside = area(tf.clip_by_value(boxes, 0.0, 1.0))
    return tf.where(inside > 0.0, inside / tf.maximum(area(boxes), 1e-12), -1.0)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Areas [B,N] of boxes [B,N,4], as shares of the picture."""
    return tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], axis=-1)


def move_key_points(points: tf.Tensor, move: Move) -> tf.Tensor:
    """Key points float32 [B,N,P,3] moved; those that leave the picture count as not labelled, at 0, 0."""
    places = move_points(points[..., :2], move)
    inside = tf.reduce_all((places >= 0.0) & (places <= 1.0), axis=-1, keepdims=True) & (points[..., 2:] > 0.0)
    return tf.where(inside, tf.concat([places, points[..., 2:]], axis=-1), 0.0)


def through_window(window: tf.Tensor) -> Move:
    """What happens to points when a window becomes the picture.

    Args:
        window: float32 [B,4], y_min, x_min, y_max, x_max as shares of the picture; beyond 0..1 for a letterbox.
    """
    start, end = tf.reverse(window[:, :2], [-1]), tf.reverse(window[:, 2:], [-1])

    def move(points: tf.Tensor) -> tf.Tensor:
        return (points - start[:, tf.newaxis]) / (end - start)[:, tf.newaxis]

    return move
