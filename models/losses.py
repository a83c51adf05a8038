"""Losses: each gives one value per example [B]; only Keras reduces, so that replicas add up to one device.

What is not known does not count: an example's value is the mean over its known targets, 0 where it has none. Unknown
values are replaced before anything is computed with them, so that gradients stay finite. What an answer costs is a
choice of its own, `models.penalties`.

B = batch, K = classes or targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from models.penalties import AnyClassPenalty, AnyNumberPenalty, ClassPenalty, NumberPenalty
from models.settings import Settings
from models.stack import keras, tf


class ExampleLoss(keras.losses.Loss):
    """A loss whose arguments, by which it is saved, are the attributes of the same names."""

    arguments: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.arguments}
        plain = {name: value.model_dump() if isinstance(value, Settings) else value for name, value in values.items()}
        return {**super().get_config(), **plain}


@keras.saving.register_keras_serializable(package="convoy")
class ClassLoss(ExampleLoss):
    """For one class a picture: float [B, K] of class shares (one-hot, or mixed) against logits [B, K] -> [B].

    A row of zeros is an example whose class is not known.

    Args:
        penalty: what a wrong answer costs.
        label_smoothing: share 0..1 of each target that is spread evenly over all classes (Szegedy et al. 2016,
            section 7).
        class_weights: [K], what the examples of each class count; a mixed one counts the mean by its shares. Empty for
            1 each.
    """

    arguments = ("penalty", "label_smoothing", "class_weights")

    def __init__(
        self,
        penalty: ClassPenalty | Mapping[str, Any],
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
        name: str = "class_loss",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.penalty = class_penalty(penalty)
        self.label_smoothing = label_smoothing
        self.class_weights = tuple(class_weights)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        known = tf.reduce_sum(y_true, axis=-1, keepdims=True)
        spread = self.label_smoothing * known / tf.cast(tf.shape(y_true)[-1], y_true.dtype)
        targets = (1.0 - self.label_smoothing) * y_true + spread
        losses = self.penalty.costs(targets, tf.nn.log_softmax(y_pred))
        return losses * tf.linalg.matvec(y_true, self.class_weights) if self.class_weights else losses


@keras.saving.register_keras_serializable(package="convoy")
class PresenceLoss(ExampleLoss):
    """For any number of classes a picture: float [B, K] of 0 to 1 against logits [B, K] -> [B], the mean over K.

    Each class is a question of two outcomes, present or not. NaN is a class of which it is not known whether the
    picture shows it.

    Args:
        penalty: what a wrong answer costs.
        label_smoothing: share 0..1 by which targets move towards 0.5.
        positive_weights: [K], what it counts that a class is present; its absence counts 1, and what lies between by
            its share. Empty for 1 each.
    """

    arguments = ("penalty", "label_smoothing", "positive_weights")

    def __init__(
        self,
        penalty: ClassPenalty | Mapping[str, Any],
        label_smoothing: float = 0.0,
        positive_weights: Sequence[float] = (),
        name: str = "presence_loss",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.penalty = class_penalty(penalty)
        self.label_smoothing = label_smoothing
        self.positive_weights = tuple(positive_weights)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        known = tf.math.is_finite(y_true)
        present = tf.where(known, y_true, 0.0)
        targets = present * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        shares = tf.stack([targets, 1.0 - targets], axis=-1)  # [B, K, 2]
        logarithms = tf.stack([tf.math.log_sigmoid(y_pred), tf.math.log_sigmoid(-y_pred)], axis=-1)
        losses = self.penalty.costs(shares, logarithms)
        if self.positive_weights:
            losses *= 1.0 + present * (tf.constant(self.positive_weights) - 1.0)
        return mean_of_known(losses, known)


@keras.saving.register_keras_serializable(package="convoy")
class NumberLoss(ExampleLoss):
    """For numbers: float [B, K] -> [B], the mean over the known; NaN is a number that is not.

    Args:
        penalty: what an error costs.
    """

    arguments = ("penalty",)

    def __init__(self, penalty: NumberPenalty | Mapping[str, Any], name: str = "number_loss", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.penalty = number_penalty(penalty)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        known = tf.math.is_finite(y_true)
        return mean_of_known(self.penalty.costs(tf.where(known, y_true, 0.0) - y_pred), known)


def class_penalty(penalty: ClassPenalty | Mapping[str, Any]) -> ClassPenalty:
    """The penalty, also from what it was saved as."""
    chosen: ClassPenalty = TypeAdapter(AnyClassPenalty).validate_python(penalty)
    return chosen


def number_penalty(penalty: NumberPenalty | Mapping[str, Any]) -> NumberPenalty:
    """The penalty, also from what it was saved as."""
    chosen: NumberPenalty = TypeAdapter(AnyNumberPenalty).validate_python(penalty)
    return chosen


def mean_of_known(values: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """The mean of each row of [B, K] over what is known, bool [B, K] -> [B]; 0 where nothing is."""
    count = tf.reduce_sum(tf.cast(known, values.dtype), axis=-1)
    return tf.reduce_sum(tf.where(known, values, 0.0), axis=-1) / tf.maximum(count, 1.0)
