"""Pruning: weights of least magnitude are set to zero while the network is trained on; what is zero zips to nothing.

After Zhu & Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model compression", and
Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks" (2 of 4). The training is tfmot's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from models.settings import Settings
from models.stack import require_legacy_keras
from pipeline.compress.base import Compression, CompressionJob
from pipeline.compress.layer_choice import FIRST, LAST, chosen_layers
from pipeline.compress.post_training import Float16
from pipeline.compress.shipping import Stored, job_for
from pipeline.errors import ConfigError, ExportError
from pipeline.wording import quantity

if TYPE_CHECKING:
    import tf_keras as keras

ZEROS, GROUP = 2, 4
"""`pruned_2_4`: how many weights are zero in each group of how many."""


class MagnitudePruning(Settings):
    """Which weights become zero, and when."""

    sparsity: float = Field(default=0.5, gt=0, lt=1)
    """Share of each pruned kernel's weights that are zero in the end."""
    begin: float = Field(default=0.0, ge=0, le=1)
    """Share of the fine-tuning's steps before the first weight is removed."""
    end: float = Field(default=0.5, ge=0, le=1)
    """Share of the fine-tuning's steps after which no more are removed; the rest is for recovery."""
    frequency: int = Field(default=20, ge=1)
    """Steps from one removal to the next."""
    epochs: int = Field(default=4, ge=1)
    """Passes over the training data."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of these epochs at its peak; too low a rate leaves no time to recover."""
    keep: tuple[str, ...] = (FIRST, LAST)
    """Layers that stay dense: `first`, `last`, names, or patterns such as `attention_*`. The first and the last layer
    hold few weights and lose most by it; depthwise convolutions and frozen layers stay dense always."""

    @model_validator(mode="after")
    def _begin_before_end(self) -> MagnitudePruning:
        if self.begin > self.end:
            raise ValueError(f"begin {self.begin} is after end {self.end}: weights are removed between the two")
        return self

    def pruned(self, job: CompressionJob, network: keras.Model) -> keras.Model:
        """A copy of `network`, fine-tuned while its weights of least magnitude become zero.

        Raises:
            ConfigError: an entry of `keep` matches no layer.
            ExportError: there is no layer to prune, or the sparsity leaves none of a layer's weights.
        """
        from pipeline.compress.pruning_schedule import PolynomialShares, PruningSteps

        schedule = PolynomialShares(self.sparsity, self.begin, self.end, self.frequency)
        options = {"pruning_schedule": schedule}
        steps = PruningSteps(schedule)
        return _fine_tuned(job, network, self.layers(network), options, self.epochs, self.learning_rate, steps)

    def layers(self, network: keras.Model) -> list[str]:
        """Names of the layers whose kernels are pruned; errors as of `pruned`."""
        names = chosen_layers(network, self.keep, "prune")
        _require_weights_left(network, names, self.sparsity)
        return names


class Pruned(MagnitudePruning, Compression):
    """Weights of least magnitude set to zero while training on: the zipped file shrinks, the arithmetic does not."""

    kind: Literal["pruned"] = "pruned"
    """Magnitude pruning on the polynomial schedule."""
    then: Stored = Float16()
    """How the pruned network is stored: `float32`, `float16`, `dynamic_int8`, `int8`, `int16x8`, or one of them with
    its settings."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` whose pruned kernels hold at least `sparsity` zeros.

        Raises:
            ConfigError, ExportError: as `pruned`.
        """
        return self.then.convert(job_for(job, self.pruned(job, job.trunk())))


class Pruned2Of4(Compression):
    """Two of each four neighbouring weights set to zero, for hardware that skips them, such as Nvidia's sparse tensor
    cores. The neighbours are input channels, which stand together in the file."""

    kind: Literal["pruned_2_4"] = "pruned_2_4"
    """Two of each four weights are zero."""
    epochs: int = Field(default=4, ge=1)
    """Passes over the training data after the weights were removed, which happens at the first step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of these epochs at its peak."""
    keep: tuple[str, ...] = (FIRST, LAST)
    """Layers that stay dense: `first`, `last`, names, or patterns such as `attention_*`. Depthwise convolutions, frozen
    layers, and layers with less than four input channels stay dense always."""
    then: Stored = Float16()
    """How the pruned network is stored: `float32`, `float16`, `dynamic_int8`, `int8`, `int16x8`, or one of them with
    its settings."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` whose pruned kernels hold at most two weights in each four along their input channels.

        Raises:
            ConfigError: an entry of `keep` matches no layer.
            ExportError: there is no layer to prune.
        """
        from pipeline.compress.pruning_schedule import PruningSteps

        network = job.trunk()
        names = _with_whole_groups(network, chosen_layers(network, self.keep, "prune"))
        options = {"sparsity_m_by_n": (ZEROS, GROUP)}
        pruned = _fine_tuned(job, network, names, options, self.epochs, self.learning_rate, PruningSteps())
        return self.then.convert(job_for(job, pruned))


def _with_whole_groups(network: keras.Model, names: Sequence[str]) -> list[str]:
    """Those layers that have four input channels or more.

    Raises:
        ExportError: none has.
    """
    whole = [name for name in names if network.get_layer(name).kernel.shape[-2] >= GROUP]
    if not whole:
        raise ExportError(
            f"None of the layers {', '.join(names)} has {GROUP} input channels or more, of which pruned_2_4 could "
            f"remove {ZEROS}. Use the variant `pruned`, or a wider network."
        )
    return whole


def _require_weights_left(network: keras.Model, names: Sequence[str], sparsity: float) -> None:
    sizes = {name: int(np.prod(network.get_layer(name).kernel.shape)) for name in names}
    empty = [name for name, size in sizes.items() if size * (1.0 - sparsity) < 1.0]
    if empty:
        most = 1.0 - 1.0 / min(sizes.values())
        raise ConfigError(
            f"A sparsity of {sparsity} leaves none of the {quantity(min(sizes.values()), 'weight')} of "
            f"{', '.join(empty)}. Use {int(most * 1000) / 1000} or less, or name these layers in `keep`."
        )


def _fine_tuned(
    job: CompressionJob,
    network: keras.Model,
    names: Sequence[str],
    options: dict[str, Any],
    epochs: int,
    learning_rate: float,
    steps: keras.callbacks.Callback,
) -> keras.Model:
    """A copy of `network` after a training in which tfmot prunes the layers `names` as its `options` say."""
    require_legacy_keras()
    from models.rewire import copy, rewired_model
    from pipeline.compress import pruning_schedule

    with job.scope():
        student = rewired_model(network, copy)
        wrappers = {name: pruning_schedule.Pruned(student.get_layer(name), **options) for name in names}
        wrapped = rewired_model(
            student, lambda call: wrappers.get(call.layer.name, call.layer)(call.inputs, **call.keywords)
        )
    job.fine_tune(wrapped, epochs, learning_rate, callbacks=[steps])
    return rewired_model(student, copy)  # the wrappers share its layers
