"""The residual network for small pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from models.backbones.base import Built, Member
from models.backbones.normalisation import CENTRED, normalise
from models.blocks import Style, every_other
from models.stack import keras

Tensor = Any
Downsampling = Literal["strided", "max", "average"]

STYLE = Style()
STEM_KERNELS = {1: 3, 2: 5, 4: 7}


class SmallResNet(Built):
    """A residual network for small pictures, 8 to 64 pixels a side ("Deep Residual Learning", He et al. 2016).

    The network for CIFAR of section 4.2: stages of basic blocks (two 3x3 convolutions and a shortcut), each stage at
    half the size of the one before. Where the shape changes, the shortcut is a 1x1 convolution (the paper's option B).
    The defaults give 0.27 million weights. Widths that are multiples of 16 train fastest on CPUs.
    """

    members: ClassVar[Mapping[str, Member]] = {
        "small_resnet": Member({f"stride_{2**stage}": f"stride_{2**stage}" for stage in range(8)}, 32, CENTRED)
    }

    least_size: ClassVar[int] = 8

    kind: Literal["small_resnet"] = "small_resnet"
    depth: int = 20
    """Number of weighted layers: 2 + 2 x stages x blocks a stage; 8, 14, 20, 26, 32, 44, 56 ... with three stages."""
    widths: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1, max_length=6)
    """Number of channels of each stage; one stage more halves the size of the features once more."""
    stem_width: int | None = Field(default=None, gt=0)
    """Number of channels of the first convolution; none = as many as the first stage."""
    stem_stride: Literal[1, 2, 4] = 1
    """Stride of the first convolution; 2 or 4 for pictures that are larger than 64 pixels. The levels' strides grow
    with it."""
    downsampling: Downsampling = "strided"
    """How a stage halves the size of what it is given: a learned convolution with stride 2 (as in the paper), or 2x2
    pooling before the stage by maximum or average."""

    @field_validator("widths")
    @classmethod
    def _positive(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if min(widths) < 1:
            raise ValueError(f"each stage needs at least one channel, got widths {list(widths)}")
        return widths

    @model_validator(mode="after")
    def _whole_blocks(self) -> SmallResNet:
        step = 2 * len(self.widths)
        if (self.depth - 2) % step or self.depth <= 2:
            lower = max((self.depth - 2) // step, 1) * step + 2
            raise ValueError(
                f"depth {self.depth} does not divide into {len(self.widths)} stages of whole blocks: "
                f"it must be 2 + a multiple of {step}, such as {lower} or {lower + step}"
            )
        return self

    @property
    def blocks(self) -> int:
        """Number of residual blocks of each stage."""
        return (self.depth - 2) // (2 * len(self.widths))

    def smallest(self) -> int:
        return self.stem_stride * 2 ** len(self.widths)

    def build(self, image: Tensor) -> dict[str, Tensor]:
        x = normalise(image, self.member.normalisation)
        x = _stem(x, self.stem_width or self.widths[0], self.stem_stride)
        x = keras.layers.ReLU(name="stem_relu")(x)
        levels = {}
        for stage, width in enumerate(self.widths):
            x = levels[self._level(stage)] = self._stage(x, stage, width)
        return levels

    def changed(self, image: Tensor, levels: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.attention is not None:
            levels = self.attention.refine(image, levels, has_blocks=True)
        return self.regularisation.refine(image, levels)

    def _level(self, stage: int) -> str:
        return f"stride_{self.stem_stride * 2**stage}"

    def _stage(self, x: Tensor, stage: int, width: int) -> Tensor:
        stride = 2 if stage else 1
        if stage and self.downsampling != "strided":
            x, stride = POOLINGS[self.downsampling](2, padding="same", name=f"stage_{stage + 1}_pool")(x), 1
        for block in range(self.blocks):
            name = f"stage_{stage + 1}_block_{block + 1}"
            last = block == self.blocks - 1
            output_name = self._level(stage) if last else f"{name}_relu"
            x = self._block(x, width, 1 if block else stride, name, output_name)
        return x

    def _block(self, x: Tensor, width: int, stride: int, name: str, output_name: str) -> Tensor:
        shortcut = x if stride == 1 else every_other(x, stride, f"{name}_shortcut_pool")
        if stride > 1 or x.shape[-1] != width:
            shortcut = _convolution(shortcut, width, f"{name}_shortcut", kernel_size=1)
        x = _convolution(x, width, f"{name}_1", stride=stride)
        x = keras.layers.ReLU(name=f"{name}_1_relu")(x)
        x = _convolution(x, width, f"{name}_2")
        if self.attention is not None:
            x = self.attention.inside(x, name)
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
        return keras.layers.ReLU(name=output_name)(x)


def _stem(x: Tensor, width: int, stride: int) -> Tensor:
    """The first convolution; its kernel reaches over what its stride skips."""
    return _convolution(x, width, "stem", kernel_size=STEM_KERNELS[stride], stride=stride)


def _convolution(x: Tensor, width: int, name: str, kernel_size: int = 3, stride: int = 1) -> Tensor:
    """A convolution and its BatchNormalization, which folds into it once exported."""
    x = STYLE.convolution(x, width, f"{name}_conv", kernel_size, stride)
    return STYLE.bn(x, f"{name}_bn")


def _max(*arguments: Any, **options: Any) -> keras.layers.Layer:
    return keras.layers.MaxPooling2D(*arguments, **options)


def _average(*arguments: Any, **options: Any) -> keras.layers.Layer:
    return keras.layers.AveragePooling2D(*arguments, **options)


POOLINGS: dict[str, Callable[..., keras.layers.Layer]] = {"max": _max, "average": _average}
