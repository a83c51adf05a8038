"""Which layers of a network a technique works on: those that hold most weights, but for those that it must leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, ExportError, nearest
from pipeline.wording import quantity

if TYPE_CHECKING:
    import tf_keras as keras

FIRST = "first"
LAST = "last"
CHOSEN_CLASSES = ("Conv2D", "Dense")
"""Layers whose kernels are pruned and clustered. Depthwise convolutions are not: they hold about one weight in a
hundred, and lose most (Zhu & Gupta 2017, section 4; tfmot clusters none either)."""
KERNEL_CLASSES = (*CHOSEN_CLASSES, "DepthwiseConv2D", "Conv2DTranspose", "SeparableConv2D", "Conv1D")


def chosen_layers(network: keras.Model, keep: Sequence[str], purpose: str) -> list[str]:
    """Names of the convolutions and dense layers to work on, in the network's order.

    Frozen layers, such as the fixed normalisation of pictures, are never among them.

    Args:
        keep: layers to leave as they are: `first`, `last`, names, or patterns such as `attention_*`.
        purpose: what is to be done with them, for messages: `prune`.

    Raises:
        ConfigError: an entry of `keep` matches no layer.
        ExportError: no layer is left.
    """
    possible = [
        layer.name for layer in network.layers if layer.__class__.__name__ in CHOSEN_CLASSES and layer.trainable
    ]
    kept = kept_layers(network, keep)
    chosen = [name for name in possible if name not in kept]
    if not chosen:
        raise ExportError(
            f"There is no layer to {purpose}: the network has {quantity(len(network.layers), 'layer')}, of which "
            f"{len(possible)} can be chosen (convolutions and dense layers that are trained), and `keep` "
            f"({', '.join(keep) or 'empty'}) leaves none of them. Take entries out of the variant's `keep`, train the "
            "backbone too (train.phases), or leave the variant out."
        )
    return chosen


def kept_layers(network: keras.Model, keep: Sequence[str]) -> set[str]:
    """Names of the layers that the entries of a `keep` setting stand for.

    Raises:
        ConfigError: an entry matches no layer.
    """
    names = [layer.name for layer in network.layers]
    kept: set[str] = set()
    for entry in keep:
        if entry in (FIRST, LAST):
            kept |= _ends(network)[entry]
            continue
        matching = {name for name in names if fnmatchcase(name, entry)}
        if not matching:
            raise ConfigError(
                f"`keep` names {entry!r}, but no layer is called so. {nearest(entry, _with_kernel(network))}"
            )
        kept |= matching
    return kept


def _with_kernel(network: keras.Model) -> list[str]:
    from models.backbones import NORMALISE

    layers = (layer for layer in network.layers if layer.__class__.__name__ in KERNEL_CLASSES)
    return [layer.name for layer in layers if layer.name != NORMALISE]


def _ends(network: keras.Model) -> dict[str, set[str]]:
    """The layers with a kernel that rest on no other one, and those that no other one rests on."""
    from models.graphs import nodes_behind

    names = set(_with_kernel(network))
    nodes = nodes_behind(network.outputs)

    def behind(tensors: Iterable[object]) -> set[str]:
        return names & set(nodes_behind(tensors))

    rests_on = {name: behind([nodes[name].outputs]) - {name} for name in names}
    first = {name for name, others in rests_on.items() if not others}
    return {FIRST: first, LAST: names - set().union(*rests_on.values())}
