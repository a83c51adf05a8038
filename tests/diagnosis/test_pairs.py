"""The search for pairs finds what a plain loop finds."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pipeline.diagnosis import pairs
from pipeline.diagnosis.facts import ORIENTATIONS, THUMBNAIL, turned

DISTANCE = 20


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, len(ORIENTATIONS)), np.uint64)


def same_thumbnails(count: int) -> np.ndarray:
    return np.broadcast_to(
        np.eye(THUMBNAIL, dtype=np.uint8) + np.fliplr(np.eye(THUMBNAIL, dtype=np.uint8)), (count, 16, 16)
    )


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 37, 150])
def test_the_same_pairs_as_a_loop(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "COLUMNS", 37)
    hashes = random_hashes(count)
    expected = {
        (i, j)
        for i in range(count)
        for j in range(i + 1, count)
        if min(int(hashes[i, 0] ^ hashes[j, way]).bit_count() for way in range(8)) <= DISTANCE
    }
    found = pairs.alike(hashes, same_thumbnails(count), DISTANCE, 0.9)
    assert {(one.first, one.second) for one in found} == expected
    assert count < 150 or expected
    for one in found:
        assert int(hashes[one.first, 0] ^ hashes[one.second, one.way]).bit_count() == one.distance


def test_candidates_with_other_thumbnails_are_dropped() -> None:
    hashes = np.zeros((3, 8), np.uint64)
    thumbnails = np.random.default_rng(0).integers(0, 256, (3, 16, 16), np.uint8)
    thumbnails[2] = thumbnails[0]
    (one,) = pairs.alike(hashes, thumbnails, 0, 0.9)
    assert (one.first, one.second, one.way) == (0, 2, 0)
    assert one.correlation == pytest.approx(1)


@pytest.mark.parametrize("way", range(8))
def test_turning_is_what_pillow_does(way: int) -> None:
    from PIL import Image

    turns = Image.Transpose
    # Pillow turns counterclockwise
    pillow = (
        None, turns.FLIP_LEFT_RIGHT, turns.FLIP_TOP_BOTTOM, turns.ROTATE_180,
        turns.TRANSPOSE, turns.ROTATE_270, turns.ROTATE_90, turns.TRANSVERSE,
    )  # fmt: skip
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    one = Image.fromarray(values)
    expected = one if pillow[way] is None else one.transpose(pillow[way])
    np.testing.assert_array_equal(turned(values, way), np.asarray(expected))


def test_the_search_ends_where_everything_is_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST_PAIRS", 100)
    hashes = np.zeros((100, 8), np.uint64)
    assert len(pairs.alike(hashes, same_thumbnails(100), 0, 0.9)) == 100


def test_ten_thousand_pictures_are_compared_in_seconds() -> None:
    hashes = random_hashes(10_000)
    hashes[9_999] = hashes[123]
    begun = time.monotonic()
    found = pairs.alike(hashes, same_thumbnails(10_000), 8, 0.9)
    assert (123, 9_999) in {(one.first, one.second) for one in found}
    assert time.monotonic() - begun < 20
