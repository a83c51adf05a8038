"""What policies are made of: operations that are drawn from a list, for each example its own.

What is drawn are amounts: one for each slot (place in an example's sequence) and each operation of the list, 0 for
those that were not drawn. So a batch is worked on together whatever its examples drew: all geometry is one resampling,
with a matrix for each example; then come, slot by slot, one colour matrix, one lookup table and one filter. Geometry
therefore comes first, whichever slot drew it.

B = batch, S = slots, K = operations of the list.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import numpy as np
from pydantic import AfterValidator

from models.stack import tf
from pipeline.augment.base import PictureShape, Transform
from pipeline.augment.colour import Change, Recolour, scale_brightness, scale_contrast, scale_saturation
from pipeline.augment.fill import ConstantFill, Fill
from pipeline.augment.filters import Filter, sharpening
from pipeline.augment.geometry import GeometricOperation
from pipeline.augment.tables import Lookup, TableChange, autocontrast, equalize, posterize, solarize
from pipeline.augment.warp import Warp, linear, shift

if TYPE_CHECKING:
    import tensorflow as tf

Name = Literal[
    "identity",
    "autocontrast",
    "equalize",
    "rotation",
    "solarize",
    "saturation",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translation_x",
    "translation_y",
]
"""The operations of Cubuk et al., 2020, under the names that they have here (`saturation` is their Color)."""

ALL: tuple[Name, ...] = get_args(Name)


def _some(names: tuple[Name, ...]) -> tuple[Name, ...]:
    if not names:
        raise ValueError("expected at least one operation to draw from")
    return names


Names = Annotated[tuple[Name, ...], AfterValidator(_some)]


def rotate(degrees: tf.Tensor, shape: PictureShape) -> tf.Tensor:
    """Matrices [B,3,3] of turns about the centre."""
    angle = degrees * (math.pi / 180.0)
    return linear(tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle), shape)


def shear_x(amount: tf.Tensor, shape: PictureShape) -> tf.Tensor:
    """Rows shifted by `amount` pixels for each pixel from the centre."""
    return linear(tf.ones_like(amount), amount, tf.zeros_like(amount), tf.ones_like(amount), shape)


def shear_y(amount: tf.Tensor, shape: PictureShape) -> tf.Tensor:
    """Columns shifted in the same way."""
    return linear(tf.ones_like(amount), tf.zeros_like(amount), amount, tf.ones_like(amount), shape)


def translate_x(share: tf.Tensor, shape: PictureShape) -> tf.Tensor:
    """Shifts by a share of the width, in whole pixels."""
    return shift(tf.round(share * shape.width), tf.zeros_like(share))


def translate_y(share: tf.Tensor, shape: PictureShape) -> tf.Tensor:
    """Shifts by a share of the height, in whole pixels."""
    return shift(tf.zeros_like(share), tf.round(share * shape.height))


MOVES: dict[str, Callable[[tf.Tensor, PictureShape], tf.Tensor]] = {
    "rotation": rotate,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translation_x": translate_x,
    "translation_y": translate_y,
}
"""Matrices [B,3,3] from amounts [B]: degrees, pixels sideways for a pixel, shares of the picture's side."""
RECOLOURS: dict[str, Change] = {
    "saturation": scale_saturation,
    "contrast": scale_contrast,
    "brightness": scale_brightness,
}
TABLES: dict[str, TableChange] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "solarize": solarize,
    "posterize": posterize,
}
FILTERS = {"sharpness": sharpening}
SIGNED = {*MOVES, *RECOLOURS, *FILTERS}
"""Operations that are made in either direction, with equal chances."""
WITHOUT_STRENGTH = {"autocontrast", "equalize"}
MOST = {"posterize": 7.0, "solarize": 256.0}
"""The largest amounts that mean something; both are whole numbers."""


@dataclass(frozen=True)
class Strengths:
    """What an operation's amount is at full strength, by name.

    Args:
        limits: degrees; pixels sideways for a pixel (shear); share of the picture's side (translation); what a factor
            of 1 changes by (colour, sharpness); how far below 256 the threshold is (solarize); bits lost (posterize).
        first: what is added to amounts, where that is not 0.
    """

    limits: dict[str, float]
    first: dict[str, float]

    def amounts(self, names: Sequence[str], strength: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
        """float32 [...,K] from strengths and signs (-1 or 1) float32 [...]."""
        limits = np.array(
            [1.0 if name in WITHOUT_STRENGTH else self.limits.get(name, 0.0) for name in names], np.float32
        )
        first = np.array([self.first.get(name, 0.0) for name in names], np.float32)
        signed, steady, whole = (
            np.array([name in group for name in names]) for group in (SIGNED, WITHOUT_STRENGTH, MOST)
        )
        amounts = first + limits * tf.where(steady, 1.0, strength[..., tf.newaxis])
        amounts *= tf.where(signed, sign[..., tf.newaxis], 1.0)
        least = np.array([-math.inf if name in MOVES else -1.0 for name in names], np.float32)
        most = np.array([MOST.get(name, math.inf) for name in names], np.float32)
        return tf.clip_by_value(tf.where(whole, tf.round(amounts), amounts), least, most)


class Policy(GeometricOperation, ABC):
    """What policies have in common."""

    operations: Names = ALL
    """What is drawn from, each with equal chances; naming one twice doubles its chances."""
    fill: Fill = ConstantFill(value=128)
    """What is seen where the moved picture does not reach; masks then hold 255 (does not count)."""

    @property
    def keeps_halves(self) -> bool:
        return not any(name in MOVES for name in self.operations)

    def drawn(self, draws: tf.Tensor, level: tf.Tensor, strengths: Strengths) -> tf.Tensor:
        """Amounts float32 [...,S,K] of the drawn operations, 0 for all others.

        Args:
            draws: float32 [...,S,2 or more] in [0, 1): which operation, and in which direction.
            level: strength float32 [...,S]; 1 = the full one.
        """
        count = len(self.operations)
        chosen = tf.one_hot(tf.cast(draws[..., 0] * count, tf.int32), count)
        sign = tf.where(draws[..., 1] < 0.5, -1.0, 1.0)
        return chosen * strengths.amounts(self.operations, level, sign)

    def sequence(self, amounts: tf.Tensor, shape: PictureShape) -> list[Transform]:
        """The transforms that make operations in these amounts float32 [B,S,K]."""
        made: list[Transform] = []
        moves = [number for number, name in enumerate(self.operations) if name in MOVES]
        if moves:
            made.append(Warp(self._matrices(amounts, moves, shape), self.fill, self.min_visible))
        for slot in range(amounts.shape[1]):
            steps = self._steps(amounts[:, slot], shape)
            made += reversed(steps) if slot % 2 else steps  # so that steps of a kind are neighbours, and become one
        return made

    def _matrices(self, amounts: tf.Tensor, moves: Sequence[int], shape: PictureShape) -> tf.Tensor:
        """All moves as one matrix for each example, float32 [B,3,3]."""
        num_slots, product = amounts.shape[1], None
        for number in moves:
            matrices = MOVES[self.operations[number]](tf.reshape(amounts[..., number], [-1]), shape)
            product = matrices if product is None else product @ matrices  # all but one are the identity
        first, *others = tf.unstack(tf.reshape(product, [-1, num_slots, 3, 3]), axis=1)
        for matrices in others:
            first = first @ matrices
        return first

    def _steps(self, amounts: tf.Tensor, shape: PictureShape) -> list[Transform]:
        """What one slot needs besides geometry: amounts float32 [B,K]."""
        named = list(zip(self.operations, tf.unstack(amounts, axis=1), strict=True))
        colours = [
            (RECOLOURS[name], amount)
            for name, amount in named
            if name in RECOLOURS and not (name == "saturation" and shape.channels == 1)
        ]
        tables = [(TABLES[name], amount) for name, amount in named if name in TABLES]
        steps: list[Transform] = [Filter(FILTERS[name](amount)) for name, amount in named if name in FILTERS]
        return [*steps, *([Recolour(colours)] if colours else []), *([Lookup(tables)] if tables else [])]
