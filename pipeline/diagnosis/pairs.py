"""Which pictures are alike: pairs whose perceptual hashes are close in some orientation, checked by their thumbnails.

Every pair of pictures is compared, n²/2 times 8 orientations, by counting the bits that differ; this is one XOR and one
population count over contiguous memory, in threads. On two busy cores 10,000 pictures take 0.5 s and 100,000 take 40 s,
far less than it takes to read them; trees of hashes have to visit most of their nodes at these distances.
n = pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pipeline.diagnosis.facts import ORIENTATIONS, turned

ROWS, COLUMNS = 16, 4096
"""Pictures that are compared with how many others at once: half a megabyte of bits, which stays in a processor's cache.
Eight times as much takes four times as long a pair."""
MOST_PAIRS = 200_000
"""Pairs that are looked for. More of them say no more: the limits are too wide, or everything is alike."""


@dataclass(frozen=True)
class Alike:
    """Two pictures that show the same.

    Args:
        first, second: indices, first < second.
        distance: bits of 64 in which the hashes differ.
        correlation: of the thumbnails, up to 1.
        way: place in ORIENTATIONS: what makes the second look like the first.
    """

    first: int
    second: int
    distance: int
    correlation: float
    way: int


def alike(
    hashes: np.ndarray,
    thumbnails: np.ndarray,
    distance: int,
    correlation: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Alike]:
    """The pairs of n pictures that are alike, at most MOST_PAIRS of them.

    Args:
        hashes: uint64 [n, 8], one for each orientation.
        thumbnails: uint8 [n, 16, 16].
        distance: bits of 64 in which hashes may differ.
        correlation: least correlation of the thumbnails in that orientation.
        progress: told how many pictures are done, and of how many.
    """
    ways = np.ascontiguousarray(hashes.T)
    starts = range(0, len(hashes), ROWS)
    found: list[Alike] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start, close in zip(starts, pool.map(lambda start: _close(ways, start, distance), starts), strict=True):
            found += _checked(*close, thumbnails, correlation)
            progress(min(start + ROWS, len(hashes)), len(hashes))
            if len(found) >= MOST_PAIRS:
                pool.shutdown(cancel_futures=True)
                return found[:MOST_PAIRS]
    return found


Close = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _close(ways: np.ndarray, start: int, distance: int) -> Close:
    """first, second, way, distance of the pairs whose first is one of the ROWS from `start`, int64 [pairs] each."""
    columns = zip(*_close_in_blocks(ways, start, distance), strict=True)
    found = [np.concatenate(column) for column in columns] or [np.zeros(0, np.int64)] * 4
    return found[0], found[1], found[2], found[3]


def _close_in_blocks(ways: np.ndarray, start: int, distance: int) -> Iterator[Close]:
    """The same block by block. Buffers are used again: to ask for new memory takes longer than to fill it."""
    rows = ways[0, start : start + ROWS, None]
    different, bits = (np.empty((len(rows), COLUMNS), kind) for kind in (np.uint64, np.uint8))
    for begin in range(start, ways.shape[1], COLUMNS):
        others = ways[:, None, begin : begin + COLUMNS]
        width = others.shape[2]
        for way in range(len(ORIENTATIONS)):
            np.bitwise_xor(rows, others[way], out=different[:, :width])
            counted = np.bitwise_count(different[:, :width], out=bits[:, :width])
            if counted.min() <= distance:
                first, second = np.nonzero(counted <= distance)
                later = first + start < second + begin
                first, second = first[later], second[later]
                apart = counted[first, second].astype(np.int64)
                yield first + start, second + begin, np.full(len(first), way), apart


def _checked(
    first: np.ndarray, second: np.ndarray, way: np.ndarray, distance: np.ndarray, thumbnails: np.ndarray, least: float
) -> list[Alike]:
    """The best way of each pair whose thumbnails agree."""
    correlation = np.zeros(len(first))
    for one in np.unique(way):
        chosen = way == one
        correlation[chosen] = _correlation(thumbnails[first[chosen]], turned(thumbnails[second[chosen]], int(one)))
    best: dict[tuple[int, int], Alike] = {}
    for index in np.flatnonzero(correlation >= least):
        pair = Alike(
            int(first[index]), int(second[index]), int(distance[index]), float(correlation[index]), int(way[index])
        )
        known = best.get((pair.first, pair.second))
        if known is None or pair.correlation > known.correlation:
            best[pair.first, pair.second] = pair
    return [best[key] for key in sorted(best)]


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's, [pairs], of two stacks of pictures [pairs, h, w]."""
    left, right = (_centred(one) for one in (first, second))
    products = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    return (left * right).sum(axis=1) / np.maximum(products, 1e-9)


def _centred(stack: np.ndarray) -> np.ndarray:
    flat = stack.reshape(len(stack), -1).astype(np.float64)
    return flat - flat.mean(axis=1, keepdims=True)
