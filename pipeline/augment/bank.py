"""Random numbers made once, from which noise reads a piece for each picture: a piece costs no drawing, only reading.

Which piece is decided by the example's own draws, so noise belongs to (seed, epoch, id) like everything else. A piece
begins anywhere and the bank repeats itself after its end; two pictures can share numbers, but hardly ever at the
same pixels.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf

if TYPE_CHECKING:
    import tensorflow as tf

SIZE = 1 << 21
"""Numbers in a bank; a power of two, and exact in float32."""
UNIT = 4096
"""One standard deviation in the bank of normal deviates."""
SEED = 20_261_122


@cache
def normal() -> np.ndarray:
    """Normal deviates in units of 1 / UNIT, int16 [SIZE]. RandomState's stream is the same in all versions of numpy."""
    return np.rint(np.random.RandomState(SEED).standard_normal(SIZE) * UNIT).astype(np.int16)


@cache
def uniform() -> np.ndarray:
    """Numbers 0..255, each equally likely, uint8 [SIZE]."""
    return np.random.RandomState(SEED + 1).randint(0, 256, SIZE, np.uint8)


@lru_cache(maxsize=8)
def long_normal(length: int) -> np.ndarray:
    """`normal`, repeated so that a piece of this length can begin at any of its numbers."""
    return np.resize(normal(), SIZE + length)


@lru_cache(maxsize=8)
def long_uniform(length: int) -> np.ndarray:
    """`uniform`, repeated in the same way."""
    return np.resize(uniform(), SIZE + length)


def starts(draws: tf.Tensor) -> tf.Tensor:
    """Where pieces begin, int32 of the shape of draws in [0, 1)."""
    return tf.cast(draws * SIZE, tf.int32)


def pieces(bank: np.ndarray, starts: tf.Tensor, length: int) -> tf.Tensor:
    """Pieces of `normal()` or `uniform()` inside the graph: starts int32 [B] -> [B, length]."""
    return tf.gather(tf.constant(bank), (starts[:, tf.newaxis] + tf.range(length)) % SIZE)
