"""What a detector can learn from another of the same layout, place by place."""

from __future__ import annotations

from typing import Any

from models.detectors.base import Raw
from models.stack import tf

Tensor = Any


def divergence(student: Raw, teacher: Raw, certainty: Tensor, temperature: float) -> Tensor:
    """How far a student's raw numbers are from a teacher's, summed over the places, float32 [B]; 0 where they agree.

    Of the classes the divergence of the softened probabilities, each by itself, as of Hinton et al. 2015; of the boxes
    the squared error of the raw numbers, where the teacher is sure of an object: elsewhere its boxes mean nothing
    (Zheng et al. 2022, "Localization distillation", section 3.3).

    Args:
        student, teacher: [B, P, C] and [B, P, R].
        certainty: the teacher's best score of each place, float32 [B, P], 0..1.
        temperature: by which the classes' logits are divided; the divergence is multiplied by its square.
    """
    wanted, found = teacher.classes / temperature, student.classes / temperature
    shares = tf.sigmoid(wanted)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(shares, wanted)
    apart = tf.nn.sigmoid_cross_entropy_with_logits(shares, found) - entropy
    classes = temperature**2 * tf.reduce_sum(apart, axis=[1, 2])
    boxes = tf.reduce_sum(certainty * tf.reduce_mean(tf.square(student.boxes - teacher.boxes), axis=-1), axis=-1)
    return tf.maximum(classes, 0.0) + boxes
