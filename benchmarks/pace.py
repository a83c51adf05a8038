"""How fast batches come, for sides that are processes of their own too: it imports nothing but the standard library."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any


def pictures_per_second(batches: Iterator[Any], batch_size: int, seconds: float, warm_up: int = 4) -> float:
    """Pictures per second over at least so many seconds, after the first batches, which may have been prepared.

    Args:
        batches: endless.
        warm_up: batches that are not timed.
    """
    for _ in islice(batches, warm_up):
        pass
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        next(batches)
        count += batch_size
    return count / (time.perf_counter() - began)
