"""Sequences of which everything is known, and what a detector that is not perfect makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.scenes.motion import Frame as ScenePicture
from pipeline.data.scenes.motion import Sequence as Scene
from pipeline.data.scenes.motion import met_in
from pipeline.data.scenes.render import Layout
from pipeline.tracking.frames import pixels_of
from pipeline.tracking.mot import Objects
from pipeline.tracking.tracker import Detections

HEIGHT, WIDTH = 120, 160


def detections(*boxes: Sequence[float], score: float = 0.9, kind: int = 0) -> Detections:
    """Boxes of one score and class."""
    found = np.array(boxes, np.float64).reshape(-1, 4)
    return Detections(found, np.full(len(found), score), np.full(len(found), kind))


def together(*parts: Detections) -> Detections:
    return Detections(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def box(x: float, y: float, side: float = 20.0) -> tuple[float, float, float, float]:
    """A square around a point."""
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


@dataclass(frozen=True)
class Known:
    """A sequence of moving digits: its frames, and the objects of each, by number from 1."""

    scene: Scene
    objects: dict[int, Objects]

    def pixels(self, number: int) -> np.ndarray:
        return pixels_of(self.picture(number))

    def picture(self, number: int) -> bytes:
        return ScenePicture(self.scene, number - 1).read_bytes()


def known(number: int = 0, frames: int = 60, digits: tuple[int, int] = (3, 6)) -> Known:
    scene = Scene(Layout(HEIGHT, WIDTH, digits, (0.15, 0.35), 0.75, 0.28), "test", number, 0, frames)
    cast, objects = scene.places(), {}
    for time in range(frames):
        seen = [one for one in met_in(scene, cast, time) if one.visible >= 0.25]
        objects[time + 1] = Objects(
            np.array([one.digit.track for one in seen], np.int64),
            np.array([one.box for one in seen], np.float64).reshape(-1, 4),
            np.array([int(one.label) for one in seen], np.int64),
            ignored=np.zeros(len(seen), bool),
            in_parts=np.zeros(len(seen), bool),
        )
    return Known(scene, objects)


def exact(objects: Objects) -> Detections:
    """All of them, without a mistake."""
    return Detections(objects.boxes, np.full(len(objects), 0.95), objects.classes)


def spoiled(objects: Objects, random: np.random.Generator) -> Detections:
    """One in ten is missing, boxes are off by 4 % of their sides, scores vary, and now and then there is nothing at all
    where something is found."""
    there = random.random(len(objects)) > 0.1
    sides = np.tile(objects.boxes[there, 2:] - objects.boxes[there, :2], 2)
    boxes = objects.boxes[there] + 0.04 * sides * random.standard_normal(sides.shape)
    scores = np.clip(random.normal(0.8, 0.15, len(boxes)), 0.05, 0.99)
    count = int(random.poisson(0.3))
    low = random.uniform(0, (WIDTH - 30, HEIGHT - 30), (count, 2))
    false = np.concatenate([low, low + random.uniform(15, 30, (count, 2))], axis=1)
    wrong = Detections(false, np.clip(random.normal(0.5, 0.15, count), 0.05, 0.95), random.integers(0, 10, count))
    return together(Detections(boxes, scores, objects.classes[there]), wrong)
