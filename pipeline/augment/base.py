"""What an augmentation is.

An operation (settings) draws its random parameters once a batch, one set an example, and gives a transform that holds
them. Transforms that follow each other are fused where that is exact or better; the result is applied once to every
field of the batch that it concerns: picture, masks, boxes, key points, labels. No operation knows the task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field

from models.preprocess import PictureFormat
from models.settings import Settings
from models.stack import tf
from pipeline.augment.engines import Engine
from pipeline.data.example import Example

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class PictureShape:
    """The size of a batch's pictures in pixels."""

    height: int
    width: int
    channels: int

    @classmethod
    def of(cls, format: PictureFormat) -> Self:
        """That of the model's pictures while they are augmented: colours alone."""
        return cls(format.height, format.width, format.colours)


class Transform(ABC):
    """A change with known parameters for each example of a batch."""

    @abstractmethod
    def __call__(self, examples: Example, engine: Engine) -> Example:
        """The batch with this change made, in every field that it concerns: `image` uint8 [B,H,W,C] -> uint8, rounded
        and clipped."""

    def then(self, later: Transform) -> Transform | None:
        """One transform that does this and then `later`, or None where they have to stay two."""
        return None

    @abstractmethod
    def describe(self) -> str:
        """One line for the printed plan, such as `one resampling`."""

    def parts(self) -> Sequence[Transform]:
        """The transforms that this one stands for, in their order."""
        return [self]


class Chain(Transform):
    """Several transforms that one operation needs, in their order; the plan fuses each with its neighbours."""

    def __init__(self, transforms: Sequence[Transform]):
        self.transforms = transforms

    def __call__(self, examples: Example, engine: Engine) -> Example:
        for transform in self.transforms:
            examples = transform(examples, engine)
        return examples

    def describe(self) -> str:
        return ", then ".join(transform.describe() for transform in self.transforms)

    def parts(self) -> Sequence[Transform]:
        return [part for transform in self.transforms for part in transform.parts()]


class Augmentation(Settings):
    """What all augmentations have in common."""

    probability: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the examples that are changed, drawn anew for each example and epoch."""

    @property
    def keeps_halves(self) -> bool:
        """Whether a picture of two, one above the other, is one of the same two afterwards: nothing is moved, but to
        mirror left and right, and nothing of another example comes in."""
        return True

    def suited(self, fields: Collection[str]) -> Self:
        """This operation as it is right for examples that hold these fields; most are right for all.

        Raises:
            ConfigError: nothing of it is.
        """
        return self


class PictureOperation(Augmentation, ABC):
    """An augmentation of pictures that already have the model's size."""

    num_draws: ClassVar[int]
    """Uniform numbers needed for one example; number 0 decides whether the example is changed at all."""

    @abstractmethod
    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Transform:
        """The transform for a batch: draws float32 [B, num_draws] in [0, 1)."""

    def applies(self, draws: tf.Tensor) -> tf.Tensor:
        """1 for the examples that are changed, else 0: float32 [B]."""
        return tf.cast(draws[:, 0] < self.probability, tf.float32)


def between(draws: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Numbers in [0, 1) spread over [low, high)."""
    return low + draws * (high - low)


def to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """Float pixels rounded to the nearest of 0..255."""
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0.0, 255.0), tf.uint8)
