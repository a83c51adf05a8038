"""Freed memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

PROGRAM = """
import ctypes, threading, time
from pathlib import Path
import serving.local.memory as memory

library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
memory.SECONDS_BETWEEN_TRIMS = 0.05

def held() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

def fill() -> None:  # 32 MiB in pieces of an arena; the last stays, so that what lies before it is kept, too
    pieces = [library.malloc(64 << 10) for _ in range(512)]
    for piece in pieces:
        ctypes.memset(piece, 1, 64 << 10)
    for piece in pieces[:-1]:
        library.free(piece)

before = held()
with memory.returned_memory():
    for _ in range(3):
        thread = threading.Thread(target=fill)
        thread.start()
        thread.join()
    deadline = time.monotonic() + 20
    while held() - before > 24 and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [thread.name for thread in threading.enumerate()]
print(held() - before, "returned memory" in names, threading.active_count())
"""


def test_what_threads_have_freed_is_given_back_and_nothing_runs_on() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    grown, ran, threads = done.stdout.split()
    assert int(grown) <= 24  # of 32 MiB a thread
    assert (ran, threads) == ("True", "1")
