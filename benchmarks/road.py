"""Where the time of `make demo` goes: python -m benchmarks.road [--json FILE] [--install] [KEY=VALUE ...]

`convoy run configs/quickstart.yaml` in a temporary folder, stage by stage. `ratio` is a stage's share of the whole.
`start` is Python, the imports and the end of the process. `--install` adds what `make demo` does before: a new virtual
environment with the pinned packages, from pip's cache where it has them, else from the network.
"""

from __future__ import annotations

import csv
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import measure

CONFIG = measure.ROOT / "configs" / "quickstart.yaml"
STAGES = ("prepare", "train", "evaluate", "compress", "export", "verify", "report")
STEPS, AROUND = "train: the steps", "train: building, tracing, validation, checkpoints"


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--install", action="store_true", help="also install into a new environment")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings that go before the file's")
    arguments = parser.parse_args()
    machine = measure.host()
    rounds = [road(arguments.overrides, install=arguments.install) for _ in range(arguments.rounds)]
    measure.publish(shares(rounds), machine, arguments.json)


def shares(rounds: Sequence[dict[str, float]]) -> list[measure.Measure]:
    """Seconds of each part -> its share of its round."""
    totals = [sum(parts.values()) for parts in rounds]
    lines = [
        measure.compare(f"make demo, {name}", [parts[name] for parts in rounds], totals, "s") for name in rounds[0]
    ]
    whole = statistics.median(totals)
    return [*lines, measure.Measure("make demo, all of it", 1.0, 1.0, 1.0, None, None, whole, "s")]


def road(overrides: Sequence[str], *, install: bool) -> dict[str, float]:
    """Part -> seconds, for one Run."""
    with tempfile.TemporaryDirectory() as folder:
        before = {"install": timed(lambda: installation(Path(folder, "venv")))} if install else {}
        return {**before, **stages(Path(folder, "quickstart"), overrides)}


def timed(work: Callable[[], Any]) -> float:
    """Seconds that a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def installation(folder: Path) -> None:
    """What `make demo` does in a fresh checkout."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--constraint", "constraints.txt"]
    subprocess.run([*pip, "--editable", ".[full]"], check=True, cwd=measure.ROOT)


def stages(folder: Path, overrides: Sequence[str]) -> dict[str, float]:
    """Stage -> seconds, for one Run in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=run_all, args=(theirs, folder, list(overrides)))

    def whole() -> None:
        process.start()
        theirs.close()
        process.join()

    wall = timed(whole)
    if process.exitcode:
        raise RuntimeError(f"The Run ended with exit code {process.exitcode}.")
    found: dict[str, float] = ours.recv()
    steps = seconds_of_steps(folder / "history.csv")
    train = found.pop("train")
    parts = {"start": wall - train - sum(found.values()), "prepare": found.pop("prepare")}
    return {**parts, STEPS: steps, AROUND: train - steps, **found}


def seconds_of_steps(history: Path) -> float:
    """What the training's history says of the steps alone."""
    with history.open(newline="", encoding="utf-8") as stream:
        return sum(float(row["seconds"]) for row in csv.DictReader(stream))


def run_all(connection: Connection, folder: Path, overrides: Sequence[str]) -> None:
    """`convoy run` with a clock on each stage; sends stage -> seconds."""
    from pipeline import stages
    from pipeline.config import load
    from pipeline.run import Run

    found: dict[str, float] = {}

    def clocked(name: str) -> Callable[..., None]:
        stage = getattr(stages, name)

        def run(*arguments: Any, **options: Any) -> None:
            found[name] = timed(lambda: stage(*arguments, **options))

        return run

    with ExitStack() as stack:
        for name in STAGES:
            stack.enter_context(mock.patch.object(stages, name, clocked(name)))
        stages.run_all(load(CONFIG, overrides), Run(folder))
    connection.send(found)


if __name__ == "__main__":
    main()
