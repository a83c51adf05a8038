"""A function over many items in threads, with the results in the items' order and few of them in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

TOGETHER = 8
"""Items handed over at once: handing over one costs as much as checking a small picture."""
AHEAD = 2
"""Hand-overs per thread that may wait for the consumer; bounds memory."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], in_thread: Callable[[Item], bool]
) -> Iterator[tuple[Item, Result]]:
    """Yields (item, function(item)).

    Args:
        function: what is done to each item.
        items: taken one after the other, a few ahead of what is yielded.
        in_thread: whether an item is worth a thread: one that waits for the disk or decodes, which is done without the
            interpreter's lock. All others are done at once, where a hand-over would only cost. Neighbours are alike.
    """
    threads = len(os.sched_getaffinity(0))
    waiting: deque[tuple[list[Item], Future[list[Result]]]] = deque()

    def all_of(group: list[Item]) -> list[Result]:
        return [function(item) for item in group]

    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        try:
            while group := list(islice(remaining, TOGETHER)):
                waiting.append((group, pool.submit(all_of, group) if in_thread(group[0]) else _done(all_of(group))))
                if len(waiting) > AHEAD * threads:
                    yield from _finished(waiting)
            while waiting:
                yield from _finished(waiting)
        finally:
            pool.shutdown(cancel_futures=True)


def _done(results: list[Result]) -> Future[list[Result]]:
    future: Future[list[Result]] = Future()
    future.set_result(results)
    return future


def _finished(waiting: deque[tuple[list[Item], Future[list[Result]]]]) -> Iterator[tuple[Item, Result]]:
    group, future = waiting.popleft()
    return zip(group, future.result(), strict=True)
