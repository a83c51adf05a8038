"""What a Siamese tracker's wrong answers cost. Imported only where something is trained.

Targets float32 [B,5]: the object's box x_min, y_min, x_max, y_max as shares of the search crop, and 1 where the object
is there at all, else 0.

B = batch, h, w = places, P = h * w.
"""

from __future__ import annotations

from models import boxes
from models.detectors.base import focal
from models.siamese.network import Siamese
from models.stack import keras, tf

INSIDE, OUTSIDE = 0.25, 0.5
"""Half axes of two ellipses in the box, as shares of its sides: within the first a place says yes, beyond the second
no, between them it is not asked (SiamBAN, 2020, section 3.3)."""
GAMMA = 1.0
"""How fast what is right already ceases to count."""
EVEN = 0.5
"""Presence and absence count alike: there is one object, and its places are counted by themselves."""


def places_in(target: tf.Tensor, middles: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which places answer for the object, and which say that it is not there, bool [B,P] each.

    The place nearest to a small object's middle answers for it, also where none lies within its inner ellipse.

    Args:
        target: float32 [B,5].
        middles: float32 [P,2], x, y as shares.
    """
    there = target[:, tf.newaxis, 4] > 0
    sides = tf.maximum(target[:, 2:4] - target[:, :2], boxes.EPSILON)[:, tf.newaxis]
    steps = (middles - boxes.middle(target[:, :4])[:, tf.newaxis]) / sides  # [B,P,2]
    apart = tf.reduce_sum(tf.square(steps), axis=-1)
    nearest = tf.one_hot(tf.argmin(apart, axis=1), tf.shape(middles)[0], True, False, dtype=tf.bool)
    inside = there & ((apart < INSIDE**2) | nearest)
    return inside, ~inside & (~there | (apart > OUTSIDE**2))


def mean_where(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """The mean of the chosen of each row, [B,P], bool [B,P] -> [B]; 0 where none is."""
    counted = tf.cast(chosen, tf.float32)
    return tf.reduce_sum(counted * values, axis=1) / tf.maximum(tf.reduce_sum(counted, axis=1), 1.0)


class PlaceLoss(keras.losses.Loss):
    """The base: what the places of one search crop cost, [B].

    Args:
        network: gives the places.
        side: of the crops, in pixels.
    """

    def __init__(self, network: Siamese, side: int, name: str):
        super().__init__(name=name)
        self.network, self.side = network, side
        self.middles = network.middles(side)


class ScoreLoss(PlaceLoss):
    """Focal cross-entropy, the mean over the places of the object and the mean over all others: targets [B,5], logits
    [B,h,w,1] -> [B]."""

    def __init__(self, network: Siamese, side: int, name: str = "score_loss"):
        super().__init__(network, side, name)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        inside, outside = places_in(y_true, tf.constant(self.middles))
        logits = tf.reshape(tf.cast(y_pred, tf.float32), tf.shape(inside))
        wrong = focal(tf.cast(inside, tf.float32), logits, GAMMA, EVEN)
        return mean_where(wrong, inside) + mean_where(wrong, outside)


class EdgeLoss(PlaceLoss):
    """1 - GIoU, the mean over the places that answer for the object; 0 where it is not there: targets [B,5], raw edges
    [B,h,w,4] -> [B]."""

    def __init__(self, network: Siamese, side: int, name: str = "edge_loss"):
        super().__init__(network, side, name)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        inside, _ = places_in(y_true, tf.constant(self.middles))
        found = self.network.boxes(self.side, y_pred)
        return mean_where(boxes.giou_loss(y_true[:, tf.newaxis, :4], found), inside)
