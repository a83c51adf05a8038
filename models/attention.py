"""Attention: features weighted by what they themselves say; a setting of every backbone.

`refine` puts a block behind each feature level of a network and lets the rest of the graph go on from it, as published
for networks that are taken as they are; `small_resnet` has it inside each residual block, before the addition, as in
the papers. All consist of named Keras layers that int8 TFLite files have builtin operators for, and their names begin
with `attention_`. Gates start nearly open, so that features of pretrained networks arrive as they were learned.

B = batch, h, w = positions, F = features.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from models.settings import Settings
from models.stack import keras

Tensor = Any

PREFIX = "attention_"
"""How the names of all layers of attention begin."""
OPEN = 3.0
"""What the bias of a gate starts at: the features are multiplied by sigmoid(3) = 0.95."""
GATE_DEVIATION = 0.01
"""Standard deviation of a gate's first weights; with it, the bias decides."""
HE = "he_normal"


class AttentionSettings(Settings):
    """What all kinds of attention share."""

    last_level_only: ClassVar[bool] = False
    """Whether it is put on the coarsest level alone, never inside blocks."""

    @abstractmethod
    def attend(self, features: Tensor, name: str) -> Tensor:
        """[B, h, w, F] -> the same shape; the layers' names begin with `name`, which begins with `attention_`."""

    def inside(self, features: Tensor, block: str) -> Tensor:
        """[B, h, w, F], the residual branch of a block before the addition -> the same shape.

        Args:
            block: the block's name.
        """
        return features if self.last_level_only else self.attend(features, f"{PREFIX}{block}")

    def refine(self, image: Tensor, levels: Mapping[str, Tensor], *, has_blocks: bool = False) -> dict[str, Tensor]:
        """The levels of a network with attention behind each of them, every coarser one resting on the finer ones'.

        Args:
            image: where the network begins.
            levels: feature level -> [B, h, w, F], finest first.
            has_blocks: the network has attention inside its blocks already, as far as `inside` puts it there.

        Returns:
            Feature level -> [B, h, w, F], of a graph of its own with the same layer names and weights.
        """
        from models import rewire

        if has_blocks and not self.last_level_only:
            return dict(levels)
        chosen = list(levels.items())[-1:] if self.last_level_only else levels.items()
        names = {_layer_name(features): level for level, features in chosen}

        def replace(call: rewire.Call) -> Any:
            features = rewire.copy(call)
            level = names.get(call.layer.name)
            return features if level is None else self.attend(features, f"{PREFIX}{level}")

        new = rewire.rewire(list(levels.values()), {image.ref(): image}, replace)
        return dict(zip(levels, new, strict=True))


class SqueezeExcite(AttentionSettings):
    """Squeeze-and-excitation (Hu et al. 2018, section 3): each channel weighted by a small network of all means."""

    kind: Literal["squeeze_excite"] = "squeeze_excite"
    """Channels weighted by what the whole picture shows."""
    reduction: int = Field(default=16, ge=1)
    """How many times narrower the middle of the small network is than the features; it has 4 channels at least."""

    def attend(self, features: Tensor, name: str) -> Tensor:
        """See the base."""
        channels = features.shape[-1]
        means = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(features)
        gate = _bottleneck(means, channels, self.reduction, name)
        return _weighted(features, gate, name)


class ECA(AttentionSettings):
    """Efficient channel attention (Wang et al. 2020, section 3): each channel weighted by its neighbours' means.

    A handful of weights for a whole level. How many neighbours, follows from the number of channels by the paper's
    equation 12: the odd number next to (log2 F + 1) / 2. The gate has a bias, other than in the paper, to start open.
    """

    kind: Literal["eca"] = "eca"
    """Channels weighted by few weights."""

    def attend(self, features: Tensor, name: str) -> Tensor:
        """See the base."""
        channels = features.shape[-1]
        means = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(features)
        row = keras.layers.Reshape((1, channels, 1), name=f"{name}_row")(means)  # channels as positions
        gate = _gate(row, 1, name, kernel_size=(1, eca_kernel_size(channels)))
        gate = keras.layers.Reshape((1, 1, channels), name=f"{name}_channels")(gate)
        return _weighted(features, gate, name)


class CBAM(AttentionSettings):
    """Convolutional block attention module (Woo et al. 2018, section 3): channels weighted first, then positions."""

    kind: Literal["cbam"] = "cbam"
    """Channels, then positions weighted by means and maxima."""
    reduction: int = Field(default=16, ge=1)
    """How many times narrower the middle of the channels' network is than the features; it has 4 at least."""
    kernel_size: Literal[3, 5, 7] = 7
    """Side of the convolution that weights positions, in positions."""

    def attend(self, features: Tensor, name: str) -> Tensor:
        """See the base."""
        features = self._channels(features, f"{name}_channel")
        return self._positions(features, f"{name}_spatial")

    def _channels(self, features: Tensor, name: str) -> Tensor:
        """The paper's sigmoid(MLP(means) + MLP(maxima)): as two positions of one picture both pass the same network,
        and their mean, in place of the sum, is a matter of the network's last weights."""
        from models import layers

        mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_average")(features)
        greatest = keras.layers.GlobalMaxPooling2D(keepdims=True, name=f"{name}_max")(features)
        both = keras.layers.Concatenate(axis=1, name=f"{name}_both")([mean, greatest])  # [B, 2, 1, F]
        hidden = _narrowed(both, features.shape[-1], self.reduction, name)
        hidden = layers.AxisMean(1, name=f"{name}_joined")(hidden)
        return _weighted(features, _gate(hidden, features.shape[-1], name), name)

    def _positions(self, features: Tensor, name: str) -> Tensor:
        from models import layers

        mean = layers.AxisMean(-1, name=f"{name}_average")(features)
        greatest = layers.AxisMaximum(-1, name=f"{name}_max")(features)
        both = keras.layers.Concatenate(name=f"{name}_both")([mean, greatest])  # [B, h, w, 2]
        return _weighted(features, _gate(both, 1, name, kernel_size=self.kernel_size), name)


class Coordinate(AttentionSettings):
    """Coordinate attention (Hou et al. 2021, section 3.2): each channel weighted by row and by column.

    The picture's size is part of the graph, as everywhere in Convoy.
    """

    kind: Literal["coordinate"] = "coordinate"
    """Channels weighted by row and by column, so that it matters where something is."""
    reduction: int = Field(default=32, ge=1)
    """How many times narrower the middle of the small network is than the features; it has 8 channels at least."""

    def attend(self, features: Tensor, name: str) -> Tensor:
        """See the base."""
        from models import layers

        height, width, channels = features.shape[1:]
        middle = max(8, channels // self.reduction)
        rows = layers.AxisMean(2, name=f"{name}_row_means")(features)  # [B, h, 1, F]
        columns = layers.AxisMean(1, name=f"{name}_column_means")(features)  # [B, 1, w, F]
        columns = keras.layers.Reshape((width, 1, channels), name=f"{name}_column_means_upright")(columns)
        both = keras.layers.Concatenate(axis=1, name=f"{name}_both")([rows, columns])  # [B, h + w, 1, F]
        both = _normalised(both, middle, f"{name}_reduce")
        both = keras.layers.ReLU(name=f"{name}_relu")(both)
        rows = keras.layers.Cropping2D(((0, width), (0, 0)), name=f"{name}_rows")(both)
        columns = keras.layers.Cropping2D(((height, 0), (0, 0)), name=f"{name}_columns")(both)
        columns = keras.layers.Reshape((1, width, middle), name=f"{name}_columns_across")(columns)
        features = _weighted(features, _gate(rows, channels, f"{name}_row"), f"{name}_row")
        return _weighted(features, _gate(columns, channels, f"{name}_column"), f"{name}_column")


class SelfAttention(AttentionSettings):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2) on the coarsest level, added to it.

    Only there is it cheap: its cost grows with the square of the positions. As a block behind a convolutional network
    after Srinivas et al. 2021 ("Bottleneck Transformers"); with BatchNormalization in place of LayerNormalization,
    behind each 1x1 convolution, where it costs nothing once exported and quantizes (Graham et al. 2021, "LeViT",
    section 4). Positions are known from the convolutions before.
    """

    last_level_only: ClassVar[bool] = True

    kind: Literal["self_attention"] = "self_attention"
    """Every position of the last level looks at every other."""
    heads: int = Field(default=4, ge=1)
    """How many weightings of the positions there are side by side."""
    head_width: int = Field(default=32, ge=1)
    """Channels of each."""

    def attend(self, features: Tensor, name: str) -> Tensor:
        """See the base."""
        from models import layers

        height, width, channels = features.shape[1:]
        # The scores' division by sqrt(head_width) is where the queries' scale starts: no operator of its own.
        query = self._projected(features, f"{name}_query", scale=1.0 / math.sqrt(self.head_width))
        key, value = (self._projected(features, f"{name}_{part}") for part in ("key", "value"))
        scores = layers.MatrixProduct(transpose=True, name=f"{name}_scores")([query, key])  # [B, heads, hw, hw]
        weights = keras.layers.Softmax(name=f"{name}_weights")(scores)
        seen = layers.MatrixProduct(name=f"{name}_seen")([weights, value])  # [B, heads, hw, head_width]
        seen = keras.layers.Permute((2, 1, 3), name=f"{name}_by_position")(seen)
        seen = keras.layers.Reshape((height, width, self.heads * self.head_width), name=f"{name}_joined")(seen)
        # A small scale to begin with: features of a pretrained network arrive nearly as they were learned.
        seen = _normalised(seen, channels, f"{name}_output", scale=0.1)
        return keras.layers.Add(name=f"{name}_add")([features, seen])

    def _projected(self, features: Tensor, name: str, scale: float = 1.0) -> Tensor:
        """[B, h, w, F] -> [B, heads, hw, head_width]."""
        height, width = features.shape[1:3]
        projected = _normalised(features, self.heads * self.head_width, name, scale)
        split = keras.layers.Reshape((height * width, self.heads, self.head_width), name=f"{name}_split")(projected)
        return keras.layers.Permute((2, 1, 3), name=f"{name}_heads")(split)


Attention = Annotated[SqueezeExcite | CBAM | ECA | Coordinate | SelfAttention, Field(discriminator="kind")]

ATTENTIONS: dict[str, type[AttentionSettings]] = {
    "squeeze_excite": SqueezeExcite,
    "cbam": CBAM,
    "eca": ECA,
    "coordinate": Coordinate,
    "self_attention": SelfAttention,
}


def eca_kernel_size(channels: int) -> int:
    """How many channels ECA weights one by: the odd number next to (log2 channels + 1) / 2, as the authors' code
    rounds it."""
    size = int(abs((math.log2(channels) + 1) / 2))
    return size if size % 2 else size + 1


def _bottleneck(pooled: Tensor, channels: int, reduction: int, name: str) -> Tensor:
    return _gate(_narrowed(pooled, channels, reduction, name), channels, name)


def _narrowed(pooled: Tensor, channels: int, reduction: int, name: str) -> Tensor:
    """The first half of a small network of channels; 1x1 convolutions quantize by channel, as those of the trunk."""
    middle = max(4, channels // reduction)
    hidden = keras.layers.Conv2D(middle, 1, kernel_initializer=HE, name=f"{name}_reduce")(pooled)
    return keras.layers.ReLU(name=f"{name}_relu")(hidden)


def _gate(x: Tensor, width: int, name: str, kernel_size: int | tuple[int, int] = 1) -> Tensor:
    """Factors 0..1 of `width` channels, near 1 to begin with."""
    gate = keras.layers.Conv2D(
        width,
        kernel_size,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=GATE_DEVIATION),
        bias_initializer=keras.initializers.Constant(OPEN),
        name=f"{name}_excite",
    )
    return keras.layers.Activation("sigmoid", name=f"{name}_gate")(gate(x))


def _weighted(features: Tensor, gate: Tensor, name: str) -> Tensor:
    return keras.layers.Multiply(name=f"{name}_weighted")([features, gate])


def _normalised(x: Tensor, width: int, name: str, scale: float = 1.0) -> Tensor:
    """A 1x1 convolution and its BatchNormalization, whose scale starts at `scale`."""
    convolution = keras.layers.Conv2D(width, 1, use_bias=False, kernel_initializer=HE, name=f"{name}_conv")
    start = keras.initializers.Constant(scale)
    return keras.layers.BatchNormalization(momentum=0.9, gamma_initializer=start, name=f"{name}_bn")(convolution(x))


def _layer_name(tensor: Tensor) -> str:
    return str(tensor.node.layer.name)
