"""When tfmot prunes, and how much; loads TensorFlow."""

from __future__ import annotations

import math
from typing import Any

from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude
from tensorflow_model_optimization.sparsity.keras import PruningSchedule, UpdatePruningStep

from models.stack import tf


class PolynomialShares(PruningSchedule):
    """The cubic schedule of Zhu & Gupta 2017, section 3: sparsity rises fast at first, ever slower towards its end.

    tfmot's own `PolynomialDecay` takes numbers of steps, which are known only when the training starts, and misses the
    final sparsity where its steps do not end on a multiple of the frequency.

    Args:
        final_sparsity: share of a kernel's weights that are zero in the end.
        begin, end: shares of the training's steps between which weights are removed.
        frequency: steps from one removal to the next.
    """

    def __init__(self, final_sparsity: float, begin: float, end: float, frequency: int):
        self.final_sparsity = final_sparsity
        self.begin = begin
        self.end = end
        self.frequency = frequency
        self.first_step = 1
        self.last_step = 1

    def spread(self, steps: int) -> None:
        """Fixes the steps of the schedule, 1 to `steps`, before the training's graph is traced."""
        self.first_step = max(1, math.ceil(self.begin * steps))
        self.last_step = max(self.first_step, math.floor(self.end * steps))

    def __call__(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Whether weights are removed at `step` int64 [], and the sparsity then."""
        since = step - self.first_step
        is_turn = (since % self.frequency == 0) | (step == self.last_step)
        is_time = (since >= 0) & (step <= self.last_step) & is_turn
        left = 1.0 - tf.cast(since, tf.float32) / max(self.last_step - self.first_step, 1)
        left = tf.where(step >= self.last_step, 0.0, tf.clip_by_value(left, 0.0, 1.0))
        return is_time, self.final_sparsity * (1.0 - left**3)

    def get_config(self) -> dict[str, Any]:
        names = ("final_sparsity", "begin", "end", "frequency")
        return {"class_name": type(self).__name__, "config": {name: getattr(self, name) for name in names}}


class PruningSteps(UpdatePruningStep):
    """tfmot's callback, which starts its count of steps and zeroes weights after an epoch's last step; and tells the
    schedule how many steps there will be."""

    def __init__(self, schedule: PolynomialShares | None = None):
        super().__init__()
        self.schedule = schedule

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.schedule is not None:
            self.schedule.spread(self.params["steps"] * self.params["epochs"])
        super().on_train_begin(logs)


class Pruned(PruneLowMagnitude):
    """tfmot's wrapper of a layer whose kernel is pruned, under the layer's own name: losses and metrics go by name."""

    def __init__(self, layer: Any, **options: Any):
        super().__init__(layer, **options)
        self._name = layer.name
