"""Asking again, with growing waits, while a server is unavailable; nothing else is asked twice."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from serving.remote.errors import Unavailable
from serving.remote.settings import ClientSettings

Answer = TypeVar("Answer")


def repeated(ask: Callable[[float], Answer], settings: ClientSettings) -> Answer:
    """The answer of `ask`, which is given the seconds that are left.

    Raises:
        Unavailable: at the last attempt, or where no time is left for another.
        ServerError: anything else, at once.
    """
    deadline = time.monotonic() + settings.timeout
    for wait in waits(settings):
        try:
            return ask(deadline - time.monotonic())
        except Unavailable:
            if time.monotonic() + wait >= deadline:
                raise
            time.sleep(wait)
    return ask(deadline - time.monotonic())


async def repeated_async(ask: Callable[[float], Awaitable[Answer]], settings: ClientSettings) -> Answer:
    """As `repeated`, in an event loop."""
    import asyncio

    deadline = time.monotonic() + settings.timeout
    for wait in waits(settings):
        try:
            return await ask(deadline - time.monotonic())
        except Unavailable:
            if time.monotonic() + wait >= deadline:
                raise
            await asyncio.sleep(wait)
    return await ask(deadline - time.monotonic())


def waits(settings: ClientSettings) -> Iterator[float]:
    """Seconds to wait after each attempt but the last."""
    longest = settings.first_wait
    for _ in range(settings.attempts - 1):
        yield min(longest, settings.longest_wait) * random.uniform(0.5, 1.0)
        longest *= 2
