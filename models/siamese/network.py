"""The Siamese tracker's network: a backbone that sees template and search region, their correlation channel by channel,
and what each place says of the object: how sure it is there, and where its edges are.

Depthwise cross-correlation: Li et al., "SiamRPN++: Evolution of Siamese visual tracking with very deep networks", 2019,
section 3.3; the middle of the template's features is its section 3.2's. Edges instead of anchors: Chen et al., "Siamese
box adaptive network for visual tracking" (SiamBAN), 2020, section 3.2.

B = batch, S = side of the crops, C = their channels, h = w = S / stride, F = channels, k = template_cells, P = h * w.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from models import boxes
from models.backbones import Backbone
from models.blocks import Style
from models.preprocess import PictureFormat
from models.settings import Settings
from models.stack import keras, tf

Tensor = Any

SCORES, EDGES = "place_scores", "place_edges"
"""Raw outputs: logits [B,h,w,1], and logarithms of distances to the edges in strides [B,h,w,4]."""
TEMPLATE, SEARCH = "template", "search"
"""The parts that a tracker calls; `template` is also the input of the second that the first one gives."""
BOTH, TOGETHER, MIDDLE = "both_pictures", "both_features", "template_features"
"""Layers at which the network is divided."""
MOST_SURE = 8.0
"""Logits stay within this, as of all detectors here."""
NEAREST, FARTHEST = -2.5, 3.0
"""Logarithms of distances: a twelfth of a stride to 20; narrow, so that int8 has steps of 2 %."""
USUAL_SHARE = 0.25
"""Of a search crop's side that an object's has, as trackers cut them."""
STYLE = Style()


class Siamese(Settings):
    """What of the network is not the backbone."""

    stride: int = Field(default=8, ge=1)
    """Pixels between two places of the search region; a level of the backbone."""
    channels: int = Field(default=64, ge=8, multiple_of=8)
    """Channels that are correlated."""
    template_cells: int = Field(default=7, ge=1)
    """Rows and columns of the template's features that are looked for, odd: about twice the object's size at
    `search_windows`' usual context."""
    head_depth: int = Field(default=2, ge=0, le=8)
    """Convolutions of each of the two towers behind the correlation."""

    @field_validator("template_cells")
    @classmethod
    def _odd(cls, cells: int) -> int:
        if cells % 2 == 0:
            raise ValueError(f"expected an odd number, so that there is one in the middle, got {cells}")
        return cells

    def cells(self, side: int) -> int:
        """h for crops of this side.

        Raises:
            ValueError: it is not odd (the object's middle would lie between two places), or has no room for the
                template.
        """
        cells, rest = divmod(side, self.stride)
        if rest or cells % 2 == 0 or cells < self.template_cells:
            least = max(self.template_cells, cells // 2 * 2 - 1)
            raise ValueError(
                f"crops of {side} pixels have {side / self.stride:g} places of stride {self.stride} a row; expected an "
                f"odd number from {self.template_cells} on, such as {least} or {least + 2}: sides of "
                f"{least * self.stride} or {(least + 2) * self.stride} pixels"
            )
        return cells

    def middles(self, side: int) -> np.ndarray:
        """float32 [P,2]: x, y of each place as shares of the search crop."""
        cells = self.cells(side)
        y, x = np.mgrid[:cells, :cells].astype(np.float32)
        return (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells

    def boxes(self, side: int, edges: Tensor) -> Tensor:
        """Raw edges [B,h,w,4] -> boxes float32 [B,P,4], shares of the search crop; they may leave it."""
        cells = self.cells(side)
        distances = tf.exp(tf.reshape(tf.cast(edges, tf.float32), [-1, cells * cells, 4])) / cells
        return boxes.from_distances(tf.constant(self.middles(side)), distances)

    def scores(self, side: int, logits: Tensor) -> Tensor:
        """Logits [B,h,w,1] -> float32 [B,P], 0..1."""
        return tf.sigmoid(tf.reshape(tf.cast(logits, tf.float32), [-1, self.cells(side) ** 2]))

    def pair_network(self, picture: PictureFormat, backbone: Backbone) -> keras.Model:
        """`image` uint8 [B,2S,S,C], the search crop above the template crop -> `place_scores` and `place_edges`.

        Raises:
            ValueError: the backbone has no level of this stride, or the crops do not suit.
        """
        from models import heads, necks
        from models.siamese.layers import Stacked, Unstacked

        cells = self.cells(picture.width)
        image, pixels = heads.picture_input(picture)
        levels = backbone.features(Unstacked(name=BOTH)(pixels))
        features = necks.levels_for(levels, (self.stride,))[f"stride_{self.stride}"]
        both = Stacked(name=TOGETHER)(features)
        search = keras.layers.Cropping2D(((0, cells), (0, 0)), name="search_features")(both)
        margin = (cells - self.template_cells) // 2
        middle = ((cells + margin, margin), (margin, margin))
        template = keras.layers.Cropping2D(middle, name=MIDDLE)(both)
        # Sums over the template then begin with the variance of what is summed up.
        template = self._adjusted(template, TEMPLATE, gain=1.0 / self.template_cells)
        return keras.Model(image, self._head(self._adjusted(search, SEARCH), template), name=backbone.kind)

    def _adjusted(self, x: Tensor, name: str, gain: float = 1.0) -> Tensor:
        x = STYLE.convolution(x, self.channels, f"{name}_adjusted_conv", kernel_size=1)
        start = keras.initializers.Constant(gain)
        return keras.layers.BatchNormalization(
            momentum=STYLE.momentum, epsilon=STYLE.epsilon, gamma_initializer=start, name=f"{name}_adjusted_bn"
        )(x)

    def _head(self, search: Tensor, template: Tensor) -> dict[str, Tensor]:
        from models.detectors.base import tower

        x = STYLE.bn(correlated(search, template), "correlation_bn")
        x = keras.layers.Concatenate(name="correlation_and_search")([x, search])
        scores = tower(x, self.channels, self.head_depth, "score_tower")
        edges = tower(x, self.channels, self.head_depth, "edge_tower")
        return {
            SCORES: _numbers(scores, 1, SCORES, -MOST_SURE, MOST_SURE),
            EDGES: _numbers(edges, 4, EDGES, NEAREST, FARTHEST, math.log(search.shape[1] * USUAL_SHARE / 2)),
        }


def correlated(search: Tensor, template: Tensor) -> Tensor:
    """Depthwise cross-correlation: each channel of the search region with the same channel of the template.

    As a matrix product a channel, of operators that TFLite has in int8 too (it has no convolution with a kernel that is
    computed), whose sums are exact.

    Args:
        search: [B,h,w,F].
        template: [B,k,k,F].

    Returns:
        [B,h,w,F], the sum over the template's positions; zeros stand beyond the edges.
    """
    from models.layers import MatrixProduct
    from models.siamese.layers import Surroundings

    _, height, width, channels = search.shape
    size = template.shape[1]
    x = keras.layers.Permute((3, 1, 2), name="channels_first")(search)
    x = Surroundings(size, name="surroundings")(x)  # [B,F,kk,hw]
    kernels = keras.layers.Reshape((1, size**2, channels), name="template_row")(template)
    kernels = keras.layers.Permute((3, 1, 2), name="template_kernels")(kernels)  # [B,F,1,kk]
    x = MatrixProduct(name="correlation")([kernels, x])  # [B,F,1,hw]
    x = keras.layers.Permute((2, 3, 1), name="channels_last")(x)
    return keras.layers.Reshape((height, width, channels), name="correlation_map")(x)


def _numbers(x: Tensor, count: int, name: str, low: float, high: float, start: float = 0.0) -> Tensor:
    """The raw numbers of each place, float32 also under mixed precision; a new network says `start`."""
    from models.layers import Clip

    bias = keras.initializers.Constant(start)
    layer = keras.layers.Conv2D(count, 3, padding="same", dtype="float32", bias_initializer=bias, name=f"{name}_conv")
    return Clip(low, high, dtype="float32", name=name)(layer(x))


def parts(model: keras.Model) -> dict[str, keras.Model]:
    """A pair network divided, layers and weights shared, into what a tracker calls.

    Args:
        model: as `Siamese.pair_network` makes it, or that `graphs.with_float_input`.

    Returns:
        `template`: `image` [B,S,S,C] -> `template` float32 [B,k,k,F]; `search`: `image` [B,S,S,C] and `template` -> the
        raw outputs. Pictures are of the pair network's type.
    """
    from models.rewire import nodes_behind

    nodes = nodes_behind(model.outputs)
    adjusted = {name: nodes[f"{name}_adjusted_bn"].outputs for name in (SEARCH, TEMPLATE)}
    raw = dict(zip(model.output_names, model.outputs, strict=True))
    template = keras.Input(adjusted[TEMPLATE].shape[1:], name=TEMPLATE)
    template_image, seen = _seen(nodes)
    made = keras.layers.Activation("linear", name=TEMPLATE)(_adjusted_as(nodes, TEMPLATE, _middle(nodes, seen)))
    image, seen = _seen(nodes)
    # `call`, not `__call__`: it runs layer by layer, so that the result is flat.
    found = keras.Model([adjusted[SEARCH], adjusted[TEMPLATE]], raw).call([_adjusted_as(nodes, SEARCH, seen), template])
    return {
        TEMPLATE: keras.Model(template_image, {TEMPLATE: made}, name=TEMPLATE),
        SEARCH: keras.Model([image, template], found, name=SEARCH),
    }


def weighted_by_middle(template: Tensor) -> Tensor:
    """A template's features [B,k,k,F] as one vector [B,k*k*F], whose scalar products are correlations in which the
    middle, where the object is, counts most (Epanechnikov's kernel) and the corners, where its surroundings are, least.

    Place by place, as they are correlated: their mean tells objects apart hardly at all, since nothing trains it to.
    """
    across = 2 * (np.arange(template.shape[1]) + 0.5) / template.shape[1] - 1
    kernel = np.maximum(1.0 - across[:, None] ** 2 - across[None, :] ** 2, 0.0)
    weights = tf.constant(np.sqrt(kernel / kernel.sum())[:, :, None], tf.float32)
    return tf.reshape(tf.cast(template, tf.float32) * weights, [-1, int(np.prod(template.shape[1:]))])


def _seen(nodes: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """A crop of its own, [B,S,S,C], and its features [B,h,w,F]."""
    from models import heads
    from models.layers import ToFloat

    both = nodes[BOTH]
    bytes_come = heads.TO_FLOAT in nodes
    image = keras.Input(both.outputs.shape[1:], dtype="uint8" if bytes_come else "float32", name=heads.IMAGE)
    pixels = ToFloat(name=heads.TO_FLOAT)(image) if bytes_come else image
    return image, keras.Model(both.outputs, nodes[TOGETHER].keras_inputs[0]).call(pixels)


def _middle(nodes: Mapping[str, Any], features: Tensor) -> Tensor:
    """The features of a template's middle, [B,h,w,F] -> [B,k,k,F]."""
    (_, margin), columns = nodes[MIDDLE].layer.cropping
    return keras.layers.Cropping2D(((margin, margin), columns), name=MIDDLE)(features)


def _adjusted_as(nodes: Mapping[str, Any], name: str, features: Tensor) -> Tensor:
    for layer in (f"{name}_adjusted_conv", f"{name}_adjusted_bn"):
        features = nodes[layer].layer(features)
    return features
