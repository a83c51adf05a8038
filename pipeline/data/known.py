"""Training on pictures whose last channel says which pixels are known (`PictureFormat.channels` 2 or 4).

While pictures are augmented, that channel is a field of its own, `known`: it moves with the picture and is mixed with
it, but is neither a colour nor filled like one; what moves uncover is not known.

B = batch, H, W, C = the model's pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment import RandomResizedCrop
from pipeline.data.example import IMAGE, KNOWN, DataInfo, Example
from pipeline.data.reading import Reading

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class ReadingOfKnown(Reading):
    """What to read where pictures have such a channel. A crop at the head is a step of its own."""

    @property
    def joined_crop(self) -> RandomResizedCrop | None:
        """None: OpenCV's decoder gives colours alone."""
        return None

    def augmented(self, batch: Example) -> Example:
        """A batch of Examples at the model's size, augmented; `image` uint8 [B,H,W,C] with the channel before and
        after."""
        return joined(super().augmented(apart(batch, self.need.format)))


def apart(batch: Example, format: PictureFormat) -> Example:
    """`image` uint8 [B,H,W,C] -> `image` [B,H,W,C-1] and `known` [B,H,W,1], where pictures have such a channel."""
    if not format.marks_missing:
        return batch
    return {**batch, IMAGE: batch[IMAGE][..., :-1], KNOWN: batch[IMAGE][..., -1:]}


def joined(batch: Example) -> Example:
    """The reverse."""
    if KNOWN not in batch:
        return batch
    others = {name: values for name, values in batch.items() if name != KNOWN}
    return {**others, IMAGE: tf.concat([batch[IMAGE], batch[KNOWN]], axis=-1)}


def held(info: DataInfo, format: PictureFormat) -> tuple[str, ...]:
    """The fields that examples hold while they are augmented."""
    return (*info.fields, KNOWN) if format.marks_missing else info.fields
