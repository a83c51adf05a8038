"""Channel pruning: whole channels are removed, so that the network that remains is smaller and faster everywhere.

After Li et al. 2017, "Pruning Filters for Efficient ConvNets". Which channels stand and fall together, says
`channel_groups`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from pipeline.compress.base import Compressed, Compression, CompressionJob
from pipeline.compress.channel_groups import Channels, channels_of, multiply_adds, without
from pipeline.compress.layer_choice import kept_layers
from pipeline.compress.post_training import DynamicInt8, Float16, Float32, Int8, Int16x8
from pipeline.compress.quantization_aware import Int8Qat
from pipeline.compress.shipping import fine_tuned, job_for
from pipeline.errors import ConfigError, ExportError
from pipeline.wording import quantity

if TYPE_CHECKING:
    import tf_keras as keras

SHOWN = 4
"""How many layers an error names."""

Then = Annotated[Float32 | Float16 | DynamicInt8 | Int8 | Int16x8 | Int8Qat, Field(discriminator="kind")]
"""How the smaller network goes on: it is a network like any other."""


class ChannelPruned(Compression):
    """A network with fewer channels: the file, the arithmetic and the memory shrink, on any hardware."""

    kind: Literal["channel_pruned"] = "channel_pruned"
    """Whole channels removed."""
    ratio: float = Field(default=0.3, gt=0, lt=1)
    """Share of the channels that is removed wherever channels may be. Weights and arithmetic shrink by its square: 0.3
    leaves about half of them."""
    importance: Literal["l1", "l2", "batch_norm"] = "l1"
    """Which channels go: those whose filters have the least sum of magnitudes (`l1`, Li et al. 2017, section 3.1) or of
    squares (`l2`), or the least scale in BatchNormalization (`batch_norm`, Liu et al. 2017, "Learning Efficient
    Convolutional Networks through Network Slimming", section 3). Each is taken relative to its layer's mean, and where
    several layers share channels, as along a residual stream, averaged (Fang et al. 2023, section 3.4)."""
    multiple_of: int = Field(default=1, ge=1)
    """Numbers of channels that remain are rounded up to a multiple of this; 8 or 16 suits most kernels."""
    epochs: int = Field(default=6, ge=0)
    """Passes over the training data with the channels gone; 0 only removes them."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of these epochs at its peak."""
    keep: tuple[str, ...] = ()
    """Layers whose own channels stay: `first`, `last`, names, or patterns such as `stage_1_*`. The network's outputs
    and frozen layers stay always, and so do channels that are read across, as ECA, CBAM's positions, self-attention and
    LayerNormalization do."""
    then: Then = Float16()
    """How the smaller network is stored: `float32`, `float16`, `dynamic_int8`, `int8`, `int16x8`, `int8_qat`, or one of
    them with its settings."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` of the smaller network.

        Raises:
            ConfigError: an entry of `keep` matches no layer, or `ratio` removes all channels of a layer.
            ExportError: no channel can be removed.
        """
        return self.compress(job).content

    def compress(self, job: CompressionJob) -> Compressed:
        """The file, and how much smaller the network has become."""
        trunk = job.trunk()
        smaller = fine_tuned(job, self.smaller(trunk), self.epochs, self.learning_rate)
        stored = self.then.compress(job_for(job, smaller))
        counts = {"parameters": trunk.count_params(), "multiply_adds": multiply_adds(trunk)}
        after = {"parameters": smaller.count_params(), "multiply_adds": multiply_adds(smaller)}
        says = ", ".join(f"{counts[name]:,} -> {after[name]:,} {name.replace('_', '-')}" for name in counts)
        facts = {**stored.facts, "before": counts, "after": after}
        return Compressed(stored.content, " ".join(filter(None, (says, stored.says))), facts)

    def smaller(self, network: keras.Model) -> keras.Model:
        """The network without its least important channels, before any fine-tuning; errors as of `convert`."""
        channels = channels_of(network, kept_layers(network, self.keep))
        return without(network, channels, self.removed(network, channels))

    def removed(self, network: keras.Model, channels: Channels) -> list[int]:
        """The units to remove; the same share of each set of layers that make units together."""
        sets = _sets(channels)
        if not sets:
            raise ExportError(
                "No channel of this network can be removed: each is an output, frozen, named in `keep`, or read by a "
                "layer that looks across channels. Unfreeze the backbone, or use `pruned` or `clustered` instead."
            )
        left = {makers: self._left(len(units)) for makers, units in sets.items()}
        empty = {makers: sets[makers] for makers, count in left.items() if not count}
        if empty:
            raise ConfigError(self._too_much(empty))
        scores = importances(network, channels, self.importance)
        chosen = {makers: sorted(units, key=lambda unit: scores[unit]) for makers, units in sets.items()}
        return [unit for makers, units in chosen.items() for unit in units[: len(units) - left[makers]]]

    def _left(self, count: int) -> int:
        left = count - round(self.ratio * count)
        return min(count, -(-left // self.multiple_of) * self.multiple_of)

    def _too_much(self, empty: Mapping[tuple[str, ...], list[int]]) -> str:
        makers, units = min(empty.items(), key=lambda item: len(item[1]))
        named = ", ".join(makers[:SHOWN]) + (" ..." if len(makers) > SHOWN else "")
        most = math.floor(100 - 50 / len(units)) / 100  # rounded up, it would remove all of them again
        return (
            f"A ratio of {self.ratio} leaves none of the {quantity(len(units), 'channel')} of {named}: nothing gets "
            f"through then. Use a ratio below {most}, or name these layers in `keep`."
        )


def _sets(channels: Channels) -> dict[tuple[str, ...], list[int]]:
    """Names of layers that make units together -> those units."""
    sets = defaultdict(list)
    for unit, filters in channels.makers().items():
        sets[tuple(sorted({name for name, _ in filters}))].append(unit)
    return dict(sets)


def importances(network: keras.Model, channels: Channels, by: str) -> dict[int, float]:
    """Unit -> how important it is, 1 being the mean of a layer."""
    kinds = {name: type(network.get_layer(name)).__name__ for name in channels.layers}
    normalisations = [name for name, kind in kinds.items() if kind == "BatchNormalization" and by == "batch_norm"]
    filters = [name for name, layer in channels.layers.items() if layer.makes]
    found = _means(channels, {name: _filter_norms(network.get_layer(name), by) for name in filters})
    # Where no BatchNormalization follows, the filters decide.
    return found | _means(channels, {name: _scales(network.get_layer(name)) for name in normalisations})


def _means(channels: Channels, norms: Mapping[str, np.ndarray]) -> dict[int, float]:
    values = defaultdict(list)
    for unit, value in _relative(channels, norms):
        values[unit].append(value)
    return {unit: float(np.mean(found)) for unit, found in values.items()}


def _relative(channels: Channels, norms: Mapping[str, np.ndarray]) -> Iterator[tuple[int, float]]:
    for name, norm in norms.items():
        relative = norm / max(float(norm.mean()), np.finfo(np.float32).tiny)
        yield from zip(channels.units(channels.layers[name].output), relative.tolist(), strict=True)


def _filter_norms(layer: keras.layers.Layer, by: str) -> np.ndarray:
    kernel = layer.get_weights()[0]
    flat = kernel.reshape(-1, kernel.shape[-1])
    return np.linalg.norm(flat, ord=2 if by == "l2" else 1, axis=0)


def _scales(layer: keras.layers.Layer) -> np.ndarray:
    return np.abs(layer.gamma.numpy()) if layer.scale else np.ones(layer.moving_mean.shape)
