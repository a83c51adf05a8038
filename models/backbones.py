"""Backbones: the networks that turn a picture into features, each a settings class that builds itself.

`features` extends a graph rather than nesting a model in it: quantization-aware training, pruning and unfreezing by
layer all need flat graphs. The first layer, `normalise`, brings pixels to what the network expects; it is a fixed 1x1
convolution because quantization-aware training knows that layer (not Rescaling) and int8 holds its weights exactly.

B = batch, H, W = the picture, C = its channels, F = features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from models.settings import Settings
from models.stack import keras

Tensor = Any
Network = Callable[..., Any]

NORMALISE = "normalise"
"""Name of the layer that brings pixels to a network's range; never trained."""
IMAGENET = "imagenet"
"""The weights that keras.applications publishes."""
WEIGHT_FILES = (".h5", ".keras")
"""How the name of a local weights file ends; `.weights.h5` is one of them."""


@dataclass(frozen=True)
class Normalisation:
    """What a network's weights expect: channel -> scale * (channel + offset), pixels 0..255 in RGB order.

    Args:
        scale: per channel, or one value for grey.
        offset: per channel, in grey levels.
        reverse: whether the network takes BGR; `scale` and `offset` stay in RGB order.
    """

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    reverse: bool = False

    def matrix(self, channels: int) -> list[list[float]]:
        """The kernel [channels in][channels out] of the 1x1 convolution."""
        if channels == 1:
            return [[sum(self.scale) / 3]]
        order = self._order()
        return [[self.scale[i] if i == source else 0.0 for source in order] for i in range(3)]

    def bias(self, channels: int) -> list[float]:
        """The bias [channels out] of the 1x1 convolution."""
        products = [scale * offset for scale, offset in zip(self.scale, self.offset, strict=True)]
        return [sum(products) / 3] if channels == 1 else [products[source] for source in self._order()]

    def _order(self) -> tuple[int, int, int]:
        return (2, 1, 0) if self.reverse else (0, 1, 2)


# int8 holds a normalised picture without rounding where its range is a power of two around 128.
CENTRED = Normalisation(scale=(1 / 64,) * 3, offset=(-128.0,) * 3)  # -2..2
SYMMETRIC = Normalisation(scale=(1 / 127.5,) * 3, offset=(-127.5,) * 3)  # -1..1, keras.applications mode "tf"
CAFFE = Normalisation(scale=(1.0,) * 3, offset=(-123.68, -116.779, -103.939), reverse=True)  # mode "caffe"
STANDARDISED = Normalisation(  # mode "torch": mean and deviation of ImageNet
    scale=(1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
    offset=(-255 * 0.485, -255 * 0.456, -255 * 0.406),
)


def normalise(image: Tensor, normalisation: Normalisation) -> Tensor:
    """float32 [B,H,W,C] 0..255 -> float32 [B,H,W,C]; in float32 also under mixed precision."""
    channels = image.shape[-1]
    layer = keras.layers.Conv2D(
        channels,
        kernel_size=1,
        kernel_initializer=keras.initializers.Constant([[normalisation.matrix(channels)]]),
        bias_initializer=keras.initializers.Constant(normalisation.bias(channels)),
        trainable=False,
        dtype="float32",
        name=NORMALISE,
    )
    return layer(image)


class BackboneSettings(Settings):
    """What all backbones share. Feature levels are named by their stride: `stride_8` is [B, H/8, W/8, F]."""

    levels: ClassVar[dict[str, str]]
    """Level -> the layer whose output it is, from the picture on; a network may have fewer."""

    @abstractmethod
    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Extends the graph that ends in `image`, float32 [B,H,W,C] 0..255, by this network.

        Returns:
            Feature level -> float32 [B, H/stride, W/stride, F] (half precision under a mixed policy), finest first.

        Raises:
            ValueError: the picture or the weights do not fit this network.
        """


class SmallResNet(BackboneSettings):
    """A residual network for small pictures, 8 to 64 pixels a side ("Deep Residual Learning", He et al. 2016).

    The network for CIFAR of section 4.2: stages of basic blocks (two 3x3 convolutions and a shortcut), each stage at
    half the size of the one before. Where the shape changes, the shortcut is a 1x1 convolution (the paper's option B).
    The defaults give 0.27 million weights. Widths that are multiples of 16 train fastest on CPUs.
    """

    levels: ClassVar[dict[str, str]] = {f"stride_{2**stage}": f"stride_{2**stage}" for stage in range(6)}

    kind: Literal["small_resnet"] = "small_resnet"
    depth: int = 20
    """Number of weighted layers: 2 + 2 x stages x blocks a stage; 8, 14, 20, 26, 32, 44, 56 ... with three stages."""
    widths: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1, max_length=6)
    """Number of channels of each stage; one stage more halves the size of the features once more."""
    stem_width: int | None = Field(default=None, gt=0)
    """Number of channels of the first convolution; none = as many as the first stage."""
    weights: str | None = None
    """Local file to start from (`.keras`, `.h5` or `.weights.h5`), such as the model of another Run; none = random."""

    @field_validator("widths")
    @classmethod
    def _positive(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if min(widths) < 1:
            raise ValueError(f"each stage needs at least one channel, got widths {list(widths)}")
        return widths

    @field_validator("weights")
    @classmethod
    def _file(cls, weights: str | None) -> str | None:
        return _known_weights(weights, WEIGHT_FILES)

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

    def features(self, image: Tensor) -> dict[str, Tensor]:
        _require_size(self.kind, image, least=2 ** len(self.widths))
        levels = self._levels(image)
        if self.weights is not None:
            _copy_file(self.weights, self._reference(image.shape[1:]), levels)
        return levels

    def _levels(self, image: Tensor) -> dict[str, Tensor]:
        x = normalise(image, CENTRED)
        x = _convolution(x, self.stem_width or self.widths[0], "stem")
        x = keras.layers.ReLU(name="stem_relu")(x)
        levels = {}
        for stage, width in enumerate(self.widths):
            x = levels[f"stride_{2**stage}"] = self._stage(x, stage, width)
        return levels

    def _stage(self, x: Tensor, stage: int, width: int) -> Tensor:
        level = f"stride_{2**stage}"
        for block in range(self.blocks):
            last = block == self.blocks - 1
            name = f"stage_{stage + 1}_block_{block + 1}"
            stride = 2 if stage and not block else 1
            x = _residual_block(x, width, stride, name, output_name=level if last else f"{name}_relu")
        return x

    def _reference(self, shape: tuple[int, int, int]) -> keras.Model:
        image = keras.Input(shape)
        return keras.Model(image, list(self._levels(image).values())[-1])


def _residual_block(x: Tensor, width: int, stride: int, name: str, output_name: str) -> Tensor:
    shortcut = x if stride == 1 else _every_other(x, stride, f"{name}_shortcut_pool")
    if stride > 1 or x.shape[-1] != width:
        shortcut = _convolution(shortcut, width, f"{name}_shortcut", kernel_size=1)
    x = _convolution(x, width, f"{name}_1", stride=stride)
    x = keras.layers.ReLU(name=f"{name}_1_relu")(x)
    x = _convolution(x, width, f"{name}_2")
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=output_name)(x)


def _every_other(x: Tensor, stride: int, name: str) -> Tensor:
    """The same as the stride of a 1x1 convolution that follows, for which oneDNN has no sound gradient: with fewer than
    16 input channels it writes past its buffer, and the process crashes (uxlfoundation/oneDNN issue 6035)."""
    return keras.layers.MaxPooling2D(1, stride, name=name)(x)


def _convolution(x: Tensor, width: int, name: str, kernel_size: int = 3, stride: int = 1) -> Tensor:
    """A convolution and its BatchNormalization, which folds into it once exported."""
    convolution = keras.layers.Conv2D(
        width, kernel_size, stride, "same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )
    # Keras' momentum of 0.99 is too slow for runs of a few hundred steps.
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(convolution(x))


class Application(BackboneSettings):
    """A network of keras.applications without its classifier."""

    normalisation: ClassVar[Normalisation]
    least_size: ClassVar[int] = 32

    weights: str | None = None
    """What training starts from: `imagenet` (downloaded once, then kept by Keras), a local file (a keras.applications
    `notop` `.h5` or `.weights.h5`, or any `.keras` model with the same layers, such as that of another Run), or none =
    random."""

    @field_validator("weights")
    @classmethod
    def _name_or_file(cls, weights: str | None) -> str | None:
        return _known_weights(weights, (IMAGENET, *WEIGHT_FILES))

    @abstractmethod
    def network(self) -> Network:
        """The keras.applications function with this network's own settings, still to be given input and weights."""

    def features(self, image: Tensor) -> dict[str, Tensor]:
        _require_size(self.__class__.__name__, image, self.least_size)
        network = partial(self.network(), include_top=False)
        graph = network(input_tensor=normalise(image, self.normalisation), weights=None)
        levels = {level: graph.get_layer(layer).output for level, layer in self.levels.items()}
        if self.weights == IMAGENET:
            _copy_published(network, image.shape[1:], levels)
        elif self.weights is not None:
            reference = network(input_shape=tuple(image.shape[1:]), weights=None)
            _copy_file(self.weights, reference, levels)
        return levels


class MobileNet(Application):
    """MobileNet (Howard et al. 2017): small and fast on phones; depthwise separable convolutions."""

    normalisation: ClassVar[Normalisation] = SYMMETRIC
    levels: ClassVar[dict[str, str]] = {
        "stride_2": "conv_pw_1_relu",
        "stride_4": "conv_pw_3_relu",
        "stride_8": "conv_pw_5_relu",
        "stride_16": "conv_pw_11_relu",
        "stride_32": "conv_pw_13_relu",
    }

    kind: Literal["mobilenet"] = "mobilenet"
    alpha: float = Field(default=1.0, gt=0)
    """Factor on the number of channels; `imagenet` weights exist for 0.25, 0.5, 0.75 and 1.0."""

    def network(self) -> Network:
        return partial(keras.applications.MobileNet, alpha=self.alpha)


class MobileNetV2(Application):
    """MobileNetV2 (Sandler et al. 2018): more accurate than MobileNet at the same cost; inverted residuals."""

    normalisation: ClassVar[Normalisation] = SYMMETRIC
    levels: ClassVar[dict[str, str]] = {
        "stride_2": "block_1_expand_relu",
        "stride_4": "block_3_expand_relu",
        "stride_8": "block_6_expand_relu",
        "stride_16": "block_13_expand_relu",
        "stride_32": "out_relu",
    }

    kind: Literal["mobilenet_v2"] = "mobilenet_v2"
    alpha: float = Field(default=1.0, gt=0)
    """Factor on the number of channels; `imagenet` weights exist for 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4."""

    def network(self) -> Network:
        return partial(keras.applications.MobileNetV2, alpha=self.alpha)


class ResNet50(Application):
    """ResNet-50 (He et al. 2016): accurate, for servers; 23.6 million weights."""

    normalisation: ClassVar[Normalisation] = CAFFE
    levels: ClassVar[dict[str, str]] = {
        "stride_2": "conv1_relu",
        "stride_4": "conv2_block3_out",
        "stride_8": "conv3_block4_out",
        "stride_16": "conv4_block6_out",
        "stride_32": "conv5_block3_out",
    }

    kind: Literal["resnet50"] = "resnet50"

    def network(self) -> Network:
        return keras.applications.ResNet50


class VGG16(Application):
    """VGG-16 (Simonyan and Zisserman 2015): slow and large, without BatchNormalization; 14.7 million weights."""

    normalisation: ClassVar[Normalisation] = CAFFE
    levels: ClassVar[dict[str, str]] = {
        "stride_1": "block1_conv2",
        "stride_2": "block2_conv2",
        "stride_4": "block3_conv3",
        "stride_8": "block4_conv3",
        "stride_16": "block5_conv3",
        "stride_32": "block5_pool",
    }

    kind: Literal["vgg16"] = "vgg16"

    def network(self) -> Network:
        return keras.applications.VGG16


class DenseNet121(Application):
    """DenseNet-121 (Huang et al. 2017): accurate for its 7.0 million weights; tfmot's training refuses it."""

    normalisation: ClassVar[Normalisation] = STANDARDISED
    levels: ClassVar[dict[str, str]] = {
        "stride_2": "conv1/relu",
        "stride_4": "pool2_relu",
        "stride_8": "pool3_relu",
        "stride_16": "pool4_relu",
        "stride_32": "relu",
    }

    kind: Literal["densenet121"] = "densenet121"

    def network(self) -> Network:
        return keras.applications.DenseNet121


Backbone = SmallResNet | MobileNet | MobileNetV2 | ResNet50 | VGG16 | DenseNet121

BACKBONES: dict[str, type[BackboneSettings]] = {
    "small_resnet": SmallResNet,
    "mobilenet": MobileNet,
    "mobilenet_v2": MobileNetV2,
    "resnet50": ResNet50,
    "vgg16": VGG16,
    "densenet121": DenseNet121,
}


def _require_size(network: str, image: Tensor, least: int) -> None:
    height, width = image.shape[1:3]
    if min(height, width) < least:
        raise ValueError(
            f"{network} needs pictures of at least {least} x {least} pixels, got {height} x {width} (height x width). "
            f"Raise picture.height and picture.width, or choose small_resnet, made for small pictures."
        )


def _known_weights(weights: str | None, endings: tuple[str, ...]) -> str | None:
    if weights is not None and not weights.endswith(endings):
        raise ValueError(f"weights {weights!r} are neither known by name nor a file; expected {' or '.join(endings)}")
    return weights


def _copy_published(network: Network, shape: tuple[int, int, int], levels: dict[str, Tensor]) -> None:
    from models import pretrained

    pretrained.copy_weights(pretrained.published(network, shape), pretrained.layers_behind(levels), IMAGENET)


def _copy_file(file: str, reference: keras.Model, levels: dict[str, Tensor]) -> None:
    from models import pretrained

    pretrained.copy_weights(pretrained.read(file, reference), pretrained.layers_behind(levels), file)
