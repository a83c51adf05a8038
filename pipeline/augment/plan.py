"""Which operation runs when: the draws, what is fused, and the order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.augment import random
from pipeline.augment.base import Augmentation, PictureOperation, PictureShape, Transform
from pipeline.augment.geometry import RandomResizedCrop
from pipeline.data.example import EPOCH, ID, IMAGE, Example
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf


def check(operations: Sequence[Augmentation]) -> None:
    """Raises ConfigError for a list of operations that cannot run in its order."""
    for place, operation in enumerate(operations):
        if place and isinstance(operation, RandomResizedCrop):
            raise ConfigError(
                f"`augment.{place}` is random_resized_crop, which works on the full-resolution picture and so has to "
                "be the first operation, once. Move it to `augment.0`, or use random_crop or translation."
            )


def head_crop(operations: Sequence[Augmentation]) -> RandomResizedCrop | None:
    """The crop that takes the place of the plain resize when a picture is read, if there is one."""
    check(operations)
    first = next(iter(operations), None)
    return first if isinstance(first, RandomResizedCrop) else None


def apply(operations: Sequence[Augmentation], examples: Example, seed: int) -> Example:
    """Runs the operations in their order on a batch; a random resized crop is taken as done when the pictures were
    read.

    Args:
        operations: what to do; those that follow each other are fused where they can be.
        examples: `id`, `epoch`, and `image` uint8 [B,H,W,C] with known H, W, C, and any other fields.
        seed: of the whole run; together with id and epoch it decides every draw.

    Returns:
        The batch with `image` uint8 [B,H,W,C], rounded and clipped, and every other field that has to follow it.
    """
    check(operations)
    keys = random.keys(examples[ID], examples[EPOCH], seed)
    for transform in fuse(transforms(operations, keys, PictureShape(*examples[IMAGE].shape[1:]))):
        examples = transform(examples)
    return examples


def transforms(operations: Sequence[Augmentation], keys: tf.Tensor, shape: PictureShape) -> list[Transform]:
    """The drawn transform of each operation; operation number i draws from stream i."""
    return [
        operation.transform(random.uniform(keys, stream, operation.num_draws), shape)
        for stream, operation in enumerate(operations)
        if isinstance(operation, PictureOperation)
    ]


def fuse(transforms: Sequence[Transform]) -> list[Transform]:
    """The same transforms in the same order, neighbours made one where they can be."""
    fused: list[Transform] = []
    for transform in transforms:
        together = fused[-1].then(transform) if fused else None
        fused[-1:] = [together] if together else [*fused[-1:], transform]
    return fused
