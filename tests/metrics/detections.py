"""Sets of objects and answers that the tests of detection share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.metrics.detection import DetectionEvaluator
from pipeline.metrics.detection_boxes import Answers, Objects, packed_answers, packed_objects
from pipeline.metrics.detection_comparison import Comparison

Box = tuple[float, float, float, float]
Object = tuple[int, int, Box]
"""Picture, class, box."""
Answer = tuple[int, int, float, Box]
"""Picture, class, score, box."""
Batch = dict[str, np.ndarray]

# Two pictures, classes 0 and 1. Every kind of error is there once.
OBJECTS: list[Object] = [
    (0, 0, (0.0, 0.0, 0.2, 0.2)),
    (0, 0, (0.5, 0.5, 0.7, 0.7)),
    (0, 1, (0.0, 0.5, 0.2, 0.7)),
    (1, 0, (0.0, 0.0, 0.3, 0.3)),
    (1, 0, (0.7, 0.0, 0.9, 0.2)),  # missed
    (1, 1, (0.5, 0.5, 0.9, 0.9)),
]
ANSWERS: list[Answer] = [
    (0, 0, 0.9, (0.0, 0.0, 0.2, 0.2)),  # right
    (0, 1, 0.8, (0.5, 0.5, 0.7, 0.7)),  # the wrong class
    (0, 0, 0.7, (0.0, 0.0, 0.2, 0.2)),  # found already
    (0, 1, 0.6, (0.1, 0.5, 0.3, 0.7)),  # an overlap of a third
    (0, 0, 0.5, (0.8, 0.0, 0.9, 0.1)),  # on nothing
    (0, 0, 0.4, (0.1, 0.5, 0.3, 0.7)),  # an overlap of a third with the wrong class
    (1, 1, 0.95, (0.5, 0.5, 0.9, 0.9)),  # right
    (1, 0, 0.3, (0.0, 0.0, 0.3, 0.3)),  # right
]


def padded(
    objects: Sequence[Object], answers: Sequence[Answer], pictures: int, **flags: Mapping[int, float]
) -> tuple[Batch, Batch]:
    """Examples and predictions as an evaluator takes them.

    Args:
        flags: `difficult`, `crowd` or `visible` -> number of the object -> value; 0 for the others.
    """
    most = 1 + max((sum(one[0] == picture for one in objects) for picture in range(pictures)), default=0)
    examples: Batch = {
        "id": np.array([f"{picture}.png".encode() for picture in range(pictures)]),
        "boxes": np.zeros((pictures, most, 4)),
        "classes": np.full((pictures, most), -1),
        **{name: np.zeros((pictures, most)) for name in flags},
    }
    place = [0] * pictures
    for number, (picture, k, box) in enumerate(objects):
        at = picture, place[picture]
        examples["boxes"][at], examples["classes"][at] = box, k
        for name, values in flags.items():
            examples[name][at] = values.get(number, 0)
        place[picture] += 1
    return examples, predicted(answers, pictures)


def predicted(answers: Sequence[Answer], pictures: int) -> Batch:
    """Decoded predictions with room for one more than the most."""
    most = 1 + max((sum(one[0] == picture for one in answers) for picture in range(pictures)), default=0)
    boxes, classes, scores = np.zeros((pictures, most, 4)), np.zeros((pictures, most)), np.zeros((pictures, most))
    count = np.zeros(pictures)
    for picture, k, score, box in answers:
        at = picture, int(count[picture])
        boxes[at], classes[at], scores[at] = box, k, score
        count[picture] += 1
    return {"boxes": boxes, "classes": classes, "scores": scores, "count": count}


def compared(
    objects: Sequence[Object], answers: Sequence[Answer], pictures: int, classes: int, **flags: Any
) -> Comparison:
    """The same, held against one another; pictures of 100 by 100 pixels."""
    examples, predictions = padded(objects, answers, pictures, **flags)
    truth, said = Objects.of(packed_objects(examples)), Answers.of(packed_answers(predictions))
    return Comparison(truth, said, pictures, classes, (100, 100))


def evaluated(
    objects: Sequence[Object] = OBJECTS,
    answers: Sequence[Answer] = ANSWERS,
    pictures: int = 2,
    threshold: float = 0.45,
    **flags: Any,
) -> DetectionEvaluator:
    """An evaluator of the classes a and b that has seen these."""
    evaluator = DetectionEvaluator(("a", "b"), threshold, (100, 100))
    evaluator.update(*padded(objects, answers, pictures, **flags))
    return evaluator


def many(seed: int, pictures: int, classes: int = 3) -> tuple[list[Object], list[Answer]]:
    """Objects, and answers of which most are on or near one of them."""
    generator = np.random.RandomState(seed)  # its numbers never change, and values below stand on them
    objects: list[Object] = []
    answers: list[Answer] = []
    for picture in range(pictures):
        here: list[Object] = []
        for _ in range(generator.randint(0, 6)):
            x, y, width, height = generator.uniform([0, 0, 0.05, 0.05], [0.6, 0.6, 0.4, 0.4])
            here.append((picture, int(generator.randint(classes)), (x, y, x + width, y + height)))
        answers += [_answer(generator, picture, here, classes) for _ in range(generator.randint(0, 13))]
        objects += here
    return objects, answers


def _answer(generator: np.random.RandomState, picture: int, here: Sequence[Object], classes: int) -> Answer:
    x, y = generator.uniform(0, 0.6, 2)
    box, k = (x, y, x + 0.2, y + 0.2), int(generator.randint(classes))
    if here and generator.uniform() < 0.85:
        _, own, (left, top, right, bottom) = here[generator.randint(len(here))]
        left, top, right, bottom = np.array((left, top, right, bottom)) + generator.normal(0, 0.02, 4)
        box = min(left, right - 0.01), min(top, bottom - 0.01), right, bottom
        k = own if generator.uniform() < 0.7 else k
    return picture, k, generator.uniform(), box
