"""Metrics shown while training that leave out what is not known, as the losses do. Importing this module makes models
that hold them loadable.

B = batch, K = classes or targets. `sample_weight` is float [B], 0 for padding.
"""

from __future__ import annotations

from models.stack import keras, tf


@keras.saving.register_keras_serializable(package="convoy")
class KnownAccuracy(keras.metrics.CategoricalAccuracy):
    """The share of right first choices: class shares [B, K] against scores [B, K].

    Of mixed pictures the class with the largest share is right. A row of zeros (class not known) does not count.
    """

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        known = tf.cast(tf.reduce_any(y_true > 0, axis=-1), tf.float32)
        super().update_state(
            y_true, y_pred, known if sample_weight is None else known * tf.reshape(sample_weight, [-1])
        )


@keras.saving.register_keras_serializable(package="convoy")
class KnownAUC(keras.metrics.AUC):
    """`keras.metrics.AUC` with `multi_label`, without NaN. Of mixed pictures a share of 0.5 and more is present."""

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        known = tf.cast(tf.math.is_finite(y_true), tf.float32)
        present = tf.cast(y_true >= 0.5, tf.float32)
        weight = known if sample_weight is None else known * tf.reshape(sample_weight, [-1, 1])
        super().update_state(present, y_pred, weight)


@keras.saving.register_keras_serializable(package="convoy")
class KnownAbsoluteError(keras.metrics.Mean):
    """The mean absolute error of numbers [B, K] over those that are known, which NaN is not."""

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        finite = tf.math.is_finite(y_true)
        errors = tf.abs(tf.where(finite, y_true, 0.0) - y_pred)
        known = tf.cast(finite, tf.float32)
        weight = known if sample_weight is None else known * tf.reshape(sample_weight, [-1, 1])
        super().update_state(errors, weight)
