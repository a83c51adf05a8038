"""Settings that are a range, [least, largest], from which a magnitude is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import AfterValidator

from models.stack import tf
from pipeline.augment.base import between

if TYPE_CHECKING:
    import tensorflow as tf

Range = TypeVar("Range", tuple[int, int], tuple[float, float])


def within(least: float, most: float) -> AfterValidator:
    """Accepts ranges that are in order and between two limits; for `Annotated[tuple[float, float], within(0, 1)]`."""

    def check(value: Range) -> Range:
        if not least <= value[0] <= value[1] <= most:
            raise ValueError(
                f"expected [least, largest] with {least:g} <= least <= largest <= {most:g}, but got {list(value)}"
            )
        return value

    return AfterValidator(check)


def whole(draws: tf.Tensor, range: tuple[int, int]) -> tf.Tensor:
    """Numbers in [0, 1) -> whole numbers of a range, its ends included, each equally likely; float32."""
    # The sum may be rounded up to most + 1.
    return tf.minimum(tf.floor(between(draws, range[0], range[1] + 1)), float(range[1]))
