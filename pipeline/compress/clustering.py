"""Weight clustering: each kernel keeps a handful of distinct values, so that the file zips to little more than their
indices.

After Han et al. 2016, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and
Huffman Coding", section 3. The training is tfmot's: the values are trained, and each weight may move to another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from models.settings import Settings
from models.stack import require_legacy_keras
from pipeline.compress.base import Compression, CompressionJob
from pipeline.compress.layer_choice import FIRST, LAST, chosen_layers
from pipeline.compress.post_training import Float16
from pipeline.compress.shipping import Stored, job_for
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tf_keras as keras

INITIALISATIONS = {
    "kmeans_plus_plus": "KMEANS_PLUS_PLUS",
    "linear": "LINEAR",
    "density": "DENSITY_BASED",
    "random": "RANDOM",
}
"""Our names of tfmot's `CentroidInitialization`s."""


class WeightClustering(Settings):
    """Which weights share values, and how many."""

    number_of_clusters: int = Field(default=32, ge=3, le=256)
    """Number of distinct values of a kernel, zero included where zeros are kept."""
    initialisation: Literal["kmeans_plus_plus", "linear", "density", "random"] = "kmeans_plus_plus"
    """Where the values start: drawn from the weights, far from each other (`kmeans_plus_plus`); evenly from the least
    to the greatest weight (`linear`, Han et al.'s choice); as many weights for each (`density`); or `random`."""
    epochs: int = Field(default=3, ge=1)
    """Passes over the training data."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Learning rate of these epochs at its peak."""
    keep: tuple[str, ...] = (FIRST, LAST)
    """Layers that stay as they are: `first`, `last`, names, or patterns such as `attention_*`. Depthwise convolutions,
    frozen layers, and kernels of fewer weights than there are clusters stay always."""

    def clustered(self, job: CompressionJob, network: keras.Model, *, keep_zeros: bool = False) -> keras.Model:
        """A copy of `network`, fine-tuned while its kernels have `number_of_clusters` values each.

        Args:
            keep_zeros: weights that are zero stay so.

        Raises:
            ConfigError: an entry of `keep` matches no layer, or no kernel has as many weights as clusters.
            ExportError: there is no layer to cluster.
        """
        names = self.layers(network)
        with job.scope():
            wrapped = self._wrapped(network, names, keep_zeros)
        job.fine_tune(wrapped, self.epochs, self.learning_rate)
        return _unwrapped(network, wrapped)

    def layers(self, network: keras.Model) -> list[str]:
        """Names of the layers whose kernels are clustered."""
        names = chosen_layers(network, self.keep, "cluster")
        sizes = {name: network.get_layer(name).kernel.shape.num_elements() for name in names}
        large = [name for name, size in sizes.items() if size > self.number_of_clusters]
        if not large:
            raise ConfigError(
                f"number_of_clusters is {self.number_of_clusters}, but the largest kernel of this network has "
                f"{max(sizes.values())} weights. Use fewer clusters, or leave the variant out."
            )
        return large

    def _wrapped(self, network: keras.Model, names: Sequence[str], keep_zeros: bool) -> keras.Model:
        require_legacy_keras()
        from tensorflow_model_optimization.clustering.keras import CentroidInitialization
        from tensorflow_model_optimization.python.core.clustering.keras.cluster_wrapper import ClusterWeights

        from models.rewire import copy, rewired_model

        student = rewired_model(network, copy)
        start = CentroidInitialization[INITIALISATIONS[self.initialisation]]

        def wrapper(name: str) -> Any:
            layer = student.get_layer(name)
            return ClusterWeights(layer, self.number_of_clusters, start, keep_zeros, name=name)

        wrappers = {name: wrapper(name) for name in names}
        return rewired_model(
            student, lambda call: wrappers.get(call.layer.name, call.layer)(call.inputs, **call.keywords)
        )


class Clustered(WeightClustering, Compression):
    """Kernels of a few distinct values each: the zipped file shrinks, the arithmetic does not."""

    kind: Literal["clustered"] = "clustered"
    """Weight clustering."""
    then: Stored = Float16()
    """How the clustered network is stored: `float32`, `float16`, `dynamic_int8`, `int8`, `int16x8`, or one of them with
    its settings."""

    def convert(self, job: CompressionJob) -> bytes:
        """A `.tflite` whose clustered kernels hold at most `number_of_clusters` values in each output channel: folding
        BatchNormalization into them, the converter scales each output channel by a number of its own.

        Raises:
            ConfigError, ExportError: as `clustered`.
        """
        return self.then.convert(job_for(job, self.clustered(job, job.trunk())))


def _unwrapped(network: keras.Model, wrapped: keras.Model) -> keras.Model:
    """A plain copy of `network` with the weights of `wrapped`, whose kernels tfmot has replaced by their clusters."""
    from models.rewire import copy, rewired_model

    plain = rewired_model(network, copy)
    for layer in plain.layers:
        trained = wrapped.get_layer(layer.name)
        if trained.__class__ is layer.__class__:
            layer.set_weights(trained.get_weights())
            continue
        trained.update_clustered_weights_associations()
        layer.kernel.assign(trained.get_weight_from_layer("kernel"))
        if layer.use_bias:
            layer.bias.assign(trained.layer.bias)
    return plain
