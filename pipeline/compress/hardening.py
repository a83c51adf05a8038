"""What happens between the steps of a training with binary weights."""

from __future__ import annotations

from models.low_bit import BinaryWeights
from models.stack import keras


class Hardening(keras.callbacks.Callback):
    """Lets binary layers go over from their float weights to binary ones, step by step.

    Args:
        share: of all steps, after which they are binary.
    """

    def __init__(self, share: float):
        super().__init__()
        self._share = share
        self._step = 0

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        steps = self._share * self.params["epochs"] * self.params["steps"]
        self._set(min(self._step / steps, 1.0) if steps else 1.0)
        self._step += 1

    def on_train_end(self, logs: object = None) -> None:
        self._set(1.0)

    def _set(self, share: float) -> None:
        for layer in self.model.submodules:
            if isinstance(layer, BinaryWeights):
                layer.share.assign(share)
