"""EfficientNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from models.backbones.base import Application, Member, Published
from models.backbones.normalisation import DEVIATION, STANDARDISED, Normalisation
from models.stack import keras

if TYPE_CHECKING:
    from models.rewire import Call

Tensor = Any

LEVELS = {
    "stride_2": "block2a_expand_activation",
    "stride_4": "block3a_expand_activation",
    "stride_8": "block4a_expand_activation",
    "stride_16": "block6a_expand_activation",
    "stride_32": "top_activation",
}
SIZES = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380}


def with_stochastic_depth(call: Call) -> Tensor | None:
    """The Dropout of whole residual branches, by its own name as a layer; None for any other call."""
    from models.activations import StochasticDepth

    if not isinstance(call.layer, keras.layers.Dropout):
        return None
    return StochasticDepth(call.layer.rate, name=call.layer.name)(call.inputs)


class EfficientNet(Application):
    """EfficientNet (Tan and Le 2019): accurate for its cost; inverted residuals with squeeze-excite, swish, and width,
    depth and picture size that grow together. Trained with stochastic depth, as published."""

    members: ClassVar[Mapping[str, Member]] = {
        f"efficientnet_{size}": Member(LEVELS, side, STANDARDISED, f"EfficientNet{size.upper()}")
        for size, side in SIZES.items()
    }
    published: ClassVar[Published | None] = Published("Apache-2.0", "Google, tensorflow/tpu")

    kind: Literal["efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4"] = (
        "efficientnet_b0"
    )
    """How large it is."""

    def start(self, reference: keras.Model) -> Tensor:
        return reference.get_layer("stem_conv_pad").input

    def replace(self, call: Call) -> Tensor:
        deep = with_stochastic_depth(call)
        return super().replace(call) if deep is None else deep

    def statistics(self, model: keras.Model) -> Normalisation | None:
        """Of the layer that Keras has behind its Rescaling to 0..1.

        The published files hold ImageNet's deviations there as variances, for which Keras makes up by a further factor
        when it loads them by name, and only then (tensorflow issue 49930).
        """
        layer = next((one for one in model.layers if isinstance(one, keras.layers.Normalization)), None)
        if layer is None:
            return None
        mean, variance = (np.broadcast_to(np.ravel(weight), 3).astype(float) for weight in layer.get_weights()[:2])
        if np.allclose(variance, DEVIATION, rtol=1e-4):
            return STANDARDISED
        deviation = np.maximum(np.sqrt(variance), keras.backend.epsilon())
        return Normalisation(tuple(1 / (255 * deviation)), tuple(-255 * mean))
