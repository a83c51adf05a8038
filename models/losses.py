"""Losses: each gives one value per example [B]; only Keras reduces, so that replicas add up to one device.

B = batch, K = classes or targets.
"""

from __future__ import annotations

from models.stack import keras


def softmax_cross_entropy(label_smoothing: float = 0.0) -> keras.losses.Loss:
    """For one class a picture: float [B, K] of class shares (one-hot, or mixed) against logits [B, K] -> [B].

    Args:
        label_smoothing: share 0..1 of each target that is spread evenly over all classes (Szegedy et al. 2016,
            section 7).
    """
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, name="softmax_cross_entropy"
    )


def sigmoid_cross_entropy(label_smoothing: float = 0.0) -> keras.losses.Loss:
    """For any number of classes a picture: float [B, K] of 0 and 1 against logits [B, K] -> [B], the mean over K.

    Args:
        label_smoothing: share 0..1 by which targets move towards 0.5.
    """
    return keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, name="sigmoid_cross_entropy"
    )


def huber(delta: float = 1.0) -> keras.losses.Loss:
    """For numbers with outliers: float [B, K] -> [B], the mean over K (Huber 1964).

    Args:
        delta: error from which the loss grows linearly instead of quadratically, in the targets' unit.
    """
    return keras.losses.Huber(delta, name="huber")


def mean_squared() -> keras.losses.Loss:
    """For numbers: float [B, K] -> [B], the mean squared error over K."""
    return keras.losses.MeanSquaredError(name="mean_squared")
