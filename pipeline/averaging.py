"""Exponential moving average of the weights (Polyak and Juditsky 1992; Tarvainen and Valpola 2017)."""

from __future__ import annotations

from models.stack import keras, tf


class AveragedWeights(tf.Module):
    """A slow copy of a model's weights, which usually scores better than the weights themselves.

    The decay rises from 0.1 to its set value over the first steps, min(decay, (1 + t) / (10 + t)), so that the random
    first weights are forgotten.

    Args:
        model: built; all its floating-point weights are averaged, running statistics of norms included.
        decay: share of the average that is kept at each step, 0..1.
    """

    def __init__(self, model: keras.Model, decay: float):
        super().__init__()
        self.weights = [weight for weight in model.weights if weight.dtype.is_floating]
        self.average = [tf.Variable(weight, trainable=False) for weight in self.weights]
        self.decay = decay

    @tf.function
    def update(self, step: tf.Tensor) -> None:
        """Moves the average towards the weights after the step of that index, int64 []."""
        count = tf.cast(step, tf.float32)
        share = 1.0 - tf.minimum(self.decay, (1.0 + count) / (10.0 + count))
        for average, weight in zip(self.average, self.weights, strict=True):
            average.assign_sub((average - weight) * share)

    def swap(self) -> None:
        """Exchanges weights and average; a second call undoes it."""
        for average, weight in zip(self.average, self.weights, strict=True):
            kept = tf.identity(weight)
            weight.assign(tf.identity(average))
            average.assign(kept)
