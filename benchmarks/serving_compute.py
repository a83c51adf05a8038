"""The same signature of the same SavedModel in batches, computed in this process: what serving is measured against.

Started as `python -m benchmarks.serving_compute FOLDER`; each line on stdin names the arguments of a method of
`Compute`. TensorFlow chooses its kernels as it does for `convoy serve`.
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.serving_processes import answer_lines
from models.stack import leave_kernels_to_tensorflow, tf

CALLS = 500
"""Of a scalar model, for a median."""


class Compute:
    """Both models of `benchmarks.serving_network`, as `tf.saved_model.load` gives them."""

    def __init__(self, folder: Path):
        leave_kernels_to_tensorflow()
        # Without its object the signature's variables would be gone.
        self._models = {name: tf.saved_model.load(str(folder / name / "1")) for name in ("network", "scalar")}
        self._pictures = [file.read_bytes() for file in sorted((folder / "pictures").iterdir())]

    def answer(self, question: str, **arguments: Any) -> float:
        """One of the methods below."""
        return self.rate(**arguments) if question == "rate" else self.scalar()

    def rate(self, batch: int, threads: int, seconds: float) -> float:
        """Pictures a second from JPEG to scores: `threads` batches at once, each made of the next pictures."""
        self._run(0, batch)
        begin = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            counts = pool.map(lambda first: self._repeat(first, batch, begin + seconds), range(threads))
            return sum(counts) / (time.perf_counter() - begin)

    def scalar(self) -> float:
        """Milliseconds of a call with one number."""
        signature, times = self._models["scalar"].signatures["serving_default"], []
        for _ in range(CALLS):
            begin = time.perf_counter()
            signature(x=tf.constant([1.0]))["y"].numpy()
            times.append(1000 * (time.perf_counter() - begin))
        return statistics.median(times)

    def _repeat(self, first: int, batch: int, end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            self._run(7 * first + count, batch)
            count += batch
        return count

    def _run(self, first: int, batch: int) -> None:
        pictures = [self._pictures[(first + place) % len(self._pictures)] for place in range(batch)]
        signature = self._models["network"].signatures["serving_default"]
        signature(image_bytes=tf.constant(pictures))["scores"].numpy()


if __name__ == "__main__":
    answer_lines(Compute(Path(sys.argv[1])).answer)
