"""What every compression technique is given and gives back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.settings import Settings

if TYPE_CHECKING:
    import tf_keras as keras

    from pipeline.tasks.base import Task


@dataclass(frozen=True, eq=False)
class CompressionJob:
    """One trained model that waits to be compressed.

    Args:
        task: the resolved task; its `decode` goes into the file.
        model: trained; `image` uint8 [B, H, W, C] in, named raw outputs out. It is left as it is.
        calibration: uint8 [n, H, W, C], 0..255, as the evaluation path gives them; n >= 1.
        fine_tune: trains the given model in place on the training data; called with (model, epochs, learning_rate). It
            takes `image` as float32 0..255 and names its outputs as `model` does.
        scope: makes the context in which models for `fine_tune` are created, such as `strategy.scope`.
    """

    task: Task
    model: keras.Model
    calibration: np.ndarray
    fine_tune: Callable[[keras.Model, int, float], None]
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext

    def trunk(self) -> keras.Model:
        """The trained network from `image` float32 0..255 to named raw outputs, in float32 however it was trained."""
        from models.graphs import with_float_input
        from pipeline.compress.convert import in_float32

        return in_float32(with_float_input(self.model))

    def serving(self) -> keras.Model:
        """The trained network from `image` float32 0..255 to the task's decoded predictions."""
        return self.task.serving_model(self.trunk())


class Compression(Settings):
    """One way to make a `.tflite` file of a trained model. The file takes one picture, `image` [1, H, W, C] with values
    0..255, and gives the task's decoded predictions by name, under the signature `serving_default`."""

    name: str | None = None
    """Name of the variant in the Run, where one kind is wanted twice; by default its kind."""

    @property
    def variant_name(self) -> str:
        """The variant's name: of its folder and file in the Run, and in all tables."""
        return self.name or str(self.model_dump()["kind"])

    @abstractmethod
    def convert(self, job: CompressionJob) -> bytes:
        """The finished `.tflite` file.

        Raises:
            ExportError: the model holds something that this technique, or TFLite's builtin operators, cannot express.
        """
