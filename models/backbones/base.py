"""What all backbones share: settings, the levels' names, normalisation, and how published networks become flat graphs.

`features` extends a graph rather than nesting a model in it: quantization-aware training, pruning and unfreezing by
layer all need flat graphs. The first layer, `normalise`, brings pixels to what the network expects; it is a fixed 1x1
convolution because quantization-aware training knows that layer (not Rescaling) and int8 holds its weights exactly.

B = batch, H, W = the picture, C = its channels, F = features.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_validator

from models.attention import Attention
from models.backbones.normalisation import NORMALISE, Normalisation, normalise
from models.regularisation import Regularisation
from models.settings import Settings
from models.stack import keras

if TYPE_CHECKING:
    from models.rewire import Call

Tensor = Any
Network = Callable[..., Any]

IMAGENET = "imagenet"
"""The weights that keras.applications publishes."""
MODEL_FILE = ".keras"
"""How the name of a file with a whole model ends."""
WEIGHT_FILES = (".h5", MODEL_FILE)
"""How the name of a local weights file ends; `.weights.h5` is one of them."""


@dataclass(frozen=True)
class Member:
    """One network of a family.

    Args:
        levels: feature level -> the layer whose output it is, from the picture on.
        input_size: side of the pictures that it was published for, in pixels.
        normalisation: what its published weights expect.
        application: its function's name in keras.applications; empty where it is built from `models.blocks`.
    """

    levels: Mapping[str, str]
    input_size: int
    normalisation: Normalisation
    application: str = ""


@dataclass(frozen=True)
class Published:
    """Weights that `imagenet` stands for.

    Args:
        licence: SPDX identifier of the licence that the weights are under.
        origin: who trained them, and where that licence is stated.
    """

    licence: str
    origin: str


class BackboneSettings(Settings):
    """What all backbones share. Feature levels are named by their stride: `stride_8` is [B, H/8, W/8, F]."""

    members: ClassVar[Mapping[str, Member]]
    """Each kind of the family."""
    published: ClassVar[Published | None] = None
    """The weights by name, where there are any."""
    least_size: ClassVar[int] = 32
    """Least height and width of its pictures, with the defaults."""

    kind: str
    attention: Attention | None = None
    """Attention blocks behind the feature levels (in `small_resnet`, inside each residual block); none = as
    published. Its weights start at random, pretrained or not."""
    regularisation: Regularisation = Regularisation()
    """What keeps the network from learning its pictures, or wrong labels, by heart."""
    weights: str | None = None
    """What training starts from."""

    @property
    def member(self) -> Member:
        """The network that is chosen."""
        return self.members[self.kind]

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Extends the graph that ends in `image`, float32 [B,H,W,C] 0..255, by this network.

        Returns:
            Feature level -> float32 [B, H/stride, W/stride, F] (half precision under a mixed policy), finest first.

        Raises:
            ValueError: the picture or the weights do not fit this network.
        """
        self._require_size(image)
        levels = self.changed(image, self.network(image))
        if self.weights is not None and self.weights.endswith(MODEL_FILE):
            self._copy_model(self.weights, levels)
        return levels

    @abstractmethod
    def network(self, image: Tensor) -> dict[str, Tensor]:
        """The network as published, with the weights of `imagenet` or an `.h5` file where asked for; see `features`."""

    def changed(self, image: Tensor, levels: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network with attention and regularisation."""
        if self.attention is not None:
            levels = self.attention.refine(image, levels)
        return self.regularisation.refine(image, levels)

    def smallest(self) -> int:
        """Least height and width of its pictures, as it is set."""
        return self.least_size

    def statistics(self, model: keras.Model) -> Normalisation | None:
        """The normalisation that a model with weights holds in a layer of its own, in families that have one."""
        return None

    def _require_size(self, image: Tensor) -> None:
        height, width = image.shape[1:3]
        least = self.smallest()
        if min(height, width) < least:
            raise ValueError(
                f"{self.kind} needs pictures of at least {least} x {least} pixels, got {height} x {width} (height x "
                f"width). Raise picture.height and picture.width, or choose small_resnet, made for small pictures."
            )

    def _copy_model(self, file: str, levels: dict[str, Tensor]) -> None:
        from models import pretrained

        held, layers = pretrained.read_model(file, self.kind), pretrained.layers_behind(levels)
        pretrained.copy_weights(held, layers, file)
        statistics = self.statistics(held)
        if statistics is not None:
            statistics.assign(next(layer for layer in layers if layer.name == NORMALISE))


class Built(BackboneSettings):
    """A family that is built from `models.blocks`. Weights come from local files only."""

    weights: str | None = None
    """Local file to start from, such as the model of another Run (`.keras`, which may hold attention; or `.h5` or
    `.weights.h5` of the network without); none = random."""

    @field_validator("weights")
    @classmethod
    def _file(cls, weights: str | None) -> str | None:
        return _known_weights(weights, WEIGHT_FILES)

    def network(self, image: Tensor) -> dict[str, Tensor]:
        levels = self.build(image)
        if self.weights is not None and not self.weights.endswith(MODEL_FILE):
            self._copy_weights(self.weights, image.shape[1:], levels)
        return levels

    @abstractmethod
    def build(self, image: Tensor) -> dict[str, Tensor]:
        """The network with random weights; see `features`."""

    def _copy_weights(self, file: str, shape: tuple[int, int, int], levels: dict[str, Tensor]) -> None:
        from models import pretrained

        image = keras.Input(shape)
        plain = self.model_copy(update={"attention": None})
        reference = keras.Model(image, list(plain.build(image).values())[-1], name=self.kind)
        pretrained.read_weights(file, reference)
        pretrained.copy_weights(reference, pretrained.layers_behind(levels), file)


class Application(BackboneSettings):
    """A family of keras.applications, without the classifier: built there, taken apart, and put together again as a
    flat graph of named layers behind `normalise`."""

    weights: str | None = None
    """What training starts from: `imagenet` (downloaded once, then kept by Keras), a local file (a keras.applications
    `notop` `.h5` or `.weights.h5`, or any `.keras` model with the same layers, such as that of another Run), or none =
    random."""

    @field_validator("weights")
    @classmethod
    def _name_or_file(cls, weights: str | None) -> str | None:
        return _known_weights(weights, (IMAGENET, *WEIGHT_FILES))

    def options(self) -> dict[str, Any]:
        """Arguments of the keras.applications function besides input and weights."""
        return {}

    def start(self, reference: keras.Model) -> Tensor:
        """The tensor of a network of keras.applications that takes normalised pixels."""
        return reference.inputs[0]

    def replace(self, call: Call) -> Tensor:
        """What becomes of a call of one of the network's layers."""
        from models import rewire

        return rewire.move(call)

    def network(self, image: Tensor) -> dict[str, Tensor]:
        from models import rewire

        reference = self._reference(tuple(image.shape[1:]))
        name_steadily(reference)
        pixels = normalise(image, self._normalisation_of(reference))
        (end,) = rewire.rewire([reference.output], {self.start(reference).ref(): pixels}, self.replace)
        nodes = rewire.nodes_behind([end])
        return {level: nodes[layer].outputs for level, layer in self.member.levels.items()}

    def _reference(self, shape: tuple[int, int, int]) -> keras.Model:
        """The network of keras.applications, with weights where they come by name or as an `.h5` file."""
        from models import pretrained

        function = getattr(keras.applications, self.member.application)
        network = partial(function, include_top=False, **self.options())
        if self.weights == IMAGENET:
            return pretrained.published(network, shape)
        reference = network(input_shape=shape, weights=None)
        if self.weights is not None and not self.weights.endswith(MODEL_FILE):
            pretrained.read_weights(self.weights, reference)
        return reference

    def _normalisation_of(self, reference: keras.Model) -> Normalisation:
        from_file = self.weights is not None and self.weights != IMAGENET
        return (self.statistics(reference) if from_file else None) or self.member.normalisation


def name_steadily(model: keras.Model) -> None:
    """Gives layers that Keras has named (`conv2d_57`) the names that they have in a fresh session, whatever else was
    built in this one: weights of `.keras` files are found by name."""
    numbered: dict[str, list[tuple[int, keras.layers.Layer]]] = {}
    for layer in model._flatten_layers(include_self=False):
        stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", layer.name).groups()  # type: ignore[union-attr]
        if stem.replace("_", "") == layer.__class__.__name__.lower():
            numbered.setdefault(stem, []).append((int(number or 0), layer))
    for stem, layers in numbered.items():
        first = min(number for number, _ in layers)
        for number, layer in layers:
            layer._name = f"{stem}_{number - first}" if number > first else stem


def _known_weights(weights: str | None, endings: tuple[str, ...]) -> str | None:
    if weights is not None and not weights.endswith(endings):
        raise ValueError(f"weights {weights!r} are neither known by name nor a file; expected {' or '.join(endings)}")
    return weights
