"""Regularisation of a backbone: what keeps a network from learning the noise of its data by heart.

All of it is for training alone. Exported files hold none of it: in inference the layers pass their inputs on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from models.settings import Settings
from models.stack import keras

if TYPE_CHECKING:
    from models.rewire import Call

Tensor = Any

KERNEL_REGULARISERS = ("kernel_regularizer", "depthwise_regularizer", "pointwise_regularizer")
"""The arguments of Keras' layers that take a penalty of a kernel."""
RESIDUAL_INPUTS = 2
"""Inputs of an addition of a block: the branch and what passes by it."""


class Regularisation(Settings):
    """What is added to a backbone for training; 0 adds nothing."""

    stochastic_depth: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that a residual branch is left out for an example, for the last branch; it grows linearly from the first
    one on (Huang et al. 2016, section 3). For deep residual networks; 0.5 in the paper, 0.1 to 0.2 for small ones."""
    spatial_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the channels of each feature level that are hidden as a whole at each training step (Tompson et al.
    2015, section 3.2): single positions say the same as their neighbours."""
    l2: float = Field(default=0.0, ge=0.0)
    """Factor on the sum of all squared kernels of the backbone, added to the loss; not for biases and norms. With
    `adamw` prefer `train.optimizer.weight_decay`, which adaptive steps do not distort. `head.l2` is the head's."""

    def refine(self, image: Tensor, levels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The levels of the same network with this regularisation in it.

        Args:
            image: where the network begins.
            levels: feature level -> [B, h, w, F], finest first.

        Returns:
            Feature level -> [B, h, w, F], of a graph of its own with the same layer names and weights.

        Raises:
            ValueError: stochastic depth for a network without residual branches.
        """
        from models import activations, rewire

        if self == Regularisation():
            return dict(levels)
        rates = self._branch_rates(levels)
        names = {tensor.node.layer.name for tensor in levels.values()} if self.spatial_dropout else set()

        def replace(call: Call) -> Any:
            name = call.layer.name
            if rates and _leaves_out_branches(call.layer):
                return call.inputs  # the network's own rates give way to these
            if name in rates:
                branch, rate = rates[name]
                call = _through(call, branch, activations.StochasticDepth(rate, name=f"{name}_stochastic_depth"))
            output = _copy(call, self.l2)
            if name not in names:
                return output
            return keras.layers.SpatialDropout2D(self.spatial_dropout, name=f"{name}_spatial_dropout")(output)

        new = rewire.rewire(list(levels.values()), {image.ref(): image}, replace)
        return dict(zip(levels, new, strict=True))

    def _branch_rates(self, levels: Mapping[str, Tensor]) -> dict[str, tuple[int, float]]:
        """Name of each residual addition -> which of its inputs is the branch, and the chance to leave that out."""
        if not self.stochastic_depth:
            return {}
        branches = residual_branches(levels)
        if not branches:
            raise ValueError(
                "regularisation.stochastic_depth leaves out residual branches, of which this network has none. "
                "Set it to 0, use spatial_dropout, or choose a residual network such as small_resnet."
            )
        step = self.stochastic_depth / len(branches)
        return {name: (place, step * (number + 1)) for number, (name, place) in enumerate(branches.items())}


def l2_penalty(factor: float) -> keras.regularizers.Regularizer | None:
    """The penalty of a kernel; None for a factor of 0. Keras adds it once however many replicas there are."""
    return keras.regularizers.L2(factor) if factor else None


def residual_branches(levels: Mapping[str, Tensor]) -> dict[str, int]:
    """Name of each addition of a residual block -> which of its two inputs is the branch; first block first.

    The branch is the longer way from where the two part: what passes by it is a shortcut, with at most a convolution
    for another shape. Additions of ways of the same length have none.
    """
    from models.rewire import nodes_behind

    def behind(tensor: Tensor) -> set[str]:
        return set(nodes_behind([tensor]))

    additions = [node for node in nodes_behind(levels.values()).values() if isinstance(node.layer, keras.layers.Add)]
    found = {}
    for node in sorted(additions, key=lambda node: len(behind(node.outputs))):
        ways = [behind(tensor) for tensor in node.keras_inputs]
        common = ways[0].intersection(*ways)
        lengths = [len(way - common) for way in ways]
        if len(ways) == RESIDUAL_INPUTS and lengths[0] != lengths[1]:
            found[node.layer.name] = lengths.index(max(lengths))
    return found


def _leaves_out_branches(layer: keras.layers.Layer) -> bool:
    """Whether a published network brings this layer along for stochastic depth of its own."""
    from models.activations import StochasticDepth

    shape = getattr(layer, "noise_shape", None)
    return isinstance(layer, StochasticDepth) or (shape is not None and set(shape[1:]) == {1})


def _through(call: Call, place: int, layer: keras.layers.Layer) -> Call:
    """The call with one of its inputs passed through a layer first."""
    inputs = [layer(tensor) if number == place else tensor for number, tensor in enumerate(call.inputs)]
    return dataclasses.replace(call, inputs=inputs)


def _copy(call: Call, l2: float) -> Any:
    """As `rewire.copy`, with the penalty in the layer's configuration, so that saved models and copies keep it."""
    from models import rewire

    config = call.layer.get_config()
    penalties = {name: l2_penalty(l2) for name in KERNEL_REGULARISERS if name in config}
    if not l2 or not penalties or not call.layer.trainable:
        return rewire.copy(call)
    layer = call.layer.__class__.from_config({**config, **penalties})
    output = layer(call.inputs, **call.keywords)
    layer.set_weights(call.layer.get_weights())
    return output
