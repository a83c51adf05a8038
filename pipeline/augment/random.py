"""Random draws that belong to an example, not to a thread, a replica, or a place in a batch.

A draw is a hash of (seed, example id, epoch, operation, number of the draw), so the same example in the same epoch is
augmented the same way however the pipeline runs, after a resume too. All in vectorised integer operations: a draw
costs no state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf

if TYPE_CHECKING:
    import tensorflow as tf

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
STREAM_LENGTH = 1 << 20
"""Draws that one operation may ask for before it would meet the next operation's."""


def mix(state: tf.Tensor) -> tf.Tensor:
    """The finaliser of SplitMix64: uint64 of any shape -> uint64, every input bit changes half of the output bits.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17, with
    Stafford's variant 13 of the constants as in Vigna's splitmix64.c.
    """
    shift, xor = tf.bitwise.right_shift, tf.bitwise.bitwise_xor
    state = xor(state, shift(state, np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = xor(state, shift(state, np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return xor(state, shift(state, np.uint64(31)))


def keys(ids: tf.Tensor, epoch: tf.Tensor, seed: int) -> tf.Tensor:
    """The root of an example's draws in one epoch: ids string [...], epoch int64 [...] -> uint64 [...]."""
    example = tf.cast(tf.strings.to_hash_bucket_fast(ids, np.iinfo(np.int64).max), tf.uint64)
    start = mix(tf.cast(epoch, tf.uint64) * GOLDEN_GAMMA + np.uint64(seed % 2**64))
    return mix(tf.bitwise.bitwise_xor(example, start))


def uniform(keys: tf.Tensor, stream: int, count: int) -> tf.Tensor:
    """Draws number 0..count-1 of a stream: keys uint64 [...] -> float32 [..., count] in [0, 1), multiples of 2**-24."""
    return uniforms(keys, {stream: count})[0]


def uniforms(keys: tf.Tensor, counts: Mapping[int, int]) -> list[tf.Tensor]:
    """The draws of several streams, one at least, made in one go: stream -> how many; each as `uniform` gives it."""
    firsts = [
        np.arange(count, dtype=np.uint64) + np.uint64(stream * STREAM_LENGTH + 1) for stream, count in counts.items()
    ]
    with np.errstate(over="ignore"):
        counters = np.concatenate(firsts) * GOLDEN_GAMMA
    bits = tf.bitwise.right_shift(mix(keys[..., tf.newaxis] + counters), np.uint64(40))
    return tf.split(tf.cast(bits, tf.float32) * np.float32(2**-24), list(counts.values()), axis=-1)
