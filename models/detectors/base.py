"""What all detectors share: a head on feature levels, numbers that become boxes and scores, and what they cost.

A detector is settings: its network is built, decoded and taught through the methods below, and the task around it
knows no architecture. `OneStage` is for those whose places answer at once.

B = batch, P = places, A = answers of a cell, C, R = class and box numbers of a place, K = classes, N = objects.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from models.detectors.anchors import AnyAnchors, RegularAnchors
from models.detectors.layout import BOXES, CLASSES, Layout
from models.detectors.truth import Truth
from models.settings import Settings
from models.stack import keras, tf

Tensor = Any

LIMIT = 8.0
"""Raw numbers stay within this: a sigmoid has nothing to say beyond, and int8 has the narrower steps."""
STEPS = 4
"""Numbers of a box that is told as steps from another: a step and a logarithm for each axis."""
RARE = 0.01
"""What a new network takes for the probability of an object at a place (Lin et al. 2017, section 4.1)."""


@dataclass(frozen=True)
class Counting:
    """How much an error counts.

    Args:
        objects: a training picture's mean number of objects, by which sums over a picture are divided. A constant, so
            that one picture's loss does not depend on the others of its batch, nor on the number of replicas.
        class_weights: [K], of objects of each class; empty for 1 each.
    """

    objects: float
    class_weights: tuple[float, ...] = ()

    def of(self, classes: Tensor) -> Tensor:
        """The weight of objects of these classes, int32 [...] -> float32 [...]."""
        if not self.class_weights:
            return tf.ones(tf.shape(classes), tf.float32)
        return tf.gather(tf.constant(self.class_weights, tf.float32), classes)


@dataclass(frozen=True)
class Raw:
    """What a network says, its levels joined: `classes` float32 [B, P, C], `boxes` float32 [B, P, R]."""

    classes: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class FromAnchors:
    """Boxes as SSD's runtimes read them: y, x = step / scale * side + middle of the anchor, h, w = exp(step / scale)
    times its side.

    Args:
        anchors: float32 [P, 4], x and y of the middle, width, height, as shares of the picture.
        middle_scale, size_scale: by which steps are divided.
        steps: raw numbers -> float32 [B, P, 4] of y, x, height, width.
        scores: raw numbers -> float32 [B, P, K], 0..1.
    """

    anchors: np.ndarray
    middle_scale: float
    size_scale: float
    steps: Callable[[Raw], Tensor]
    scores: Callable[[Raw], Tensor]


class Detector(Settings):
    """The base of the architectures."""

    any_size: ClassVar[bool] = True
    """Whether its network takes pictures of any size while it is trained."""
    by_place: ClassVar[bool] = True
    """Whether the answers belong to places that are the same in every picture."""

    @abstractmethod
    def answers(self, levels: int) -> int:
        """A; ValueError where so many levels do not suit the settings."""

    @abstractmethod
    def network(self, layout: Layout, levels: Mapping[int, Tensor], num_classes: int) -> dict[str, Tensor]:
        """Extends a graph: stride -> features [B, h, w, F] to raw outputs by name, each of a layer of that name."""

    @abstractmethod
    def told(self, layout: Layout, outputs: Mapping[str, Tensor]) -> Tensor:
        """What `costs` is told of a network's outputs, as one tensor, float32 [B, ...]."""

    @abstractmethod
    def costs(self, layout: Layout, truth: Truth, told: Tensor, num_classes: int, counting: Counting) -> Tensor:
        """One value per picture, float32 [B]."""

    @abstractmethod
    def found(self, layout: Layout, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """A network's outputs decoded: boxes float32 [B, P, 4], in pixels, which may leave the picture, and scores
        float32 [B, P, K], 0..1."""

    @abstractmethod
    def divergence(
        self, layout: Layout, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], temperature: float
    ) -> Tensor:
        """How far a network's outputs are from those of another of the same layout, summed over the picture, float32
        [B]; 0 where they agree. See `models.detectors.distillation`."""

    def anchored(self, layout: Layout) -> FromAnchors:
        """How its boxes are written down as steps from anchors, for runtimes that decode them themselves.

        Raises:
            ValueError: they are not.
        """
        raise ValueError(f"boxes of {type(self).__name__} are not steps from anchors")


class OneStage(Detector):
    """Detectors whose every place says a class and a box, and nothing else."""

    @abstractmethod
    def class_numbers(self, num_classes: int) -> int:
        """C."""

    @abstractmethod
    def box_numbers(self) -> int:
        """R."""

    @abstractmethod
    def head(self, levels: Mapping[int, Tensor], num_classes: int) -> dict[str, Tensor]:
        """Stride -> features [B, h, w, F] to `classes_S` [B, h, w, A*C] and `boxes_S` [B, h, w, A*R], named layers."""

    @abstractmethod
    def scores(self, raw: Raw) -> Tensor:
        """float32 [B, P, K], 0..1."""

    @abstractmethod
    def boxes(self, layout: Layout, raw: Raw) -> Tensor:
        """float32 [B, P, 4], in pixels; they may leave the picture."""

    @abstractmethod
    def costs_of(self, layout: Layout, truth: Truth, raw: Raw, counting: Counting) -> Tensor:
        """One value per picture, float32 [B]."""

    def network(self, layout: Layout, levels: Mapping[int, Tensor], num_classes: int) -> dict[str, Tensor]:
        """See the base."""
        return self.head(levels, num_classes)

    def told(self, layout: Layout, outputs: Mapping[str, Tensor]) -> Tensor:
        """All numbers of each place, float32 [B, P, C + R]."""
        raw = joined(layout, outputs)
        return tf.concat([raw.classes, raw.boxes], axis=-1)

    def costs(self, layout: Layout, truth: Truth, told: Tensor, num_classes: int, counting: Counting) -> Tensor:
        """See the base."""
        classes, boxes = tf.split(told, [self.class_numbers(num_classes), self.box_numbers()], axis=-1)
        return self.costs_of(layout, truth, Raw(classes, boxes), counting)

    def found(self, layout: Layout, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See the base."""
        raw = joined(layout, outputs)
        return self.boxes(layout, raw), self.scores(raw)

    def divergence(
        self, layout: Layout, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], temperature: float
    ) -> Tensor:
        """See the base; place by place."""
        from models.detectors import distillation

        ours, theirs = joined(layout, student), joined(layout, teacher)
        certainty = tf.reduce_max(self.scores(theirs), axis=-1)
        return distillation.divergence(ours, theirs, certainty, temperature)


class Anchored(Detector):
    """What detectors that begin with anchors share."""

    anchors: AnyAnchors = RegularAnchors()
    """The boxes that each cell begins with; `convoy anchors` fits them to the training data."""
    middle_scale: float = Field(default=0.1, gt=0.0)
    """What the steps of middles are divided by, in anchor sides."""
    size_scale: float = Field(default=0.2, gt=0.0)
    """What the logarithms of sizes are divided by."""

    @property
    def scales(self) -> tuple[float, float]:
        """Of middles and of sizes."""
        return self.middle_scale, self.size_scale

    def answers(self, levels: int) -> int:
        """See the base."""
        return self.anchors.answers(levels)


class AnchoredOneStage(Anchored, OneStage):
    """Those whose anchors say a class at once."""

    def box_numbers(self) -> int:
        """A step and a logarithm for each axis."""
        return STEPS

    def boxes(self, layout: Layout, raw: Raw) -> Tensor:
        """See the base."""
        from models.boxes import from_steps

        return from_steps(tf.convert_to_tensor(self.anchors.boxes(layout)), raw.boxes, self.scales)

    def anchored(self, layout: Layout) -> FromAnchors:
        """See the base."""
        corners = self.anchors.boxes(layout) / layout.scale()
        low, high = corners[:, :2], corners[:, 2:]
        anchors = np.concatenate([0.5 * (low + high), high - low], axis=1)
        return FromAnchors(anchors, 1.0 / self.middle_scale, 1.0 / self.size_scale, self._steps, self.scores)

    def _steps(self, raw: Raw) -> Tensor:
        """The raw numbers are x, y, width, height; sizes are limited as in `models.boxes.from_steps`."""
        from models.boxes import LARGEST_STEP

        x, y, width, height = tf.split(raw.boxes, 4, axis=-1)
        largest = LARGEST_STEP / self.size_scale
        return tf.concat([y, x, tf.minimum(height, largest), tf.minimum(width, largest)], axis=-1)


def tower(x: Tensor, width: int, depth: int, name: str, kernel_size: int = 3) -> Tensor:
    """`depth` convolutions with BatchNormalization and ReLU, which int8 carries exactly: as many positions, `width`
    channels."""
    from models.blocks import Style

    style = Style()
    for number in range(depth):
        x = style.bn(style.convolution(x, width, f"{name}_{number + 1}_conv", kernel_size), f"{name}_{number + 1}_bn")
        x = keras.layers.ReLU(name=f"{name}_{number + 1}_relu")(x)
    return x


def numbers(x: Tensor, count: int, name: str, bias: float = 0.0, kernel_size: int = 3) -> Tensor:
    """The raw numbers of each cell [B, h, w, F] -> [B, h, w, count]: within the limits, float32 also under mixed
    precision."""
    from models.layers import Clip

    layer = keras.layers.Conv2D(
        count,
        kernel_size,
        padding="same",
        dtype="float32",
        kernel_initializer="glorot_uniform",
        bias_initializer=keras.initializers.Constant(bias),
        name=f"{name}_conv",
    )
    return Clip(-LIMIT, LIMIT, dtype="float32", name=name)(layer(x))


def rare(probability: float = RARE) -> float:
    """The logit of a probability."""
    return math.log(probability / (1.0 - probability))


def joined(layout: Layout, raw: Mapping[str, Tensor]) -> Raw:
    """A network's outputs by name, as one."""
    return Raw(layout.joined(raw, CLASSES), layout.joined(raw, BOXES))


def focal(expected: Tensor, logits: Tensor, gamma: float, alpha: float) -> Tensor:
    """Cross-entropy of two outcomes, less where the answer is right already (Lin et al. 2017, section 3).

    Args:
        expected: 0..1, float32 [...], as the logits.
        alpha: what presence counts, and 1 - alpha absence.
    """
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(expected, logits)
    probability = tf.sigmoid(logits)
    wrong = expected * (1.0 - probability) + (1.0 - expected) * probability
    side = expected * alpha + (1.0 - expected) * (1.0 - alpha)
    return side * tf.pow(wrong, gamma) * cross_entropy
