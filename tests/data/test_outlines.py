"""Outlines and runs of pixels, against pycocotools."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pycocotools import mask as theirs

from pipeline.data.outlines import BadOutline, Polygons, RunLengths, run_lengths


@settings(max_examples=60, deadline=None)
@given(some.integers(1, 40), some.integers(1, 40), some.floats(0, 1), some.integers(0, 2**31))
def test_runs_as_pycocotools_compresses_them(height: int, width: int, share: float, seed: int) -> None:
    pixels = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    compressed = theirs.encode(np.asfortranarray(pixels))
    ours = RunLengths.of(height, width, compressed["counts"].decode())
    np.testing.assert_array_equal(ours.pixels(height, width), pixels)
    assert run_lengths(pixels) == ours
    assert RunLengths.of(height, width, list(ours.counts)) == ours


def test_outlines_as_pycocotools_fills_them() -> None:
    rings = [[(2.0, 3.0), (20.5, 4.25), (9.0, 18.0)], [(25.0, 1.0), (30.0, 1.0), (30.0, 9.0), (25.0, 9.0)]]
    flat = [[value for corner in ring for value in corner] for ring in rings]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pycocotools' own, of numpy 2
        expected = theirs.decode(theirs.merge(theirs.frPyObjects(flat, 24, 32)))
    held = Polygons.of(rings)
    np.testing.assert_array_equal(held.pixels(24, 32), expected)
    assert held.bounds() == (2.0, 1.0, 30.0, 18.0)
    assert held.scaled(2.0, 0.5).bounds() == (4.0, 0.5, 60.0, 9.0)


def test_bounds_of_runs() -> None:
    assert RunLengths.of(4, 5, [9, 2, 2, 2, 5]).bounds() == (2.0, 1.0, 4.0, 3.0)  # by hand: columns of four
    with pytest.raises(BadOutline, match="empty"):
        RunLengths.of(4, 5, [20]).bounds()


@pytest.mark.parametrize("text", ["", "52", "\x01\x02", "zzzz", "P"])
def test_damaged_runs(text: str) -> None:
    with pytest.raises(BadOutline, match="its runs"):
        RunLengths.of(4, 5, text)
