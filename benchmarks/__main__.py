"""Runs the benchmarks one after the other and prints one table: python -m benchmarks [NAME ...] [--json FILE]

The exit code is 1 where a benchmark crashed; a missed goal is only shown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure

BENCHMARKS = (
    *("startup", "training_overhead", "prepare", "road", "augment_operations", "augmentation", "decoding"),
    *("latency", "light_client", "serving_json", "request_log", "tracking"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}")
    machine = measure.host()
    results = {name: run(name) for name in arguments.names or BENCHMARKS}
    measures = [line for found in results.values() for line in found or []]
    measure.publish(measures, machine, arguments.json)
    crashed = [name for name, found in results.items() if found is None]
    if crashed:
        sys.exit(f"Crashed: {', '.join(crashed)}")


def run(name: str) -> list[measure.Measure] | None:
    """The measures of one benchmark, run in a process of its own; None where it crashed."""
    print(f"benchmarks.{name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "result.json")
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(file)]
        done = subprocess.run(command, cwd=measure.ROOT, stdout=subprocess.DEVNULL, check=False)
        return None if done.returncode else measure.read(file)


if __name__ == "__main__":
    main()
