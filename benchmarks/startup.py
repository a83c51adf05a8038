"""How long `convoy --help` takes, as a ratio to `python -c pass`: python -m benchmarks.startup [--json FILE]

The goal is 0.5 seconds; `goal` is the ratio that this would be on this host.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import measure

GOAL_SECONDS = 0.5


def main() -> None:
    arguments = measure.arguments(__doc__, rounds=15).parse_args()
    machine = measure.host()
    measure.publish([startup(arguments.rounds)], machine, arguments.json)


def startup(rounds: int) -> measure.Measure:
    """`convoy --help` against a Python that does nothing."""
    sides = {
        "convoy": lambda: seconds([convoy(), "--help"]),
        "python": lambda: seconds([sys.executable, "-c", "pass"]),
    }
    found = measure.interleave(sides, rounds)
    compared = measure.compare("convoy --help / python -c pass", found["convoy"], found["python"], "s")
    return replace(compared, goal=GOAL_SECONDS / statistics.median(found["python"]), met=compared.value < GOAL_SECONDS)


def convoy() -> str:
    """The installed command that belongs to this Python."""
    command = shutil.which("convoy", path=Path(sys.executable).parent)
    if command is None:
        sys.exit(f"There is no convoy beside {sys.executable}. Install it there: pip install --editable '.[full]'")
    return command


def seconds(command: Sequence[str]) -> float:
    """Wall time of a command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
