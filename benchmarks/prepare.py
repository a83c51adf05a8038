"""`prepare` against copying the same files, its memory and its time as the data grows.

    python -m benchmarks.prepare --json prepare.json

The pictures are JPEG files of 500 x 375 pixels in class folders, some 60 kB each, made for the measure and read once
before, so that both sides find them in the page cache. Each side is a process of its own. The clock of `prepare` runs
over the call alone, with TensorFlow and TensorFlow Datasets loaded by a first small call. It waits until all is on the
disk; `cp` does not.
"""

from __future__ import annotations

import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.measure import Measure

HEIGHT, WIDTH, QUALITY = 375, 500, 90
DIFFERENT = 50
"""Pictures that are made; the others are copies of them, under names of their own."""
CLASSES = 5
FEW, SOME, MANY = 1_000, 5_000, 20_000
MOST_TIME, MOST_GROWTH = 2.0, 1.1


def main() -> None:
    parser = measure.arguments(__doc__, rounds=3)
    parser.add_argument("--counts", type=int, nargs=3, default=(FEW, SOME, MANY), help="pictures (%(default)s)")
    parser.add_argument("--worker", type=Path, nargs=2, metavar=("DATA", "STORES"), help="one side, for this script")
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(prepared_here(*arguments.worker)))
        return
    machine = measure.host()
    with tempfile.TemporaryDirectory() as folder:
        lines = measures(Path(folder), arguments.counts, arguments.rounds)
    measure.publish(lines, machine, arguments.json)


def measures(folder: Path, counts: Sequence[int], rounds: int) -> list[Measure]:
    """All lines; the data of a count is removed before that of the next is made."""
    pictures = encoded_pictures()
    found = {count: of_count(folder, pictures, count, rounds) for count in counts}
    few, some, many = (found[count] for count in counts)
    return [
        at_most(copied(few, counts[0]), MOST_TIME),
        at_most(copied(some, counts[1]), MOST_TIME),
        at_most(copied(many, counts[2]), MOST_TIME),
        at_most(
            measure.compare(
                f"prepare: seconds a picture, {counts[2]:,} / {counts[1]:,}",
                [second / counts[2] * 1e6 for second in many["prepare"]],
                [second / counts[1] * 1e6 for second in some["prepare"]],
                "µs a picture",
            ),
            MOST_GROWTH,
        ),
        at_most(
            measure.compare(
                f"prepare: peak memory, {counts[2]:,} / {counts[0]:,} pictures", many["memory"], few["memory"], "MiB"
            ),
            MOST_GROWTH,
        ),
    ]


def copied(found: dict[str, list[float]], count: int) -> Measure:
    """The time of `prepare` to that of `cp`."""
    return measure.compare(f"prepare / cp -r, {count:,} pictures", found["prepare"], found["copy"], "s")


def at_most(line: Measure, goal: float) -> Measure:
    """The line with a goal that its median should stay below."""
    return replace(line, goal=goal, met=line.ratio <= goal)


def of_count(folder: Path, pictures: list[bytes], count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of both sides and peak MiB of ours, round by round."""
    data, target = folder / "data", folder / "target"
    write_pictures(data, pictures, count)
    memory: list[float] = []

    def prepare() -> float:
        command = [sys.executable, "-m", "benchmarks.prepare", "--worker", str(data), str(target)]
        result = json.loads(subprocess.run(command, cwd=measure.ROOT, check=True, capture_output=True).stdout)
        memory.append(result["peak_mib"])
        shutil.rmtree(target)
        return float(result["seconds"])

    def copy() -> float:
        began = time.perf_counter()
        subprocess.run(["cp", "-r", str(data), str(target)], check=True)
        taken = time.perf_counter() - began
        shutil.rmtree(target)
        return taken

    found = measure.interleave({"prepare": prepare, "copy": copy}, rounds)
    shutil.rmtree(data)
    return {**found, "memory": memory[1:]}


def prepared_here(data: Path, stores: Path) -> dict[str, float]:
    """In a process of its own: seconds and peak memory of one `prepare`."""
    from pipeline.data.prepare import DataSettings, prepare
    from pipeline.data.sources import ClassFolders, Digits

    prepare(DataSettings(source=Digits()), stores)
    began = time.perf_counter()
    prepare(DataSettings(source=ClassFolders(path=data)), stores)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def encoded_pictures() -> list[bytes]:
    """JPEG files with as much detail as photographs have."""
    from PIL import Image

    pictures = []
    for seed in range(DIFFERENT):
        random = np.random.default_rng(seed)
        coarse = Image.fromarray(random.integers(0, 256, (HEIGHT // 6, WIDTH // 6, 3), np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        stream = io.BytesIO()
        Image.fromarray(smooth).save(stream, "JPEG", quality=QUALITY)
        pictures.append(stream.getvalue())
    return pictures


def write_pictures(root: Path, pictures: list[bytes], count: int) -> None:
    """Class folders with `count` files."""
    for number in range(CLASSES):
        (root / f"class_{number}").mkdir(parents=True)
    for number in range(count):
        file = root / f"class_{number % CLASSES}" / f"{number:06}.jpg"
        file.write_bytes(pictures[number % len(pictures)])


if __name__ == "__main__":
    main()
