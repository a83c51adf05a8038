"""What tracking costs besides the detector: python -m benchmarks.tracking [--json FILE]

Twenty objects move through 300 frames and are detected with small errors; one in ten detections has a low score, so
that both rounds of association have something to do. `ratio` is frames a second of the tracker alone by 1,000 frames a
second, which it should reach; and by what the two optimal assignments of each frame alone would reach, overlaps of
boxes included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks import measure
from pipeline.tracking.boxes import overlaps
from pipeline.tracking.particles import Particles
from pipeline.tracking.settings import TrackSettings
from pipeline.tracking.tracker import Detections, Tracker

OBJECTS, FRAMES = 20, 300
SIDE = 1000.0
"""Of the frames, in pixels."""
ASKED = 1000.0
"""Frames a second."""
KALMAN, PARTICLES = TrackSettings(), TrackSettings(motion=Particles())


def main() -> None:
    arguments = measure.arguments(__doc__, rounds=7).parse_args()
    machine, frames = measure.host(), scene(np.random.default_rng(0))
    sides = {
        "kalman": lambda: per_second(lambda: tracked(KALMAN, frames)),
        "particles": lambda: per_second(lambda: tracked(PARTICLES, frames)),
        "assignment": lambda: per_second(lambda: assigned(frames)),
    }
    found = measure.interleave(sides, arguments.rounds)
    asked = [ASKED] * arguments.rounds
    measures = [
        measure.at_least(
            measure.compare("tracking 20 objects / 1,000 a second", found["kalman"], asked, "frames/s"), 1.0
        ),
        measure.compare("tracking 20 objects / assignment alone", found["kalman"], found["assignment"], "frames/s"),
        measure.compare("the same with 300 particles each", found["particles"], found["kalman"], "frames/s"),
    ]
    measure.publish(measures, machine, arguments.json)


def scene(random: np.random.Generator) -> list[Detections]:
    """Objects on straight ways that turn back at the edges."""
    places = random.uniform(100, SIDE - 100, (OBJECTS, 2))
    velocities, sizes = random.normal(0, 3, (OBJECTS, 2)), random.uniform(30, 80, (OBJECTS, 2))
    frames = []
    for _ in range(FRAMES):
        places = places + velocities
        velocities = np.where((places < 50) | (places > SIDE - 50), -velocities, velocities)
        corners = np.concatenate([places - sizes / 2, places + sizes / 2], axis=1)
        scores = np.where(random.random(OBJECTS) < 0.1, 0.3, 0.9)
        frames.append(Detections(corners + random.normal(0, 1, corners.shape), scores, np.arange(OBJECTS) % 3))
    return frames


def tracked(settings: TrackSettings, frames: Sequence[Detections]) -> None:
    tracker = Tracker(settings)
    for frame in frames:
        tracker.update(frame)


def assigned(frames: Sequence[Detections]) -> None:
    """The least that two rounds take: each frame's detections with those of the frame before."""
    before = frames[0]
    for frame in frames:
        costs = 1.0 - overlaps(before.boxes, frame.boxes)
        strong = frame.scores >= 0.6
        linear_sum_assignment(costs[:, strong])
        linear_sum_assignment(costs[~strong][:, ~strong])
        before = frame


def per_second(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return FRAMES / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
