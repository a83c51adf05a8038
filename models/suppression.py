"""Suppression: of the many boxes that a detector finds for one object, the best one stays.

`AnySuppression` is the choice in a configuration, `SUPPRESSIONS` the class of each kind. One implementation serves the
Keras model, the SavedModel and the `.tflite`, of operators that TFLite has built in, and the answers are the same.

B = batch, P = places, K = classes, C = candidates, M = boxes given at most.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from models.settings import Settings
from models.stack import tf

Tensor = Any

EQUAL_OVERLAP = 1e-6
"""By how much the operators' limit is above `iou`: TFLite's drops a box that overlaps by the limit itself, TensorFlow's
keeps it. Overlaps that are equal to it on paper, as on a grid they are, stay in both."""
BETWEEN_RANKS = 2.0**-22
"""By which part soft scores are lowered for each candidate before: enough to tell float32 numbers apart."""
SAME_BOX = 1.0 - 1e-5
"""Boxes that overlap by more are one to soft suppression, which gives only the best of them."""
CLASS_SPACING = 2.0
"""How far the pictures of two classes are laid apart, in pictures."""


@dataclass(frozen=True)
class Candidates:
    """The best pairs of a place and a class, best first; the earlier place of equals.

    Args:
        boxes: float32 [B,C,4].
        classes: int32 [B,C].
        scores: float32 [B,C], falling.
        num_classes: K.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    num_classes: int


@dataclass(frozen=True)
class Kept:
    """What remains of the candidates, best first.

    Args:
        indices: int32 [B,M], of candidates.
        scores: float32 [B,M].
        count: int32 [B], how many of the M are meant.
    """

    indices: Tensor
    scores: Tensor
    count: Tensor


class SuppressionSettings(Settings):
    """What all kinds share."""

    kind: str
    least_score: float = Field(default=0.05, ge=0, lt=1)
    """Only boxes that score above it are given. Evaluation wants it low, as mean average precision counts all that is
    found; what is shown to people is cut higher."""
    most: int = Field(default=100, ge=1)
    """How many boxes of a picture are given at most."""

    def select(self, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
        """The boxes that are given for each picture.

        Args:
            boxes: float32 [B,P,4], x_min, y_min, x_max, y_max in shares of the picture, 0..1.
            scores: float32 [B,P,K] 0..1, each class by itself.

        Returns:
            `boxes` float32 [B,M,4], `classes` float32 [B,M] (index of the class), `scores` float32 [B,M] 0..1, falling,
            `count` float32 [B], how many of the M there are; behind them are zeros.

        Raises:
            ValueError: shapes that do not belong together.
        """
        from models.layers import Suppress

        _require_shapes(boxes, scores)
        chosen: dict[str, Tensor] = Suppress(self)([boxes, scores])
        return chosen

    def joining(self, count: int) -> SuppressionSettings:
        """What brings `count` boxes together that several views of one picture gave by this suppression: of the views'
        boxes of one object the best stays, as it is."""
        return ClassWise(least_score=self.least_score, most=count, candidates=count)

    def chosen(self, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
        """As `select`, of tensors inside a layer."""
        candidates = best_pairs(boxes, scores, self.num_candidates)
        kept = self.keep(candidates)
        there = _there(kept.count, self.most)
        classes = tf.cast(candidates.classes, tf.float32)
        return {
            "boxes": tf.gather(candidates.boxes, kept.indices, batch_dims=1) * there[..., tf.newaxis],
            "classes": tf.gather(classes, kept.indices, batch_dims=1) * there,
            "scores": kept.scores * there,
            "count": tf.cast(kept.count, tf.float32),
        }

    @property
    @abstractmethod
    def num_candidates(self) -> int:
        """How many pairs of a place and a class are looked at."""

    @abstractmethod
    def keep(self, candidates: Candidates) -> Kept:
        """What remains."""


class OverlapSettings(SuppressionSettings):
    """Kinds that compare boxes with the better ones that they overlap."""

    candidates: int = Field(default=1000, ge=1)
    """How many of the best pairs of a place and a class are compared. Several places answer for each object: raise it
    for crowds, where objects are missed that the network found; lower it where a phone's milliseconds count."""

    @property
    def num_candidates(self) -> int:
        return self.candidates

    def keep(self, candidates: Candidates) -> Kept:
        boxes = self.compared(candidates)
        # TFLite gives boxes without an area again and again: they overlap with nothing, not even with themselves.
        has_area = tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=-1) > 0.0
        meant = tf.cast((candidates.scores > self.least_score) & has_area, tf.float32)
        return self.without_overlaps(boxes, candidates.scores, meant)

    @abstractmethod
    def compared(self, candidates: Candidates) -> Tensor:
        """The candidates' boxes as they are compared, float32 [B,C,4]."""

    @abstractmethod
    def without_overlaps(self, boxes: Tensor, scores: Tensor, meant: Tensor) -> Kept:
        """What remains of boxes [B,C,4] with falling scores [B,C], those where `meant` [B,C] is 1 and not 0."""


class Greedy(OverlapSettings):
    """A box stays that overlaps with none that scores higher and stays."""

    iou: float = Field(default=0.5, ge=0, lt=1)
    """Boxes whose intersection with a better one is more than this share of their union are left out. Lower for things
    that never overlap, higher for crowds."""

    def joining(self, count: int) -> SuppressionSettings:
        """See the base: the same."""
        return self.model_copy(update={"most": count, "candidates": count})

    def without_overlaps(self, boxes: Tensor, scores: Tensor, meant: Tensor) -> Kept:
        indices, count = _greedy(boxes, meant, self.most, self.iou)
        return Kept(indices, tf.gather(scores, indices, batch_dims=1), count)


class ClassWise(Greedy):
    """Greedy non-maximum suppression, each class by itself: boxes of two classes may lie on each other."""

    kind: Literal["class_wise"] = "class_wise"
    """Boxes of one class leave out worse ones of the same."""

    def compared(self, candidates: Candidates) -> Tensor:
        """See the base."""
        return classes_apart(candidates)


class ClassAgnostic(Greedy):
    """Greedy non-maximum suppression over all classes: at each place there is one thing, of one class."""

    kind: Literal["class_agnostic"] = "class_agnostic"
    """Boxes leave out worse ones of any class."""

    def compared(self, candidates: Candidates) -> Tensor:
        """See the base."""
        return candidates.boxes


class Soft(OverlapSettings):
    """Soft-NMS (Bodla et al. 2017, "Improving Object Detection With One Line of Code", section 3, the Gaussian one),
    each class by itself: overlaps lower a score by exp(-IoU^2 / sigma) and leave nothing out by themselves.

    Scores come out lower than the method's by `candidates` times 2^-22 of them at most, a four-thousandth part with
    1,000, so that no two are equal and all runtimes agree on their order.
    """

    kind: Literal["soft"] = "soft"
    """Boxes lower the scores of worse ones of the same class, for crowds."""
    sigma: float = Field(default=0.5, gt=0)
    """How far overlaps count: with small ones, scores fall at the least of them."""

    def compared(self, candidates: Candidates) -> Tensor:
        """See the base."""
        return classes_apart(candidates)

    def without_overlaps(self, boxes: Tensor, scores: Tensor, meant: Tensor) -> Kept:
        """See the base."""
        # TFLite leaves out the same box once more, TensorFlow lowers its score: there is none.
        count = boxes.shape[1]
        distinct, num_distinct = _greedy(boxes, meant, count, SAME_BOX)
        boxes, scores = (tf.gather(tensor, distinct, batch_dims=1) for tensor in (boxes, scores))
        apart = 1.0 - tf.range(count, dtype=tf.float32) * BETWEEN_RANKS
        scores = scores * apart * _there(num_distinct, count)
        # The operators' sigma is that of exp(-IoU^2 / (2 sigma)).
        indices, kept, num_kept = _suppressed(boxes, scores, self.most, 1.0, self.least_score, self.sigma / 2)
        return Kept(tf.gather(distinct, indices, batch_dims=1), kept, num_kept)


class NoSuppression(SuppressionSettings):
    """The best boxes as they are, for networks that give one box an object: peaks of heat maps, sets of queries."""

    kind: Literal["none"] = "none"
    """Nothing is compared."""

    @property
    def num_candidates(self) -> int:
        return self.most

    def keep(self, candidates: Candidates) -> Kept:
        """See the base."""
        found = candidates.scores.shape[1]
        count = tf.reduce_sum(tf.cast(candidates.scores > self.least_score, tf.int32), axis=1)
        indices = tf.minimum(tf.range(self.most), found - 1) + tf.zeros_like(count)[:, tf.newaxis]
        return Kept(indices, tf.gather(candidates.scores, indices, batch_dims=1), count)


AnySuppression = Annotated[ClassWise | ClassAgnostic | Soft | NoSuppression, Field(discriminator="kind")]

SUPPRESSIONS: dict[str, type[SuppressionSettings]] = {
    "class_wise": ClassWise,
    "class_agnostic": ClassAgnostic,
    "soft": Soft,
    "none": NoSuppression,
}


def of_kind(settings: Mapping[str, Any]) -> SuppressionSettings:
    """The settings of a plain dict with `kind`, as a saved layer holds them."""
    return SUPPRESSIONS[settings["kind"]](**settings)


def best_pairs(boxes: Tensor, scores: Tensor, count: int) -> Candidates:
    """The `count` best pairs of a place and a class, or all where there are fewer.

    First the places by their best class, as no other place has one of these pairs: a sort of P in place of P times K.

    Args:
        boxes: float32 [B,P,4].
        scores: float32 [B,P,K].
    """
    places, num_classes = scores.shape[1:]
    num_places = min(count, places)
    best = tf.math.top_k(tf.reduce_max(scores, axis=-1), num_places).indices  # [B,min(count,P)]
    boxes, scores = (tf.gather(tensor, best, batch_dims=1) for tensor in (boxes, scores))
    pairs = num_places * num_classes
    top = tf.math.top_k(tf.reshape(scores, [-1, pairs]), min(count, pairs))
    boxes = tf.gather(boxes, top.indices // num_classes, batch_dims=1)
    return Candidates(boxes, top.indices % num_classes, top.values, num_classes)


def classes_apart(candidates: Candidates) -> Tensor:
    """The boxes [B,C,4] of each class in a place of its own, so that classes do not overlap.

    The classes' places are a square, not a row: float32 is the finer the closer to 0, and with 80 classes a box of a
    fiftieth of the picture keeps its overlaps to a ten-thousandth.
    """
    side = math.ceil(math.sqrt(candidates.num_classes))
    corner = tf.stack([candidates.classes % side, candidates.classes // side], axis=-1)
    corner = tf.cast(corner, tf.float32) * CLASS_SPACING
    return candidates.boxes + tf.concat([corner, corner], axis=-1)


def _there(count: Tensor, most: int) -> Tensor:
    """1 for the first `count` [B] of most, 0 for the others, float32 [B,most]."""
    return tf.cast(tf.range(most) < count[:, tf.newaxis], tf.float32)


def _greedy(boxes: Tensor, meant: Tensor, most: int, iou: float) -> tuple[Tensor, Tensor]:
    """Indices int32 [B,M] and count int32 [B] of the boxes [B,C,4], best first, that overlap no kept one before.

    By ranks in place of scores: which one of equal scores comes first, TensorFlow and TFLite disagree on.
    """
    ranks = tf.range(boxes.shape[1], 0, -1, dtype=tf.float32)
    indices, _, count = _suppressed(boxes, ranks * meant, most, iou, 0.5)
    return indices, count


def _suppressed(
    boxes: Tensor, scores: Tensor, most: int, iou: float, least_score: float, sigma: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Indices int32 [B,M], scores float32 [B,M] and count int32 [B] of what remains of each picture; no two scores
    above the least may be equal."""

    def one(picture: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        chosen = tf.raw_ops.NonMaxSuppressionV5(
            boxes=picture[0], scores=picture[1], max_output_size=most, iou_threshold=min(iou + EQUAL_OVERLAP, 1.0),
            score_threshold=least_score, soft_nms_sigma=sigma, pad_to_max_output_size=True,
        )  # fmt: skip
        return chosen.selected_indices, chosen.selected_scores, chosen.valid_outputs

    if boxes.shape[0] == 1:  # a `.tflite`, which is spared a loop
        indices, kept, count = (tensor[tf.newaxis] for tensor in one((boxes[0], scores[0])))
    else:
        kinds = (tf.TensorSpec([most], tf.int32), tf.TensorSpec([most], tf.float32), tf.TensorSpec([], tf.int32))
        indices, kept, count = tf.map_fn(one, (boxes, scores), fn_output_signature=kinds)
    return tf.ensure_shape(indices, [boxes.shape[0], most]), tf.ensure_shape(kept, [boxes.shape[0], most]), count


def _require_shapes(boxes: Tensor, scores: Tensor) -> None:
    if boxes.shape[-1] != 4 or len(scores.shape) != 3 or boxes.shape[1] != scores.shape[1] or boxes.shape[1] is None:
        raise ValueError(
            f"Boxes of shape {tuple(boxes.shape)} and scores of shape {tuple(scores.shape)} do not belong together. "
            "Give boxes [B,P,4] and scores [B,P,K] with the same number P of places, known when the graph is built."
        )
