"""How each layer class is quantized: what `simplify` leaves, and no other layer, has a place in `TREATMENTS`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_configs import (
    Default8BitOutputQuantizeConfig,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (
    Default8BitQuantizeConfig,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_config import (
    FixedQuantizeConfig,
    QuantizeConfig,
)
from tensorflow_model_optimization.quantization.keras import quantizers

from models.activations import HardSwish, StochasticDepth
from models.detectors.layers import ColumnWeights, Propose, RowWeights
from models.layers import AxisMaximum, AxisMean, Clip, MatrixProduct
from models.siamese.layers import Stacked, Surroundings, Unstacked
from models.stack import keras, tf
from pipeline.compress.qat.layers import ChannelAffine, LogarithmFrom, UnitLength

Layer: TypeAlias = keras.layers.Layer
Registry = Any

LARGEST = 127
"""The largest weight in int8; -128 is not used."""


class DepthwiseWeights(quantizers.Quantizer):
    """Rounds a kernel [h, w, F, 1] to -127..127 times a scale a channel, as TFLite stores it; tfmot has one scale for
    all channels there, which is not what ships, and loses what BatchNormalization has spread (Krishnamoorthi 2018,
    section 3.1).

    Arithmetic in place of a fake quantization operator, which knows no axis but the last: the converter computes it,
    and finds the same scales in the result.
    """

    def build(self, tensor_shape: Any, name: str, layer: Layer) -> dict[str, tf.Variable]:
        """No variables: the scales follow from the weights."""
        return {}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: dict[str, tf.Variable], **_: Any) -> tf.Tensor:
        scale = tf.reduce_max(tf.abs(inputs), axis=[0, 1], keepdims=True) / LARGEST
        rounded = tf.math.divide_no_nan(inputs, scale)
        return inputs + tf.stop_gradient(tf.round(rounded) * scale - inputs)

    def get_config(self) -> dict[str, Any]:
        return {}


@keras.saving.register_keras_serializable(package="convoy")
class DepthwiseQuantizeConfig(Default8BitQuantizeConfig):
    """As tfmot's configuration of other convolutions."""

    def __init__(self, weight_attrs: list[str], activation_attrs: list[str], quantize_output: bool):
        super().__init__(weight_attrs, activation_attrs, quantize_output)
        self.weight_quantizer = DepthwiseWeights()


# ------------------------------------------------------------------------------------------------- treatments


@dataclass(frozen=True)
class Treatment:
    """How a layer is quantized.

    Args:
        why: said in the table of `convoy compress --check`.
        config: the layer, the registry of the scheme, whether its output is rounded -> its QuantizeConfig; none where
            nothing about it is.
        fuses_activation: whether its int8 operator does a ReLU that follows, so that nothing is rounded between.
        learns_range: whether its output's range is its own, and follows what is trained.
    """

    why: str
    config: Callable[[Layer, Registry, bool], QuantizeConfig | None]
    fuses_activation: bool = False
    learns_range: bool = True


def _passing(layer: Layer, registry: Registry, rounded: bool) -> None:
    return None


def _output(layer: Layer, registry: Registry, rounded: bool) -> QuantizeConfig | None:
    return Default8BitOutputQuantizeConfig() if rounded else None


def _weights(layer: Layer, registry: Registry, rounded: bool) -> QuantizeConfig:
    """The scheme's own configuration, but that the output, and not the activation inside, is rounded."""
    config = copy.copy(registry.get_quantize_config(layer))
    # Quantizers that preserve clusters keep what they found out about one layer.
    config.weight_quantizer = copy.copy(config.weight_quantizer)
    config.activation_attrs, config.quantize_output = [], rounded
    return config


def _depthwise(layer: Layer, registry: Registry, rounded: bool) -> QuantizeConfig:
    """No scheme preserves sparsity or clusters of depthwise kernels."""
    return DepthwiseQuantizeConfig(["depthwise_kernel"], [], rounded)


def fixed_output(low: float, high: float) -> QuantizeConfig:
    """Rounds an output to 256 levels from `low` to `high`."""
    return FixedQuantizeConfig(Default8BitOutputQuantizeConfig(), 8, low, high, False)


def _fixed(low: float, high: float) -> Callable[[Layer, Registry, bool], QuantizeConfig | None]:
    return lambda layer, registry, rounded: fixed_output(low, high)


PASSING = Treatment("its output has the levels of its input", _passing, learns_range=False)
IN_FLOAT = Treatment("a decoding, which stays in float", _passing, learns_range=False)
OUTPUT = Treatment("output in a learned range", _output)
SUM = Treatment("output in a learned range", _output, fuses_activation=True)
WEIGHTS = Treatment("weights, and output in a learned range", _weights, fuses_activation=True)
DEPTHWISE = Treatment("weights by channel, and output in a learned range", _depthwise, fuses_activation=True)
SHARE = Treatment("output in 0..1, as the operator prescribes", _fixed(0.0, 255 / 256), learns_range=False)
SIGNED_SHARE = Treatment("output in -1..1, as the operator prescribes", _fixed(-1.0, 127 / 128), learns_range=False)

_layers = keras.layers

TREATMENTS: dict[type[Layer], Treatment] = {
    _layers.Conv2D: WEIGHTS,
    _layers.DepthwiseConv2D: DEPTHWISE,
    _layers.Conv2DTranspose: WEIGHTS,
    _layers.Dense: WEIGHTS,
    ChannelAffine: SUM,
    _layers.BatchNormalization: SUM,  # behind the convolution that does it; `simplify` leaves no other
    _layers.Add: SUM,
    _layers.Subtract: OUTPUT,
    _layers.Multiply: OUTPUT,
    _layers.Average: OUTPUT,
    _layers.Concatenate: OUTPUT,
    _layers.ReLU: OUTPUT,
    _layers.LeakyReLU: OUTPUT,
    _layers.PReLU: OUTPUT,
    HardSwish: OUTPUT,
    Clip: OUTPUT,
    _layers.Softmax: SHARE,
    UnitLength: SIGNED_SHARE,
    LogarithmFrom: OUTPUT,
    MatrixProduct: OUTPUT,
    _layers.Dot: OUTPUT,
    AxisMean: OUTPUT,
    _layers.GlobalAveragePooling2D: OUTPUT,
    AxisMaximum: PASSING,
    _layers.GlobalMaxPooling2D: PASSING,
    _layers.MaxPooling2D: PASSING,
    _layers.AveragePooling2D: PASSING,
    _layers.UpSampling2D: PASSING,
    _layers.ZeroPadding2D: PASSING,
    _layers.Cropping2D: PASSING,
    _layers.Reshape: PASSING,
    _layers.Permute: PASSING,
    Stacked: PASSING,
    Surroundings: PASSING,
    Unstacked: PASSING,
    _layers.Flatten: PASSING,
    _layers.Dropout: PASSING,
    _layers.SpatialDropout2D: PASSING,
    StochasticDepth: PASSING,
    _layers.ActivityRegularization: PASSING,
    Propose: IN_FLOAT,
    RowWeights: IN_FLOAT,
    ColumnWeights: IN_FLOAT,
}
"""Class of a layer -> how it is quantized; `Activation` goes by what it computes, see `ACTIVATIONS`."""

ACTIVATIONS: dict[str, Treatment] = {
    "linear": PASSING,
    "relu": OUTPUT,
    "relu6": OUTPUT,
    "gelu": OUTPUT,
    "exponential": OUTPUT,
    "sigmoid": SHARE,
    "softmax": SHARE,
    "tanh": SIGNED_SHARE,
}
"""Name of an activation -> how its layer is quantized."""


def activation_name(layer: keras.layers.Activation) -> str:
    """What it computes, such as `relu`."""
    return str(getattr(layer.activation, "__name__", type(layer.activation).__name__))


def treatment(layer: Layer) -> Treatment | None:
    """How a layer is quantized; none where nobody knows."""
    if isinstance(layer, _layers.Activation):
        return ACTIVATIONS.get(activation_name(layer))
    return TREATMENTS.get(type(layer))


def is_fusable(layer: Layer) -> bool:
    """Whether it is an activation that int8 operators do along with their own work; what is clipped to the range of
    their levels, they clip anyway."""
    if type(layer) is Clip:
        return True
    if isinstance(layer, _layers.Activation):
        return activation_name(layer) in {"relu", "relu6"}
    if type(layer) is not _layers.ReLU or layer.threshold or layer.negative_slope:
        return False
    return bool(layer.max_value is None or layer.max_value == 6.0)
