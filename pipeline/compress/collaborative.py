"""Pruning, clustering and quantization-aware training after each other, each keeping what the one before has won.

After tfmot's collaborative optimization (PQAT, CQAT, PCQAT), with quantization-aware training as in `int8_qat`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from models.settings import Settings
from pipeline.compress import convert
from pipeline.compress.base import Compression, CompressionJob
from pipeline.compress.clustering import WeightClustering
from pipeline.compress.pruning import MagnitudePruning
from pipeline.compress.quantization_aware import quantized_training

if TYPE_CHECKING:
    import tf_keras as keras

Structure = Callable[[np.ndarray], Any]


class Quantization(Settings):
    """The quantization-aware training at a chain's end."""

    epochs: int = Field(default=2, ge=0)
    """Passes over the training data with simulated quantization; 0 only calibrates."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Learning rate of these epochs at its peak."""


class Chain(Compression):
    """A network made sparse or clustered, then trained for int8 without losing that."""

    quantize: Quantization = Quantization()
    """The quantization-aware training at the end."""
    input_output: Literal["uint8", "int8", "float32"] = "uint8"
    """Type of the file's input and output. With uint8 a picture's bytes go in unchanged (scale 1, zero point 0).
    Outputs that are not between 0 and 1, such as a regression's, are float32 always."""

    def convert(self, job: CompressionJob) -> bytes:
        """A fully quantized `.tflite`, as sparse and as clustered as the steps before have made it.

        Raises:
            ConfigError, ExportError: as the steps of the chain.
        """
        quantized = self.quantized(job)
        content = convert.with_decoding(quantized, job.task, lambda model: convert.int8_file(model, job.calibration))
        return convert.with_input_output(content, self.input_output)

    def quantized(self, job: CompressionJob) -> keras.Model:
        """The network with simulated quantization at the end of the chain, which computes what the file will."""
        from pipeline.compress.preserving import preserving

        network, names, structure = self.structured(job)
        kept = preserving(job, names, structure)
        return quantized_training(kept, network, self.quantize.epochs, self.quantize.learning_rate)

    @abstractmethod
    def structured(self, job: CompressionJob) -> tuple[keras.Model, Sequence[str], Structure]:
        """The steps before quantization: the network, the names of its layers whose kernels have a structure, and
        what keeps it."""


class Pqat(Chain):
    """Pruned, then trained for int8 while zeros stay zero."""

    kind: Literal["pqat"] = "pqat"
    """Pruning and quantization-aware training."""
    prune: MagnitudePruning = MagnitudePruning()
    """The pruning."""

    def structured(self, job: CompressionJob) -> tuple[keras.Model, Sequence[str], Structure]:
        from pipeline.compress.preserving import zeros

        trunk = job.trunk()
        return self.prune.pruned(job, trunk), self.prune.layers(trunk), zeros


class Cqat(Chain):
    """Clustered, then trained for int8 while weights of one cluster stay equal."""

    kind: Literal["cqat"] = "cqat"
    """Clustering and quantization-aware training."""
    cluster: WeightClustering = WeightClustering()
    """The clustering."""

    def structured(self, job: CompressionJob) -> tuple[keras.Model, Sequence[str], Structure]:
        trunk = job.trunk()
        return _clustered(self.cluster, self.cluster.clustered(job, trunk))


class Pcqat(Chain):
    """Pruned, clustered, then trained for int8 while zeros stay zero and weights of one cluster equal: the smallest
    int8 file once zipped."""

    kind: Literal["pcqat"] = "pcqat"
    """Pruning, clustering and quantization-aware training."""
    prune: MagnitudePruning = MagnitudePruning()
    """The pruning."""
    cluster: WeightClustering = WeightClustering()
    """The clustering; zero is one of the values."""

    def structured(self, job: CompressionJob) -> tuple[keras.Model, Sequence[str], Structure]:
        sparse = self.prune.pruned(job, job.trunk())
        return _clustered(self.cluster, self.cluster.clustered(job, sparse, keep_zeros=True))


def _clustered(settings: WeightClustering, network: keras.Model) -> tuple[keras.Model, Sequence[str], Structure]:
    from pipeline.compress.preserving import clusters

    return network, settings.layers(network), clusters
