"""What is in float between the two stages of a detector. Importing this module makes models that hold it loadable.

B = batch, Q = proposals, S = bins of a region's side, h, w = positions of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from models.boxes import area, from_steps
from models.detectors.base import LIMIT, Raw, joined
from models.detectors.faster_rcnn import FasterRCNN
from models.detectors.layout import Layout
from models.layers import InFloat
from models.stack import keras, tf

SAMPLES = 2
"""Points of a bin along each axis, whose mean it is: four in all, as in the paper (He et al. 2017, section 3)."""


@keras.saving.register_keras_serializable(package="convoy")
class Propose(InFloat):
    """The best boxes of a proposal network, without those that overlap better ones (Ren et al. 2015, section 3.3).

    They are places to look at, not something to learn: nothing is learned through them.

    Args:
        detector: the settings, or their fields as a dict.
        layout: the places of the proposal network, or its fields as a dict.

    Input shape: the maps of `layout.outputs()`, in that order. Output shape: float32 [B, Q, 4], shares of the picture,
    0..1, the best first; zeros where there are no more.
    """

    def __init__(self, detector: FasterRCNN | dict[str, Any], layout: Layout | dict[str, Any], **kwargs: Any):
        super().__init__(**kwargs)
        self.detector = detector if isinstance(detector, FasterRCNN) else FasterRCNN.model_validate(detector)
        self.layout = layout if isinstance(layout, Layout) else Layout(**{**layout, "strides": (*layout["strides"],)})

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        maps = dict(zip(self.layout.outputs(), map(tf.stop_gradient, inputs), strict=True))
        anchors = self.layout.shared_out(self.detector.anchors.boxes(self.layout))
        # Each level by itself as far as floats: an int8 file would bring the levels to one scale to join them.
        levels = zip(self.layout.levels(), anchors, strict=True)
        decoded = [self._decoded(joined(level, maps), tf.constant(begun)) for level, begun in levels]
        boxes, chances = (tf.concat(parts, axis=1) for parts in zip(*decoded, strict=True))
        return self.detector.suppression.chosen(boxes, chances)["boxes"]

    def _decoded(self, raw: Raw, anchors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Boxes as shares of the picture, and what to choose them by: any rising function serves, but for a sigmoid,
        whose levels are fixed in int8, so that it would be used."""
        boxes = from_steps(anchors, raw.boxes, self.detector.scales) / self.layout.scale()
        return tf.clip_by_value(boxes, 0.0, 1.0), 0.5 + raw.classes / (4.0 * LIMIT)

    def get_config(self) -> dict[str, Any]:
        own = {"detector": self.detector.model_dump(mode="json"), "layout": asdict(self.layout)}
        return {**super().get_config(), **own}


class CellWeights(InFloat):
    """How much each position of a map, along one axis, counts for each bin of a region: linear interpolation between
    the two nearest, at the points of the bin; positions are the middles of cells, and what lies beyond the outermost is
    taken from these. Products of these matrices and a map are RoIAlign (He et al. 2017, "Mask R-CNN", section 3).

    Args:
        bins: S.
        cells: h or w.
        step: the map's cell as a share of the picture along that axis.
    """

    axis: int
    """0 for x, 1 for y."""

    def __init__(self, bins: int, cells: int, step: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.bins, self.cells, self.step = bins, cells, step

    def weights_of(self, proposals: tf.Tensor) -> tf.Tensor:
        """float32 [B, Q, 4] -> [B, Q, S, h or w]."""
        low, high = (proposals[..., place : place + 1] for place in (self.axis, self.axis + 2))
        points = self.bins * SAMPLES
        shares = (tf.range(points, dtype=tf.float32) + 0.5) / points
        places = (low + (high - low) * shares) / self.step - 0.5  # [B, Q, points], in cells
        places = tf.clip_by_value(places, 0.0, self.cells - 1.0)[..., tf.newaxis]
        hats = tf.nn.relu(1.0 - tf.abs(places - tf.range(self.cells, dtype=tf.float32)))
        count = proposals.shape[1]
        bins = tf.reduce_mean(tf.reshape(hats, [-1, count * self.bins, SAMPLES, self.cells]), axis=2)
        return tf.reshape(bins, [-1, count, self.bins, self.cells])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bins": self.bins, "cells": self.cells, "step": self.step}


@keras.saving.register_keras_serializable(package="convoy")
class RowWeights(CellWeights):
    """Of rows; all 0 for regions that are taken from another level.

    Args:
        sides: from which mean side of a region on this level gives it, and from which on no more, in pixels.
        picture: height and width in pixels.

    Output shape: float32 [B, Q*S, h].
    """

    axis = 1

    def __init__(self, *, sides: Sequence[float], picture: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.sides, self.picture = tuple(sides), tuple(picture)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        side = tf.sqrt(area(inputs) * float(self.picture[0] * self.picture[1]))
        own = tf.cast((side >= self.sides[0]) & (side < self.sides[1]), tf.float32)
        weights = self.weights_of(inputs) * own[..., tf.newaxis, tf.newaxis]
        return tf.reshape(weights, [-1, inputs.shape[1] * self.bins, self.cells])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sides": list(self.sides), "picture": list(self.picture)}


@keras.saving.register_keras_serializable(package="convoy")
class ColumnWeights(CellWeights):
    """Of columns, once for each row of bins. Output shape: float32 [B, Q*S, S, w]."""

    axis = 0

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        weights = self.weights_of(inputs)[:, :, tf.newaxis]
        repeated = tf.tile(weights, [1, 1, self.bins, 1, 1])
        return tf.reshape(repeated, [-1, inputs.shape[1] * self.bins, self.bins, self.cells])
