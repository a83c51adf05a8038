"""Augmentations that mix pictures with each other, and their labels with them.

An example is mixed only with others of its group: four that follow each other in the stream, which is in the same
order however it is shared out. So the result does not depend on the number of replicas, hosts or threads.

B = batch, H, W = picture.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from models.stack import tf
from pipeline.augment import random
from pipeline.augment.base import Augmentation, Chain, PictureOperation, PictureShape, between
from pipeline.augment.fill import ConstantFill, Fill
from pipeline.augment.mixed_pictures import Blend, Cut, ObjectCopy, Tile
from pipeline.augment.warp import MIN_VISIBLE, Warp, window_matrices
from pipeline.data.example import MASKS
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf

GROUP = 4
"""Consecutive examples that are mixed with each other; the batch of a replica has to be a multiple of it."""
LEAST_ALPHA = 0.01
"""Of a beta distribution: below it, nearly every draw is 0 or 1, and nothing is mixed."""
REMEDY = "Use cut_mix or mosaic, or data with a mask for each object."
QUANTILES = 4096
"""Steps in the table from which draws of a beta distribution are read."""


class Mixing(PictureOperation, ABC):
    """An augmentation that mixes an example with others of its group."""

    kind: str
    """The name of the operation."""
    needs: ClassVar[str | None] = None
    """The field without which it cannot work, if there is one."""

    @property
    def keeps_halves(self) -> bool:
        return False

    def partners(self, draws: tf.Tensor) -> tf.Tensor:
        """The place in the batch of another example of each one's group, int32 [B]; draw 1 decides."""
        place = tf.range(tf.shape(draws)[0])
        further = 1 + tf.cast(draws[:, 1] * (GROUP - 1), tf.int32)
        return place - place % GROUP + (place + further) % GROUP


class MixUp(Mixing):
    """Lays a partner over the picture, translucent, and mixes the labels by the same shares.

    Objects of both are kept, those of a picture whose share is below `min_visible` left out; the class of a pixel
    (`mask`) is that of the larger share. Source: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    """

    kind: Literal["mix_up"] = "mix_up"
    """Lays a partner over the picture, translucent, and mixes the labels by the same shares."""
    alpha: float = Field(default=0.2, ge=LEAST_ALPHA)
    """The share of the picture itself is drawn from the distribution Beta(alpha, alpha): near 0 mostly one of the two
    is seen, at 1 all shares are equally likely, far above both are seen equally."""
    min_visible: float = Field(default=MIN_VISIBLE, ge=0.0, le=1.0)
    """Least share of a picture for its objects to stay."""
    num_draws: ClassVar[int] = 3

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Blend:
        share = (1.0 - beta(draws[:, 2], self.alpha)) * self.applies(draws)
        return Blend(self.partners(draws), share, self.min_visible)


class CutMix(Mixing):
    """Replaces a rectangle by the same place of a partner, and mixes the labels by their shares of the pixels.

    Source: Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features", ICCV
        2019.
    """

    kind: Literal["cut_mix"] = "cut_mix"
    """Replaces a rectangle by the same place of a partner, and mixes the labels by their shares of the pixels."""
    alpha: float = Field(default=1.0, ge=LEAST_ALPHA)
    """The share outside the rectangle is drawn from the distribution Beta(alpha, alpha), before the rectangle is cut
    off at the picture's edge."""
    min_visible: float = Field(default=MIN_VISIBLE, ge=0.0, le=1.0)
    """Least share of an object that must be seen for it to stay."""
    num_draws: ClassVar[int] = 5

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Cut:
        size = np.array([shape.height, shape.width], np.float32)
        side = tf.sqrt(1.0 - beta(draws[:, 2], self.alpha)) * self.applies(draws)
        sides, centre = side[:, tf.newaxis] * size, draws[:, 3:5] * size
        edges = tf.concat([centre - sides / 2, centre + sides / 2], axis=-1)
        inside = tf.clip_by_value(tf.round(edges), 0.0, np.tile(size, 2))
        return Cut(self.partners(draws), tf.cast(inside, tf.int32), self.min_visible)


class CopyPaste(Mixing):
    """Copies objects of a partner, cut out along their masks, to the same place of the picture.

    Labels of whole pictures are mixed by the share of pixels that is pasted. Source: Ghiasi et al., "Simple copy-paste
    is a strong data augmentation method for instance segmentation", CVPR 2021; their scale jitter is `scale_jitter`
    or `zoom` before it in the list.
    """

    kind: Literal["copy_paste"] = "copy_paste"
    """Copies objects of a partner, cut out along their masks, to the same place of the picture."""
    objects: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the partner's objects that are copied, each drawn by itself."""
    min_visible: float = Field(default=MIN_VISIBLE, ge=0.0, le=1.0)
    """Least share of an object that must be left uncovered for it to stay."""
    num_draws: ClassVar[int] = 3
    needs: ClassVar[str | None] = MASKS

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> ObjectCopy:
        # How many objects there are is not known here: one draw becomes the root of one draw an object.
        roots = random.mix(tf.cast(draws[:, 2] * 2.0**24, tf.uint64))
        return ObjectCopy(self.partners(draws), roots, self.objects * self.applies(draws), self.min_visible)


class Mosaic(Mixing):
    """Tiles the four pictures of a group, and shows a window around the point where they meet.

    The window is the result of a resampling into which geometric operations that follow are fused. Labels of whole
    pictures are mixed by the pictures' shares of the window. With instance masks, memory for 16 times the masks of a
    batch is needed for a moment. Source: Bochkovskiy, Wang and Liao, "YOLOv4", 2020, section 3.3.
    """

    kind: Literal["mosaic"] = "mosaic"
    """Tiles the four pictures of a group, and shows a window around the point where they meet."""
    scale: tuple[float, float] = (0.5, 1.5)
    """Least and largest size of the pictures in the mosaic, as shares of their own size; at 0.5 all four are seen
    whole."""
    min_visible: float = Field(default=MIN_VISIBLE, ge=0.0, le=1.0)
    """Least share of an object's box that must be in the window for it to stay."""
    fill: Fill = ConstantFill()
    """What operations that follow and are fused see outside the four pictures; those with another fill are not
    fused."""
    num_draws: ClassVar[int] = 8

    @field_validator("scale")
    @classmethod
    def _scale_in_order(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0.5 <= scale[0] <= scale[1]:
            raise ValueError(f"scale has to be [least, largest] with 0.5 <= least <= largest, but is {list(scale)}")
        return scale

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Chain:
        applies = self.applies(draws) > 0.0
        place = tf.range(tf.shape(draws)[0])[:, tf.newaxis]
        members = place - place % GROUP + tf.argsort(draws[:, 1:5], stable=True)
        windows = tf.where(applies[:, tf.newaxis], self._windows(draws[:, 5:]), [0.0, 0.0, 0.5, 0.5])
        tile = Tile(tf.where(applies[:, tf.newaxis], members, place), tiles_seen(windows), self.fill)
        size = (shape.height, shape.width)
        matrices = window_matrices(windows, (2 * shape.height, 2 * shape.width), size)
        return Chain([tile, Warp(matrices, self.fill, self.min_visible, size)])

    def _windows(self, draws: tf.Tensor) -> tf.Tensor:
        """What is seen of the four: float32 [B,4], y_min, x_min, y_max, x_max as shares; their middle is in it."""
        side = 0.5 / between(draws[:, :1], *self.scale)
        low, high = tf.maximum(0.5 - side, 0.0), tf.minimum(0.5, 1.0 - side)
        start = low + draws[:, 1:] * (high - low)
        return tf.concat([start, start + side], axis=-1)


def check_groups(operations: Sequence[Augmentation], batch_size: int) -> None:
    """Raises ConfigError where pictures are to be mixed, but the batch of a replica does not hold whole groups."""
    for place, operation in mixing(operations):
        if batch_size % GROUP:
            raise ConfigError(
                f"`augment.{place}` ({operation.kind}) mixes groups of {GROUP} examples, but the batch of a replica is "
                f"{batch_size}. Set `train.batch_size` to a multiple of {GROUP} times the number of replicas.",
                ("augment", place),
            )


def check_fields(operations: Sequence[Augmentation], fields: Collection[str]) -> None:
    """Raises ConfigError where examples, which hold these fields, lack what they are to be mixed by."""
    for place, operation in mixing(operations):
        if operation.needs not in (None, *fields):
            raise ConfigError(
                f"`augment.{place}` ({operation.kind}) needs the field {operation.needs!r}, but the data holds "
                f"{', '.join(fields)}. {REMEDY}",
                ("augment", place),
            )


def check_source(operations: Sequence[Augmentation], kind: str, never_holds: Collection[str]) -> None:
    """Raises ConfigError where the examples of a source of this kind, before any is looked at, are known to lack what
    they are to be mixed by."""
    for place, operation in mixing(operations):
        if operation.needs in never_holds:
            raise ConfigError(
                f"`augment.{place}` ({operation.kind}) needs the field {operation.needs!r}, but the source {kind!r} "
                f"gives none as it is set. {REMEDY}",
                ("augment", place),
            )


def mixing(operations: Sequence[Augmentation]) -> list[tuple[int, Mixing]]:
    """The operations that mix, with their places in the list."""
    return [(place, operation) for place, operation in enumerate(operations) if isinstance(operation, Mixing)]


def whole_groups(operations: Sequence[Augmentation], count: int) -> int:
    """The number of examples, `count` or a few more, that a batch needs so that its groups are whole."""
    return count + -count % GROUP if mixing(operations) else count


def tiles_seen(windows: tf.Tensor) -> tf.Tensor:
    """The share of the window, float32 [B,4], that each of four tiles fills: float32 [B,4], row by row."""
    first = tf.clip_by_value((0.5 - windows[:, :2]) / (windows[:, 2:] - windows[:, :2]), 0.0, 1.0)
    rows, columns = (tf.stack([first[:, axis], 1.0 - first[:, axis]], axis=-1) for axis in (0, 1))
    return tf.reshape(rows[:, :, tf.newaxis] * columns[:, tf.newaxis, :], [-1, GROUP])


def beta(draws: tf.Tensor, alpha: float) -> tf.Tensor:
    """Uniform numbers in [0, 1) -> numbers of the distribution Beta(alpha, alpha), by its quantiles."""
    from scipy import stats

    table = tf.constant(stats.beta.ppf(np.linspace(0.0, 1.0, QUANTILES + 1), alpha, alpha), tf.float32)
    place = draws * QUANTILES
    first = tf.cast(place, tf.int32)
    low, high = tf.gather(table, first), tf.gather(table, first + 1)
    return low + (high - low) * (place - tf.cast(first, tf.float32))
