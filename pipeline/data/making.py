"""Pictures that are drawn while they are stored, by several processes: drawing holds the interpreter's lock."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import islice

from pipeline.data.example import MadePicture

FEWEST = 300
"""Pictures from which on processes pay: they start in two seconds, in which one draws 150."""
TOGETHER = 16
"""Pictures handed over at once."""
AHEAD = 4
"""Hand-overs per process that may wait for the consumer; bounds memory."""
IDLE_SECONDS = 20
"""After which a process ends that has nothing to draw; the next shard comes sooner."""


def drawn(pictures: Sequence[MadePicture], processes: int | None = None) -> Iterator[bytes]:
    """The encoded pictures, in their order.

    Args:
        pictures: all that will be asked for.
        processes: how many may draw: 1 for this process alone, None for one on each processor.
    """
    processes = processes or len(os.sched_getaffinity(0))
    if processes == 1 or len(pictures) < FEWEST:
        return _contents(pictures)
    return _drawn_by(_executor(processes), pictures, most=AHEAD * processes)


def _executor(processes: int) -> Executor:
    """Processes that are used again by whoever asks next. Where the command is stopped, they are told by it."""
    from loky import get_reusable_executor

    ignore = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    return get_reusable_executor(processes, timeout=IDLE_SECONDS, **ignore)


def _drawn_by(executor: Executor, pictures: Sequence[MadePicture], most: int) -> Iterator[bytes]:
    """The same, with at most so many groups on their way."""
    waiting, remaining = deque[Future[list[bytes]]](), iter(pictures)
    try:
        while group := list(islice(remaining, TOGETHER)):
            waiting.append(executor.submit(_all_contents, group))
            if len(waiting) > most:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _all_contents(pictures: Sequence[MadePicture]) -> list[bytes]:
    return list(_contents(pictures))


def _contents(pictures: Sequence[MadePicture]) -> Iterator[bytes]:
    return (picture.read_bytes() for picture in pictures)
