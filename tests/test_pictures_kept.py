"""Pictures of the worst mistakes: what is labelled, and beside it what was answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.stack import tf
from pipeline.data.example import BOXES, CLASSES, IMAGE, LABEL, REAL, TRAIN, DataInfo
from pipeline.metrics.base import Mistake
from pipeline.pictures_kept import Answered, keep_mistakes
from pipeline.tasks import Classification, Detection

SIDE = 64
INFO = DataInfo(
    fields=("id", "image", BOXES, CLASSES),
    class_names=("cat", "dog"),
    num_examples={TRAIN: 4},
    class_counts={TRAIN: [4, 4]},
    max_objects=1,
)
LABELLED, ANSWERED = (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)
MISTAKES = [Mistake("second", "1 cat", "1 dog", 0.9)]


def batches(**fields: Any) -> tf.data.Dataset:
    """One batch: two grey pictures and padding."""
    pictures = np.full((3, SIDE, SIDE, 3), 128, np.uint8)
    common = {"id": [b"first", b"second", b"second"], IMAGE: pictures, REAL: [True, True, False]}
    return tf.data.Dataset.from_tensors({name: tf.constant(value) for name, value in {**common, **fields}.items()})


def coloured(pixels: np.ndarray) -> tuple[int, int]:
    """First and last column below the middle, where names do not reach, with anything drawn."""
    columns = np.flatnonzero((pixels[3 * SIDE // 4] != 128).any(axis=-1))
    return int(columns[0]), int(columns[-1])


def test_a_misplaced_box_is_seen_beside_the_one_that_is_labelled(tmp_path: Path) -> None:
    asked = list[tuple[int, ...]]()

    def predictor(inputs: Any) -> dict[str, np.ndarray]:
        asked.append(inputs[IMAGE].shape)
        found = {"boxes": np.array([[ANSWERED]], np.float32), "classes": np.ones((1, 1), np.float32)}
        return {**found, "scores": np.full((1, 1), 0.9, np.float32), "count": np.ones(1, np.float32)}

    task = Detection.model_validate({"picture": {"height": SIDE, "width": SIDE}}).resolve(INFO)
    data = batches(**{BOXES: [[LABELLED]] * 3, CLASSES: np.zeros((3, 1), np.int64)})
    rows = keep_mistakes(tmp_path, data, MISTAKES, INFO, Answered(predictor, task))
    assert [row["id"] for row in rows] == ["second"]
    assert asked == [(1, SIDE, SIDE, 3)]  # padding is nobody's mistake
    pixels = np.asarray(Image.open(tmp_path / "000.png"))
    assert coloured(pixels[:, :SIDE]) == (0, SIDE // 2 - 1)
    assert coloured(pixels[:, -SIDE:]) == (SIDE // 2, SIDE - 1)


def test_answers_without_places_are_one_picture(tmp_path: Path) -> None:
    info = DataInfo(
        fields=("id", "image", LABEL), class_names=("cat", "dog"), num_examples={TRAIN: 4}, class_counts={TRAIN: [4, 4]}
    )
    task = Classification.model_validate({"picture": {"height": SIDE, "width": SIDE}}).resolve(info)
    answered = Answered(lambda inputs: {"probabilities": np.array([[0.9, 0.1]], np.float32)}, task)
    keep_mistakes(tmp_path, batches(**{LABEL: np.ones(3, np.int64)}), MISTAKES, info, answered)
    assert np.asarray(Image.open(tmp_path / "000.png")).shape[:2] == (SIDE, SIDE)
