"""How long one picture takes."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass

import numpy as np

from pipeline.predictors import Arrays, Predictor
from pipeline.processors import processor
from pipeline.wording import quantity


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one call of a Predictor.

    Args:
        median, least, most: over the timed runs.
        runs: how many these were.
        host: processor, its number of cores, and system.
    """

    median: float
    least: float
    most: float
    runs: int
    host: str


def measure_latency(predictor: Predictor, inputs: Arrays, runs: int = 30, warm_up: int = 5) -> Latency:
    """Times a Predictor on the first picture of `inputs`, after `warm_up` calls that are not counted.

    Threads are the Predictor's own: open it with the number wanted (`TFLitePredictor(path, threads=2)`).
    """
    one = {name: values[:1] for name, values in inputs.items()}
    for _ in range(warm_up):
        predictor(one)
    times = [_milliseconds(predictor, one) for _ in range(runs)]
    return Latency(float(np.median(times)), min(times), max(times), runs, host())


def host() -> str:
    """The machine in one line, such as `Intel(R) Xeon(R) Processor, 2 cores, Linux x86_64`."""
    return f"{processor()}, {quantity(os.cpu_count() or 1, 'core')}, {platform.system()} {platform.machine()}"


def _milliseconds(predictor: Predictor, inputs: Arrays) -> float:
    start = time.perf_counter()
    predictor(inputs)
    return (time.perf_counter() - start) * 1e3
