"""A function over many items in threads, with the results in the items' order and few of them in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD = 8
"""Results per thread that may wait for the consumer; bounds memory."""

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
            interpreter's lock. All others are done at once, where a hand-over would only cost.
    """
    threads = len(os.sched_getaffinity(0))
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item) if in_thread(item) else _done(function(item))))
                if len(waiting) > AHEAD * threads:
                    yield _finished(waiting)
            while waiting:
                yield _finished(waiting)
        finally:
            pool.shutdown(cancel_futures=True)


def _done(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future


def _finished(waiting: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = waiting.popleft()
    return item, future.result()
