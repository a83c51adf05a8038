"""Necks: what mixes a backbone's feature levels, so that the fine ones know what the coarse ones have seen.

`AnyNeck` is the choice in a configuration, `NECKS` the class of each kind. Levels are named by their stride and stand
the finest first, as in `models.backbones`: `stride_8` is [B, H/8, W/8, F], rounded up. All consist of named layers that
int8 TFLite files have builtin operators for.

B = batch, H, W = picture, h, w = positions, F = features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from models.blocks import Style
from models.settings import Settings
from models.stack import keras

Tensor = Any
Levels = Mapping[str, Tensor]

STYLE = Style()
EXTRA_CHANNELS = 128
"""Channels of the levels that are added behind a backbone."""
PREFIX = "stride_"
"""How the names of levels begin."""


def levels_for(levels: Levels, strides: Sequence[int], channels: int = EXTRA_CHANNELS) -> dict[str, Tensor]:
    """The levels of these strides: those of the backbone, and beyond its coarsest ones 3x3 convolutions of stride 2,
    each on the one before, as of RetinaNet (Lin et al. 2017, "Focal Loss for Dense Object Detection", section 4) and
    SSD (Liu et al. 2016, section 2.1).

    Args:
        levels: of a backbone.
        strides: pixels of the picture between two positions, powers of two, rising.
        channels: of each level that is added.

    Raises:
        ValueError: a stride that is neither the backbone's nor twice, four times, ... its greatest.
    """
    known = {stride_of(level): features for level, features in levels.items()}
    greatest = max(known)
    while greatest < max(strides):
        known[2 * greatest] = _added(known[greatest], channels, f"extra_{PREFIX}{2 * greatest}")
        greatest *= 2
    unknown = [stride for stride in strides if stride not in known]
    if unknown:
        raise ValueError(
            f"There is no level of stride {', '.join(map(str, unknown))}: the backbone has {', '.join(levels)}, and "
            f"coarser ones double its last. Choose from these strides, or another backbone."
        )
    return {f"{PREFIX}{stride}": known[stride] for stride in strides}


class NeckSettings(Settings):
    """What all necks share."""

    kind: str
    channels: int = Field(default=64, ge=8, multiple_of=8)
    """Channels of all levels; multiples of 8 are what processors compute fastest. More for large pictures and many
    classes."""
    convolution: Literal["full", "separable"] = "full"
    """The 3x3 convolutions: `full`, or `separable` into a depthwise and a 1x1 one, an eighth of the operations."""
    use_bn: bool = True
    """BatchNormalization behind each convolution; costs nothing once exported. Without it, convolutions have biases."""

    @abstractmethod
    def build(self, levels: Levels) -> dict[str, Tensor]:
        """Extends the graph of a backbone.

        Args:
            levels: feature level -> [B, H/stride, W/stride, F], finest first.

        Returns:
            The same names -> [B, H/stride, W/stride, channels].

        Raises:
            ValueError: a level is too small to be laid over the next finer one.
        """

    def _lateral(self, levels: Levels) -> dict[str, Tensor]:
        """All levels with the same number of channels."""
        return {level: self._convolved(x, f"neck_{level}_lateral", kernel_size=1) for level, x in levels.items()}

    def _smooth(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        """A 3x3 convolution, [B, h, w, F] -> [B, h/stride, w/stride, channels], >= 0."""
        if self.convolution == "separable":
            x = STYLE.depthwise(x, f"{name}_depthwise", 3, stride)
            x = self._convolved(x, name, kernel_size=1)
        else:
            x = self._convolved(x, name, kernel_size=3, stride=stride)
        return keras.layers.ReLU(name=f"{name}_relu")(x)

    def _convolved(self, x: Tensor, name: str, kernel_size: int, stride: int = 1) -> Tensor:
        x = STYLE.convolution(x, self.channels, f"{name}_conv", kernel_size, stride, use_bias=not self.use_bn)
        return STYLE.bn(x, f"{name}_bn") if self.use_bn else x

    def _top_down(self, levels: Levels) -> dict[str, Tensor]:
        """Each level with the sum of all coarser ones."""
        (coarser, x), *others = reversed(list(levels.items()))
        mixed = {coarser: x}
        for level, own in others:
            above = _enlarged(mixed[coarser], coarser, own, level, f"neck_{level}_up")
            mixed[level] = keras.layers.Add(name=f"neck_{level}_add")([own, above])
            coarser = level
        return {level: mixed[level] for level in levels}


class FPN(NeckSettings):
    """Feature pyramid network (Lin et al. 2017, "Feature Pyramid Networks for Object Detection", section 3): the coarse
    levels are added to the finer ones, and a 3x3 convolution smooths each; here with a ReLU behind it."""

    kind: Literal["fpn"] = "fpn"
    """From the coarsest level down."""

    def build(self, levels: Levels) -> dict[str, Tensor]:
        """See the base."""
        mixed = self._top_down(self._lateral(levels))
        return {level: self._smooth(x, f"neck_{level}_out") for level, x in mixed.items()}


class PAN(NeckSettings):
    """Path aggregation network (Liu et al. 2018, "Path Aggregation Network for Instance Segmentation", section 3.1): a
    feature pyramid, and then a way up again, so that the coarse levels see fine edges after few layers."""

    kind: Literal["pan"] = "pan"
    """Down and up again."""

    def build(self, levels: Levels) -> dict[str, Tensor]:
        """See the base."""
        down = self._top_down(self._lateral(levels))
        down = {level: self._smooth(x, f"neck_{level}_down") for level, x in down.items()}
        (finer, x), *others = down.items()
        mixed = {finer: x}
        for level, own in others:
            stride = stride_of(level) // stride_of(finer)
            below = self._smooth(mixed[finer], f"neck_{level}_below", stride)
            both = keras.layers.Add(name=f"neck_{level}_below_add")([own, _same_size(below, finer, own, level)])
            mixed[level] = self._smooth(both, f"neck_{level}_out")
            finer = level
        return mixed


class BiFPN(NeckSettings):
    """Bidirectional feature pyramid (Tan et al. 2020, "EfficientDet: Scalable and Efficient Object Detection", section
    3): down and up several times, with weights that are learned for what is added. With ReLU in place of swish, as of
    EfficientDet-Lite, for int8."""

    kind: Literal["bifpn"] = "bifpn"
    """Down and up several times, with learned weights."""
    convolution: Literal["full", "separable"] = "separable"
    """The 3x3 convolutions: `separable` into a depthwise and a 1x1 one as published, or `full`, which takes eight times
    the operations."""
    repeats: int = Field(default=2, ge=1)
    """How many times down and up."""

    def build(self, levels: Levels) -> dict[str, Tensor]:
        """See the base."""
        levels = self._lateral(levels)
        for number in range(1, self.repeats + 1):
            levels = self._up(levels, self._down(levels, f"neck_{number}"), f"neck_{number}")
        return dict(levels)

    def _down(self, levels: Levels, name: str) -> dict[str, Tensor]:
        """Each level mixed with the one above; the coarsest as it is."""
        (coarser, x), *others = reversed(list(levels.items()))
        down = {coarser: x}
        for level, own in others:
            above = _enlarged(down[coarser], coarser, own, level, f"{name}_{level}_up")
            down[level] = self._fused([own, above], f"{name}_{level}_down")
            coarser = level
        return down

    def _up(self, levels: Levels, down: Levels, name: str) -> dict[str, Tensor]:
        """Each level mixed with its way down and the one below; the finest as it came down."""
        finest, *others = levels
        finer, mixed = finest, {finest: down[finest]}
        for level in others:
            own, stride = levels[level], stride_of(level) // stride_of(finer)
            pool = keras.layers.MaxPooling2D(stride + 1, stride, "same", name=f"{name}_{level}_below")
            below = _same_size(pool(mixed[finer]), finer, own, level)
            # The coarsest level has had no way down: it is its own.
            parts = [own, below] if down[level] is own else [own, down[level], below]
            mixed[level] = self._fused(parts, f"{name}_{level}_out")
            finer = level
        return mixed

    def _fused(self, parts: Sequence[Tensor], name: str) -> Tensor:
        from models.layers import WeightedSum

        return self._smooth(WeightedSum(name=f"{name}_sum")(list(parts)), name)


AnyNeck = Annotated[FPN | PAN | BiFPN, Field(discriminator="kind")]

NECKS: dict[str, type[NeckSettings]] = {"fpn": FPN, "pan": PAN, "bifpn": BiFPN}


def stride_of(level: str) -> int:
    """8 for `stride_8`."""
    return int(level.removeprefix(PREFIX))


def _enlarged(x: Tensor, level: str, like: Tensor, finer: str, name: str) -> Tensor:
    """A coarse level in the size of a finer one, each position repeated; what stands over is cut off below and to the
    right, where the picture has ended."""
    x = keras.layers.UpSampling2D(stride_of(level) // stride_of(finer), name=name)(x)
    over = x.shape[1] - like.shape[1], x.shape[2] - like.shape[2]
    if min(over) < 0:
        raise _misfit(x, level, like, finer)
    return keras.layers.Cropping2D(((0, over[0]), (0, over[1])), name=f"{name}_crop")(x) if any(over) else x


def _same_size(x: Tensor, level: str, like: Tensor, coarser: str) -> Tensor:
    """A level brought down to the size of a coarser one, once it is sure that it is."""
    if x.shape[1:3] != like.shape[1:3]:
        raise _misfit(x, level, like, coarser)
    return x


def _misfit(x: Tensor, level: str, like: Tensor, other: str) -> ValueError:
    sizes = (" x ".join(map(str, tensor.shape[1:3])) for tensor in (x, like))
    multiple = max(stride_of(level), stride_of(other))
    return ValueError(
        f"{level}, brought to the size of {other}, has {next(sizes)} positions, but {other} has {next(sizes)}. "
        f"Make picture.height and picture.width multiples of {multiple}."
    )


def _added(x: Tensor, channels: int, name: str) -> Tensor:
    """A level of twice the stride."""
    x = STYLE.convolution(x, channels, f"{name}_conv", stride=2)
    return keras.layers.ReLU(name=f"{name}_relu")(STYLE.bn(x, f"{name}_bn"))
