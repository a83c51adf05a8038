"""What every compression technique is given and gives back."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from pydantic import field_validator

from models.settings import Settings
from pipeline.compress.calibration import MinMax, Ranges

if TYPE_CHECKING:
    import tf_keras as keras

    from pipeline.learners.base import Learner
    from pipeline.tasks.base import Task

FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""What variants may be called: they are folders and files of the Run."""
SAVED_MODELS = ("saved_model", "saved_model_images")
"""What `verify` calls the SavedModel, asked by pictures' bytes and by their pixels: no variant may be called so."""


class FineTune(Protocol):
    """Trains a variant of the trained model in place, on the training data, with Adam and a cosine to zero."""

    def __call__(
        self,
        model: keras.Model,
        epochs: int,
        learning_rate: float,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        learner: Learner | None = None,
    ) -> None:
        """Args:
        model: takes `image` as float32 0..255, and names its outputs as the trained model does.
        epochs: passes over the training split.
        learning_rate: peak.
        callbacks: what has to happen between the steps besides, such as the schedule of a pruning.
        learner: how it learns; None is as the trained model did.
        """


@dataclass(frozen=True, eq=False)
class CompressionJob:
    """One trained model that waits to be compressed.

    Args:
        task: the resolved task; its `decode` goes into the file.
        model: trained; `image` uint8 [B, H, W, C] in, named raw outputs out. It is left as it is.
        calibration: uint8 [n, H, W, C], 0..255, as the evaluation path gives them; n >= 1.
        fine_tune: trains the given model in place on the training data.
        drop: how much worse a `.tflite`'s content does than `model`, by the task's metric and in its unit, on pictures
            that `verify` does not judge by; negative where it does better.
        scope: makes the context in which models for `fine_tune` are created, such as `strategy.scope`.
        distance: how far a `.tflite`'s predictions lie from `model`'s on such pictures, 0 for none: finer than `drop`,
            by which techniques rank where it is not given.
        ranges: how the ranges of activations follow from `calibration`.
    """

    task: Task
    model: keras.Model
    calibration: np.ndarray
    fine_tune: FineTune
    drop: Callable[[bytes], float]
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext
    distance: Callable[[bytes], float] | None = None
    ranges: Ranges = field(default_factory=MinMax)

    def trunk(self) -> keras.Model:
        """The trained network from `image` float32 0..255 to named raw outputs, in float32 however it was trained."""
        from models.graphs import with_float_input
        from pipeline.compress.convert import in_float32

        return in_float32(with_float_input(self.model))

    def serving(self) -> keras.Model:
        """The trained network from `image` float32 0..255 to the task's decoded predictions."""
        return self.task.serving_model(self.trunk())


@dataclass(frozen=True)
class Compressed:
    """What a technique made.

    Args:
        content: of the `.tflite`.
        says: one sentence on what was decided while it was made, for people; empty where nothing was.
        facts: the same as plain JSON values by name.
    """

    content: bytes
    says: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Compression(Settings):
    """One way to make a `.tflite` file of a trained model. The file takes one picture, `image` [1, H, W, C] with values
    0..255, and gives the task's decoded predictions by name, under the signature `serving_default`."""

    same_function: ClassVar[bool] = False
    """Whether its file computes exactly what the trained model does, but for the rounding of float32."""

    name: str | None = None
    """Name of the variant in the Run, where one kind is wanted twice; by default its kind. Letters, digits, `_`, `-`
    and `.`: it is the name of a file."""

    @field_validator("name")
    @classmethod
    def _can_be_a_file(cls, name: str | None) -> str | None:
        if name is not None and not FILE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a file: use letters, digits, `_`, `-` and `.`, as in int8_signed")
        if name in SAVED_MODELS:
            raise ValueError(f"{name!r} is what `verify` calls the SavedModel: choose another name")
        return name

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

    def compress(self, job: CompressionJob) -> Compressed:
        """The file, and what there is to say about how it was made; errors as of `convert`."""
        return Compressed(self.convert(job))


@dataclass(frozen=True, eq=False)
class PartJob:
    """A part of a trained network that production calls by itself, see `Task.parts`, and that waits to be compressed.

    Args:
        model: float32 inputs by name, among them `image` [B, H, W, C] 0..255; float32 outputs by name.
        inputs: gives what it takes of the calibration pictures, [n, ...] each, by name; computed when asked for.
        ranges: how the ranges of activations follow from these.
    """

    model: keras.Model
    inputs: Callable[[], Mapping[str, np.ndarray]]
    ranges: Ranges


class PartCompression(Compression):
    """A technique that needs no more than a network and what goes into it, and so makes files of parts as well."""

    @abstractmethod
    def convert_part(self, job: PartJob) -> bytes:
        """A `.tflite` of a part, float32 at its inputs and outputs; errors as of `convert`."""
