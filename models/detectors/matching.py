"""Which place of a detector answers for which object.

B = batch, N = objects, P = places, K = classes. Nothing here has a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models import boxes
from models.detectors.truth import Truth
from models.stack import tf

Tensor = Any

LEAST = 1e-9
NOBODY = -1
FAVOURED = 1.0
"""What an object's claim to its best anchors counts beside its IoU: more than any other object's claim."""
INSIDE = 0.5
"""A place of which at least this share lies in an object that is not asked for is not asked either."""


@dataclass(frozen=True)
class Matches:
    """What each place should say.

    Args:
        object: int32 [B, P], the object that a place answers for; 0 where it answers for none.
        positive: bool [B, P]: it answers for one.
        negative: bool [B, P]: it should say that nothing is there. A place that is neither is not asked.
        quality: float32 [B, P], 0..1: how well it should claim to fit; 0 where not positive.
    """

    object: Tensor
    positive: Tensor
    negative: Tensor
    quality: Tensor


def by_overlap(
    truth: Truth, anchors: Tensor, positive_from: float, negative_below: float, best_from: float = LEAST
) -> Matches:
    """Anchors answer for the object that they overlap most (Ren et al. 2015, section 3.1.2): positive from one IoU on,
    negative below the other; an object's own best anchors are positive from a third one on, as a rule whatever they
    reach. Where all of them are also the best ones of other objects, which they overlap more, it has its best free one.

    Args:
        anchors: float32 [P, 4], or [B, P, 4] where each picture has its own, in pixels.
    """
    overlaps = tf.where(truth.asked[..., tf.newaxis], boxes.pairwise_iou(truth.boxes, anchors), -1.0)
    best_of_object = tf.reduce_max(overlaps, axis=-1, keepdims=True)
    favourite = (overlaps >= best_of_object - LEAST) & (overlaps > best_from)  # [B, N, P]
    claimed = tf.where(favourite, overlaps + FAVOURED, overlaps)  # favourites win over any other object's claim
    chosen, strength = tf.argmax(claimed, axis=1, output_type=tf.int32), tf.reduce_max(claimed, axis=1)
    wants = best_of_object[..., 0] > best_from
    chosen, taken = _second_choices(overlaps, wants, chosen, strength >= FAVOURED, best_from)
    positive = taken | (strength >= positive_from)
    negative = ~positive & (strength < negative_below) & ~_hidden_in_ignored(truth, anchors)
    return Matches(tf.where(positive, chosen, 0), positive, negative, tf.cast(positive, tf.float32))


def _second_choices(
    overlaps: Tensor, wants: Tensor, chosen: Tensor, taken: Tensor, best_from: float
) -> tuple[Tensor, Tensor]:
    """`chosen` and `taken` once objects that won none of their favourites have their best free anchor, if it reaches
    more than `best_from`. Of several that want the same one, that with the largest overlap has it, and the others
    choose again. Only those objects' overlaps are looked at, so that it costs next to nothing where there are none.

    Args:
        overlaps: float32 [B, N, P]. wants: bool [B, N], objects that are to have an anchor.
        chosen: int32 [B, P]. taken: bool [B, P], whether it is a favourite of the chosen object.
    """

    def choose(lost: Tensor, chosen: Tensor, taken: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        who = tf.cast(tf.where(lost), tf.int32)  # [L, 2]: picture and object
        free = tf.where(tf.gather(taken, who[:, 0]), -1.0, tf.gather_nd(overlaps, who))  # [L, P]
        best, reached = tf.argmax(free, axis=-1, output_type=tf.int32), tf.reduce_max(free, axis=-1)
        places = tf.stack([who[:, 0], best], axis=-1)
        offers = tf.tensor_scatter_nd_max(tf.fill(tf.shape(taken), best_from), places, reached)
        highest = (reached > best_from) & (reached >= tf.gather_nd(offers, places))
        numbers = tf.where(highest, who[:, 1], NOBODY)
        winner = tf.tensor_scatter_nd_max(tf.fill(tf.shape(taken), NOBODY), places, numbers)  # [B, P]
        again = (reached > best_from) & (tf.gather_nd(winner, places) != who[:, 1])
        won = winner != NOBODY
        return tf.tensor_scatter_nd_update(lost, who, again), tf.where(won, winner, chosen), taken | won

    first = tf.cast(tf.where(taken), tf.int32)
    served = tf.stack([first[:, 0], tf.gather_nd(chosen, first)], axis=-1)
    lost = tf.tensor_scatter_nd_update(wants, served, tf.zeros(tf.shape(served)[:1], tf.bool))
    rounds = tf.shape(wants)[1]  # each serves one object at least, unless numbers are not finite
    state = (lost, chosen, taken)
    _, chosen, taken = tf.while_loop(lambda lost, *_: tf.reduce_any(lost), choose, state, maximum_iterations=rounds)
    return chosen, taken


def task_aligned(
    truth: Truth,
    points: Tensor,
    steps: Tensor,
    found: Tensor,
    scores: Tensor,
    most: int,
    powers: tuple[float, float],
) -> Matches:
    """The places inside an object that already answer best for it (Feng et al. 2021, "TOOD", section 3.2).

    An object takes the `most` places with the largest score^alpha * IoU^beta, a place that several want goes to the one
    that it overlaps most. The quality is that alignment, scaled so that the best place of an object has its largest
    IoU.

    Args:
        points: float32 [P, 2], in pixels. steps: float32 [P, 1], their strides.
        found: boxes as they are answered now, float32 [B, P, 4], in pixels.
        scores: as they are answered now, 0..1, float32 [B, P, K].
        powers: alpha and beta.
    """
    there = truth.asked[..., tf.newaxis]
    inside = _inside(truth.boxes, points, steps) & there  # [B, N, P]
    overlaps = tf.where(inside, boxes.pairwise_iou(truth.boxes, found), 0.0)
    of_class = tf.gather(tf.transpose(scores, [0, 2, 1]), truth.classes, axis=1, batch_dims=1)  # [B, N, P]
    alignment = tf.where(inside, tf.pow(of_class, powers[0]) * tf.pow(overlaps, powers[1]), 0.0)
    candidate = inside & _largest(alignment, most)
    claims = tf.where(candidate, overlaps + LEAST, 0.0)
    chosen, positive = tf.argmax(claims, axis=1, output_type=tf.int32), tf.reduce_max(claims, axis=1) > 0
    own = candidate & (tf.range(tf.shape(claims)[1])[:, tf.newaxis] == chosen[:, tf.newaxis])
    quality = tf.reduce_sum(_scaled(tf.where(own, alignment, 0.0), tf.where(own, overlaps, 0.0)), axis=1)
    ignored = _point_in_ignored(truth, points)
    return Matches(tf.where(positive, chosen, 0), positive, ~positive & ~ignored, quality)


def of_object(values: Tensor, matches: Matches) -> Tensor:
    """What belongs to each place's object: [B, N, ...] -> [B, P, ...]."""
    return tf.gather(values, matches.object, axis=1, batch_dims=1)


def _inside(objects: Tensor, points: Tensor, steps: Tensor) -> Tensor:
    """bool [B, N, P]: whether a point lies in an object, or, in one that is smaller than a cell, in the cell around its
    middle, so that every object has a place."""
    half = tf.maximum(0.5 * (objects[..., tf.newaxis, 2:] - objects[..., tf.newaxis, :2]), 0.5 * steps)
    return tf.reduce_all(tf.abs(boxes.middle(objects)[..., tf.newaxis, :] - points) < half, axis=-1)


def _largest(values: Tensor, most: int) -> Tensor:
    """bool [B, N, P]: the `most` largest of each row, ties included."""
    count = tf.minimum(most, tf.shape(values)[-1])
    return values >= tf.math.top_k(values, count, sorted=True).values[..., -1:]


def _scaled(alignment: Tensor, overlaps: Tensor) -> Tensor:
    """[B, N, P] each: the alignments of an object, the largest brought to its largest overlap."""
    largest = tf.reduce_max(alignment, axis=-1, keepdims=True)
    return alignment * tf.math.divide_no_nan(tf.reduce_max(overlaps, axis=-1, keepdims=True), largest)


def _hidden_in_ignored(truth: Truth, anchors: Tensor) -> Tensor:
    inside = boxes.share_inside(anchors, truth.boxes) >= INSIDE
    return tf.reduce_any(inside & truth.ignored[..., tf.newaxis], axis=1)


def _point_in_ignored(truth: Truth, points: Tensor) -> Tensor:
    low, high = truth.boxes[..., tf.newaxis, :2], truth.boxes[..., tf.newaxis, 2:]
    inside = tf.reduce_all((points >= low) & (points <= high), axis=-1)
    return tf.reduce_any(inside & truth.ignored[..., tf.newaxis], axis=1)
