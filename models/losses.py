"""Losses: each gives one value per example [B]; only Keras reduces, so that replicas add up to one device.

What is not known does not count: an example's value is the mean over its known targets, 0 where it has none. Unknown
values are replaced before anything is computed with them, so that gradients stay finite.

B = batch, K = classes or targets.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from models.stack import keras, tf


class ExampleLoss(keras.losses.Loss):
    """A loss whose arguments, by which it is saved, are the attributes of the same names."""

    arguments: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in self.arguments}}


@keras.saving.register_keras_serializable(package="convoy")
class SoftmaxCrossEntropy(ExampleLoss):
    """For one class a picture: float [B, K] of class shares (one-hot, or mixed) against logits [B, K] -> [B].

    A row of zeros is an example whose class is not known.

    Args:
        label_smoothing: share 0..1 of each target that is spread evenly over all classes (Szegedy et al. 2016,
            section 7).
        class_weights: [K], what the examples of each class count; a mixed one counts the mean by its shares. Empty for
            1 each.
    """

    arguments = ("label_smoothing", "class_weights")

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
        name: str = "softmax_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing
        self.class_weights = tuple(class_weights)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        known = tf.reduce_sum(y_true, axis=-1, keepdims=True)
        spread = self.label_smoothing * known / tf.cast(tf.shape(y_true)[-1], y_true.dtype)
        targets = (1.0 - self.label_smoothing) * y_true + spread
        losses = tf.nn.softmax_cross_entropy_with_logits(targets, y_pred)
        return losses * tf.linalg.matvec(y_true, self.class_weights) if self.class_weights else losses


@keras.saving.register_keras_serializable(package="convoy")
class SigmoidCrossEntropy(ExampleLoss):
    """For any number of classes a picture: float [B, K] of 0 to 1 against logits [B, K] -> [B], the mean over K.

    NaN is a class of which it is not known whether the picture shows it.

    Args:
        label_smoothing: share 0..1 by which targets move towards 0.5.
        positive_weights: [K], what it counts that a class is present; its absence counts 1. Empty for 1 each.
    """

    arguments = ("label_smoothing", "positive_weights")

    def __init__(
        self,
        label_smoothing: float = 0.0,
        positive_weights: Sequence[float] = (),
        name: str = "sigmoid_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing
        self.positive_weights = tuple(positive_weights)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        known = tf.math.is_finite(y_true)
        targets = tf.where(known, y_true, 0.0) * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        if self.positive_weights:
            losses = tf.nn.weighted_cross_entropy_with_logits(targets, y_pred, tf.constant(self.positive_weights))
        else:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, y_pred)
        return mean_of_known(losses, known)


class NumberLoss(ExampleLoss):
    """The base of losses for numbers: float [B, K] -> [B], the mean over the known; NaN is a number that is not."""

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        known = tf.math.is_finite(y_true)
        return mean_of_known(self.penalty(tf.where(known, y_true, 0.0) - y_pred), known)

    @abstractmethod
    def penalty(self, errors: tf.Tensor) -> tf.Tensor:
        """What errors [B, K] cost, [B, K]."""


@keras.saving.register_keras_serializable(package="convoy")
class Huber(NumberLoss):
    """For numbers with outliers (Huber 1964).

    Args:
        delta: error from which the loss grows linearly instead of quadratically, in the targets' unit.
    """

    arguments = ("delta",)

    def __init__(self, delta: float = 1.0, name: str = "huber", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.delta = delta

    def penalty(self, errors: tf.Tensor) -> tf.Tensor:
        size = tf.abs(errors)
        return tf.where(size <= self.delta, 0.5 * tf.square(errors), self.delta * (size - 0.5 * self.delta))


@keras.saving.register_keras_serializable(package="convoy")
class MeanSquared(NumberLoss):
    """The squared error of numbers."""

    def __init__(self, name: str = "mean_squared", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def penalty(self, errors: tf.Tensor) -> tf.Tensor:
        return tf.square(errors)


def mean_of_known(values: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """The mean of each row of [B, K] over what is known, bool [B, K] -> [B]; 0 where nothing is."""
    count = tf.reduce_sum(tf.cast(known, values.dtype), axis=-1)
    return tf.reduce_sum(tf.where(known, values, 0.0), axis=-1) / tf.maximum(count, 1.0)
