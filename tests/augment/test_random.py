"""Draws: golden values, independence of the batch, uniformity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from models.stack import tf
from pipeline.augment import random


def splitmix64(state: int) -> int:
    """The same finaliser in Python's whole numbers, from Vigna's splitmix64.c."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return state ^ (state >> 31)


def test_mix_gives_the_published_sequence() -> None:
    # The first outputs of splitmix64.c for the seed 1234567 (rosettacode.org, "Pseudo-random numbers/Splitmix64").
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    gamma = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + number * gamma) % 2**64 for number in range(1, 6)], np.uint64)
    assert random.mix(tf.constant(states)).numpy().tolist() == published


def test_mix_equals_the_integer_formula() -> None:
    states = np.random.default_rng(0).integers(0, 2**64, 100, np.uint64)
    assert random.mix(tf.constant(states)).numpy().tolist() == [splitmix64(int(state)) for state in states]


def test_uniform_is_a_pure_function_of_the_key_stream_and_number() -> None:
    keys = random.keys(tf.constant(["a", "b", "c"]), tf.constant([0, 0, 5], tf.int64), seed=3)
    together = random.uniform(keys, stream=2, count=4).numpy()
    assert together.shape == (3, 4) and together.dtype == np.float32
    alone = random.uniform(keys[1], stream=2, count=2).numpy()
    np.testing.assert_array_equal(alone, together[1, :2])


@pytest.mark.parametrize("other", [("b", 0, 3), ("a", 1, 3), ("a", 0, 4)])
def test_id_epoch_and_seed_each_change_every_draw(other: tuple[str, int, int]) -> None:
    def draws(name: str, epoch: int, seed: int) -> np.ndarray:
        return random.uniform(random.keys(tf.constant(name), tf.constant(epoch, tf.int64), seed), 0, 50).numpy()

    assert not np.any(draws("a", 0, 3) == draws(*other))


def test_negative_and_large_seeds_are_fine() -> None:
    keys = [random.keys(tf.constant("a"), tf.constant(0, tf.int64), seed).numpy() for seed in (-1, 0, 2**40)]
    assert len(set(keys)) == 3


def test_draws_are_uniform() -> None:
    """Chi-square over ids, over epochs, over streams, and over the draws of one stream, 100 cells each."""
    ids = tf.constant([f"photos/{number:05}.jpg" for number in range(20000)])
    zero = tf.zeros(20000, tf.int64)
    one = tf.constant("photos/00000.jpg")
    by_epoch = random.keys(tf.fill([20000], one), tf.range(20000, dtype=tf.int64), 0)
    key = random.keys(one, tf.constant(0, tf.int64), 0)
    samples = {
        "ids": random.uniform(random.keys(ids, zero, 0), 0, 1),
        "epochs": random.uniform(by_epoch, 0, 1),
        "draws": random.uniform(key, 0, 20000),
        "streams": tf.stack([random.uniform(key, stream, 1) for stream in range(2000)]),
    }
    for name, sample in samples.items():
        values = sample.numpy().ravel()
        assert values.min() >= 0.0 and values.max() < 1.0
        counts, _ = np.histogram(values, bins=100, range=(0, 1))
        assert stats.chisquare(counts).pvalue > 1e-4, name


def test_successive_draws_are_independent() -> None:
    draws = random.uniform(random.keys(tf.strings.as_string(tf.range(40000)), tf.zeros(40000, tf.int64), 0), 0, 2)
    cells, _, _ = np.histogram2d(*draws.numpy().T, bins=10, range=[(0, 1), (0, 1)])
    assert stats.chisquare(cells.ravel()).pvalue > 1e-4
