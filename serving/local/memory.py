"""Freed memory goes back to the system, so that a server's size says what its models take.

glibc gives each thread an arena of its own, up to eight for each core, and keeps in them what is freed between pieces
that are not. A server with many threads grows by that for hours (mallopt(3), malloc_trim(3)).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

M_ARENA_MAX = -8
"""Of mallopt, in glibc's malloc.h."""
LEAST_ARENAS = 2
SECONDS_BETWEEN_TRIMS = 30.0


@contextmanager
def returned_memory() -> Iterator[None]:
    """Within it, arenas are as many as cores, and what they hold unused is given back now and then.

    Nothing is changed where the C library has no such functions (musl, macOS), or where another allocator is loaded in
    its place and ignores them.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        yield
        return
    library.mallopt(M_ARENA_MAX, max(os.cpu_count() or LEAST_ARENAS, LEAST_ARENAS))
    over = threading.Event()
    thread = threading.Thread(target=_trim, args=(library, over), name="returned memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _trim(library: ctypes.CDLL, over: threading.Event) -> None:
    while not over.wait(SECONDS_BETWEEN_TRIMS):
        library.malloc_trim(0)
