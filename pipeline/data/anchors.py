"""Anchors: a few boxes whose shapes stand for all boxes of the training pictures.

k-means over widths and heights with 1 - IoU as the distance (J. Redmon and A. Farhadi, "YOLO9000", CVPR 2017, section
2), since the Euclidean one would care for large boxes alone.

n = boxes, k = anchors. A shape is (width, height) in pixels of the model's picture; the IoU of two shapes is that of
boxes with the same middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.data import cache
from pipeline.data.example import BOXES, CLASSES, CROWD, DIFFICULT, IMAGE, NO_OBJECT, TRAIN
from pipeline.errors import ConfigError, DataError
from pipeline.wording import quantity

if TYPE_CHECKING:
    from pipeline.data.example import Example
    from pipeline.data.store import Store

REPEATS = 5
"""Beginnings that are tried; the best result counts."""
MOST_ROUNDS = 300
MATCHED = 0.5
"""IoU from which an anchor is taken to reach a box."""


@dataclass(frozen=True)
class Anchors:
    """Fitted anchors, the smallest first.

    Args:
        shapes: float64 [k, 2].
        shares: float64 [k], of the boxes that are nearest to each.
        ious: float64 [n], of each box with its nearest anchor.
    """

    shapes: np.ndarray
    shares: np.ndarray
    ious: np.ndarray

    @property
    def mean_iou(self) -> float:
        """The mean over all boxes: what k-means maximises."""
        return float(self.ious.mean())

    def recall(self, least: float = MATCHED) -> float:
        """The share of the boxes that some anchor reaches with at least this IoU."""
        return float(np.mean(self.ious >= least))

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "anchors": self.shapes.round(1).tolist(),
            "shares": self.shares.round(4).tolist(),
            "boxes": len(self.ious),
            "mean_iou": round(self.mean_iou, 4),
            "recall": {f"{least:.2f}": round(self.recall(least), 4) for least in (0.5, 0.6, 0.7, 0.8, 0.9)},
        }


def fit_anchors(shapes: np.ndarray, count: int, seed: int = 0) -> Anchors:
    """The k anchors of boxes float64 [n, 2].

    Raises:
        ConfigError: there are fewer different shapes than anchors.
    """
    different = len(np.unique(shapes, axis=0))
    if different < count:
        raise ConfigError(
            f"{count} anchors were asked for, but the training boxes have "
            f"{quantity(different, 'shape', 'different shapes')}. Give a smaller --count."
        )
    generator = np.random.default_rng(seed)
    found = [_settled(shapes, _spread_out(shapes, count, generator)) for _ in range(REPEATS)]
    best = max(found, key=lambda anchors: float(shape_ious(shapes, anchors).max(axis=1).mean()))
    ordered = best[np.argsort(best.prod(axis=1))]
    ious = shape_ious(shapes, ordered)
    shares = np.bincount(ious.argmax(axis=1), minlength=count) / len(shapes)
    return Anchors(ordered, shares, ious.max(axis=1))


def shape_ious(shapes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """IoU of boxes [n, 2] and anchors [k, 2] with the same middle: [n, k]."""
    common = np.minimum(shapes[:, None], anchors[None]).prod(axis=2)
    return common / (shapes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - common)


def _spread_out(shapes: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Boxes to begin with, each drawn by how far it is from those before (k-means++)."""
    chosen = shapes[[generator.integers(len(shapes))]]
    while len(chosen) < count:
        far = 1.0 - shape_ious(shapes, chosen).max(axis=1)
        weights = np.clip(far, 0.0, None) ** 2
        chosen = np.concatenate([chosen, shapes[[generator.choice(len(shapes), p=weights / weights.sum())]]])
    return chosen


def _settled(shapes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Moves each anchor to the mean of the boxes that are nearest to it, until none moves."""
    for _ in range(MOST_ROUNDS):
        nearest = shape_ious(shapes, anchors).argmax(axis=1)
        members = [shapes[nearest == place] for place in range(len(anchors))]
        moved = np.array([own.mean(axis=0) if len(own) else old for own, old in zip(members, anchors, strict=True)])
        if np.allclose(moved, anchors):
            break
        anchors = moved
    return anchors


def training_shapes(store: Store, format: PictureFormat) -> np.ndarray:
    """The boxes of the training split as they are in the model's picture, float64 [n, 2]; without crowds and objects
    that are not asked for.

    Raises:
        DataError: the data holds no boxes.
    """
    if BOXES not in store.info.fields:
        raise DataError(f"Anchors are fitted to boxes, but the data holds {', '.join(store.info.fields)}.")

    def shapes_of(record: tf.Tensor) -> tf.Tensor:
        example: Example = store.parse(record)
        size = preprocess.picture_size(example[IMAGE])
        window = preprocess.fit_window(format, size[0], size[1])
        there = example[CLASSES] != NO_OBJECT
        for name in (CROWD, DIFFICULT):
            if name in example:
                there &= ~example[name]
        boxes = tf.boolean_mask(example[BOXES], there)
        extent = tf.stack([window[3] - window[1], window[2] - window[0]])
        return (boxes[:, 2:] - boxes[:, :2]) / extent * tf.constant([format.width, format.height], tf.float32)

    found = list(cache.records(store, TRAIN).map(shapes_of).as_numpy_iterator())
    shapes = np.concatenate(found).astype(np.float64) if found else np.zeros((0, 2))
    return shapes[(shapes > 0).all(axis=1)]
