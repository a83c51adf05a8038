"""The transforms that put several pictures of a batch into one.

B = batch, N = objects, H, W, C = picture.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf
from pipeline.augment import random
from pipeline.augment.base import Transform
from pipeline.augment.engines import Engine
from pipeline.augment.fill import AnyFill, ConstantFill
from pipeline.augment.mixed_labels import clipped, mix_labels, objects_of, together, uncovered
from pipeline.augment.places import keep_objects
from pipeline.augment.tensorflow_engine import inside
from pipeline.data.example import (
    BOXES,
    CLASSES,
    CORNERS,
    IGNORED,
    IMAGE,
    KNOWN,
    MASK,
    MASKS,
    NO_OBJECT,
    POINTS,
    Example,
)

if TYPE_CHECKING:
    import tensorflow as tf

TILES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column of the four pictures of a mosaic."""


class Blend(Transform):
    """The weighted mean of each picture and a partner.

    Args:
        partners: place of the partner in the batch, int32 [B].
        share: of the partner, float32 [B].
        min_visible: least share of a picture for its objects to stay.
    """

    def __init__(self, partners: tf.Tensor, share: tf.Tensor, min_visible: float):
        self.partners = partners
        self.share = share
        self.min_visible = min_visible

    def __call__(self, examples: Example, engine: Engine) -> Example:
        members, shares = two(self.partners, self.share)
        both = [examples[IMAGE], self._of_partners(examples[IMAGE])]
        changed: Example = {IMAGE: engine.blend(both, shares)}
        if MASK in examples:
            partner_is_clearer = (self.share > 0.5)[:, tf.newaxis, tf.newaxis, tf.newaxis]
            changed[MASK] = tf.where(partner_is_clearer, self._of_partners(examples[MASK]), examples[MASK])
        if KNOWN in examples:
            changed[KNOWN] = engine.blend([examples[KNOWN], self._of_partners(examples[KNOWN])], shares)
        if CLASSES in examples:
            own, others = objects_of(examples, own_places(self.partners)), objects_of(examples, self.partners)
            changed |= together(self._clear(own, 1.0 - self.share), self._clear(others, self.share))
        return mix_labels({**examples, **changed}, members, shares)

    def _of_partners(self, values: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, self.partners)

    def _clear(self, objects: Example, share: tf.Tensor) -> Example:
        return keep_objects(objects, on_all(objects, (share >= self.min_visible) & (share > 0.0)))

    def describe(self) -> str:
        return "two pictures blended"


class Paste(Transform):
    """A part of a partner put over the same place of each picture.

    Args:
        partners: place of the partner in the batch, int32 [B].
        min_visible: least share of an object that must be seen for it to stay.
    """

    def __init__(self, partners: tf.Tensor, min_visible: float):
        self.partners = partners
        self.min_visible = min_visible

    @abstractmethod
    def region(self, examples: Example) -> tf.Tensor:
        """The pixels that are pasted, bool [B,H,W]."""

    @abstractmethod
    def come_along(self, others: Example, region: tf.Tensor) -> Example:
        """The partners' objects as they are seen afterwards."""

    def __call__(self, examples: Example, engine: Engine) -> Example:
        region = self.region(examples)
        pasted = tf.cast(region, tf.uint8)[..., tf.newaxis]
        changed: Example = {}
        for name in (IMAGE, MASK, KNOWN):
            if name in examples:
                # Modulo 256, so exact; `tf.where` with a condition for all channels takes twice the time.
                difference = tf.gather(examples[name], self.partners) - examples[name]
                changed[name] = examples[name] + difference * pasted
        if CLASSES in examples:
            own, others = objects_of(examples, own_places(self.partners)), objects_of(examples, self.partners)
            changed |= together(uncovered(own, region, self.min_visible), self.come_along(others, region))
        share = tf.reduce_mean(tf.cast(region, tf.float32), axis=[1, 2])
        return mix_labels({**examples, **changed}, *two(self.partners, share))


class Cut(Paste):
    """A rectangle of the partner.

    Args:
        edges: top, left, bottom, right in whole pixels, inside the picture, int32 [B,4].
    """

    def __init__(self, partners: tf.Tensor, edges: tf.Tensor, min_visible: float):
        super().__init__(partners, min_visible)
        self.edges = edges

    def region(self, examples: Example) -> tf.Tensor:
        height, width = examples[IMAGE].shape[1:3]
        top, left, bottom, right = tf.unstack(self.edges[:, tf.newaxis], axis=-1)
        rows = (tf.range(height) >= top) & (tf.range(height) < bottom)
        columns = (tf.range(width) >= left) & (tf.range(width) < right)
        return tf.ensure_shape(rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :], [None, height, width])

    def come_along(self, others: Example, region: tf.Tensor) -> Example:
        height, width = region.shape[1:]
        rectangle = tf.cast(tf.gather(self.edges, [1, 0, 3, 2], axis=1), tf.float32)
        return clipped(
            others, region, rectangle / np.array([width, height, width, height], np.float32), self.min_visible
        )

    def describe(self) -> str:
        return "a rectangle of another picture pasted"


class ObjectCopy(Paste):
    """Some of the partner's objects, whole.

    Args:
        roots: from which a draw for each object is made, uint64 [B].
        share: of the objects, float32 [B].
    """

    def __init__(self, partners: tf.Tensor, roots: tf.Tensor, share: tf.Tensor, min_visible: float):
        super().__init__(partners, min_visible)
        self.roots = roots
        self.share = share

    def chosen(self, others: Example) -> tf.Tensor:
        """Which of the partner's objects are copied: bool [B,N]."""
        drawn = random.uniform(self.roots, 0, others[MASKS].shape[1]) < self.share[:, tf.newaxis]
        return drawn & (others[CLASSES] != NO_OBJECT) & tf.reduce_any(others[MASKS] > 0, axis=[2, 3])

    def region(self, examples: Example) -> tf.Tensor:
        others = objects_of(examples, self.partners)
        masks = tf.where(self.chosen(others)[..., tf.newaxis, tf.newaxis], others[MASKS], np.uint8(0))
        return tf.reduce_any(masks > 0, axis=1)

    def come_along(self, others: Example, region: tf.Tensor) -> Example:
        return keep_objects(others, self.chosen(others))

    def describe(self) -> str:
        return "objects of another picture pasted"


class Tile(Transform):
    """Four pictures side by side, as one of twice the height and width; objects of all four.

    An example that is alone (all four places are its own) is not repeated but extended by the fill.

    Args:
        members: places in the batch of the four pictures, row by row, int32 [B,4].
        shares: of each in what is shown afterwards, float32 [B,4].
        fill: what surrounds an example that is alone.
    """

    def __init__(self, members: tf.Tensor, shares: tf.Tensor, fill: AnyFill):
        self.members = members
        self.shares = shares
        self.fill = fill

    def __call__(self, examples: Example, engine: Engine) -> Example:
        changed: Example = {IMAGE: self._tiled(examples[IMAGE], self.fill)}
        if MASK in examples:
            changed[MASK] = self._tiled(examples[MASK], ConstantFill(value=IGNORED))
        if KNOWN in examples:
            changed[KNOWN] = self._tiled(examples[KNOWN], ConstantFill(value=0))
        if CLASSES in examples:
            changed |= together(*(self._objects(examples, number) for number in range(len(TILES))))
        return mix_labels({**examples, **changed}, self.members, self.shares)

    def _alone(self) -> tf.Tensor:
        return self.members[:, 0] == self.members[:, 1]

    def _tiled(self, pictures: tf.Tensor, fill: AnyFill) -> tf.Tensor:
        """uint8 [B,H,W,C] -> uint8 [B,2H,2W,C]."""
        surroundings, places = extensions(pictures, fill)
        alone = tf.concat([self.members[:, :1], tf.shape(pictures)[0] + places], axis=1)
        members = tf.where(self._alone()[:, tf.newaxis], alone, self.members)
        every = tf.concat([pictures, surroundings], axis=0)
        four = [tf.gather(every, members[:, number]) for number in range(len(TILES))]
        return tf.concat([tf.concat(four[:2], axis=2), tf.concat(four[2:], axis=2)], axis=1)

    def _objects(self, examples: Example, number: int) -> Example:
        """The objects of one of the four, where they are afterwards."""
        row, column = TILES[number]
        objects, start = objects_of(examples, self.members[:, number]), np.array([column, row], np.float32)
        moved: Example = {BOXES: (objects[BOXES] + np.tile(start, 2)) / 2.0}
        if CORNERS in objects:
            moved[CORNERS] = (objects[CORNERS] + start) / 2.0
        if POINTS in objects:
            places, visibility = objects[POINTS][..., :2], objects[POINTS][..., 2:]
            moved[POINTS] = tf.where(visibility > 0.0, tf.concat([(places + start) / 2.0, visibility], axis=-1), 0.0)
        if MASKS in objects:
            height, width = objects[MASKS].shape[2:]
            around = [[row * height, (1 - row) * height], [column * width, (1 - column) * width]]
            moved[MASKS] = tf.pad(objects[MASKS], [[0, 0], [0, 0], *around])
        repeats = self._alone() if number else tf.zeros_like(self._alone())
        return keep_objects({**objects, **moved}, on_all(objects, ~repeats))

    def describe(self) -> str:
        return "four pictures tiled"


def two(partners: tf.Tensor, share: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Members int32 [B,2] and shares float32 [B,2] of a picture and its partner."""
    return tf.stack([own_places(partners), partners], axis=1), tf.stack([1.0 - share, share], axis=1)


def own_places(partners: tf.Tensor) -> tf.Tensor:
    """The place of each example itself, int32 [B]."""
    return tf.range(tf.shape(partners)[0])


def on_all(objects: Example, examples: tf.Tensor) -> tf.Tensor:
    """What holds for examples, bool [B], said of each of their objects: bool [B,N]."""
    return tf.broadcast_to(examples[:, tf.newaxis], tf.shape(objects[CLASSES]))


def extensions(pictures: tf.Tensor, fill: AnyFill) -> tuple[tf.Tensor, tf.Tensor]:
    """What a fill shows to the right of pictures [B,H,W,C], below them, and below on the right.

    Returns:
        Pictures [E,H,W,C], and the places of these three among them for each example, int32 [B,3].
    """
    batch, (height, width) = tf.shape(pictures)[0], pictures.shape[1:3]
    if isinstance(fill, ConstantFill):
        return tf.fill([1, *pictures.shape[1:]], np.uint8(fill.value)), tf.zeros([batch, 3], tf.int32)
    rows, columns = (inside(tf.range(size, 2 * size), size, fill) for size in (height, width))
    right, below = tf.gather(pictures, columns, axis=2), tf.gather(pictures, rows, axis=1)
    around = tf.concat([right, below, tf.gather(below, columns, axis=2)], axis=0)
    return around, tf.range(batch)[:, tf.newaxis] + batch * tf.range(3)
