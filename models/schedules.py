"""Learning rates over the steps of a phase."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable(package="convoy")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0 to the peak, then follows another schedule from its beginning (Goyal et al. 2017, 2.2).

    Args:
        peak: learning rate at the end of the warm-up.
        warmup_steps: length of the rise; 0 leaves it out.
        then: schedule of the steps after it.
    """

    def __init__(self, peak: float, warmup_steps: int, then: keras.optimizers.schedules.LearningRateSchedule):
        super().__init__()
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.then = then

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate of a step, float32 []."""
        step = tf.cast(step, tf.float32)
        rising = self.peak * (step + 1.0) / max(self.warmup_steps, 1)
        return tf.where(step < self.warmup_steps, rising, self.then(tf.maximum(step - self.warmup_steps, 0.0)))

    def get_config(self) -> dict[str, object]:
        """What `from_config` takes."""
        then = keras.optimizers.schedules.serialize(self.then)
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "then": then}

    @classmethod
    def from_config(cls, config: dict[str, object]) -> WarmUp:
        """The schedule that `get_config` describes."""
        return cls(**{**config, "then": keras.optimizers.schedules.deserialize(config["then"])})
