"""Training on while kernels stay as sparse, or as clustered, as they are; loads TensorFlow.

tfmot has quantization schemes for that (`Default8BitPrunePreserveQuantizeScheme`, `...ClusterPreserve...`), which know
three classes of layers, hold one comparison of each weight with each cluster in memory, and unroll a loop over the
channels of a kernel into the graph. Here the kernels are brought back after each step, whatever wraps their layers and
on however many replicas: zeros to zero, and each cluster to its mean, which is the step that the cluster's value takes
on the mean of its weights' gradients (Han et al. 2016, section 3.3, with the mean for the sum).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from models.stack import keras, tf
from pipeline.compress.base import CompressionJob

WRAPPER_PREFIX = "quant_"
"""How layers with simulated quantization are called, by tfmot's custom."""

Projection = Callable[[tf.Tensor], tf.Tensor]
"""A kernel -> the nearest kernel of the structure to be kept."""


def zeros(kernel: np.ndarray) -> Projection:
    """Keeps what is zero in `kernel`."""
    mask = tf.constant(kernel != 0, kernel.dtype)
    return lambda weights: weights * mask


def clusters(kernel: np.ndarray) -> Projection:
    """Keeps equal what is equal in `kernel`, and zero what is zero."""
    values, indices = np.unique(kernel, return_inverse=True)
    where = tf.constant(indices.reshape(kernel.shape), tf.int32)
    nonzero = tf.constant(values != 0, kernel.dtype)

    def project(weights: tf.Tensor) -> tf.Tensor:
        means = tf.math.unsorted_segment_mean(weights, where, len(values))
        return tf.gather(means * nonzero, where)

    return project


class Preserved(keras.callbacks.Callback):
    """Brings kernels back to their structure after each step.

    Args:
        kernels: each with what brings it back.
    """

    def __init__(self, kernels: Sequence[tuple[tf.Variable, Projection]]):
        super().__init__()
        self.kernels = kernels

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        for kernel, project in self.kernels:
            kernel.assign(project(tf.convert_to_tensor(kernel)))


def preserving(
    job: CompressionJob, names: Iterable[str], structure: Callable[[np.ndarray], Projection]
) -> CompressionJob:
    """A job that fine-tunes while the kernels of layers keep the structure that they have when it starts.

    Args:
        names: of the layers; in the model that is fine-tuned they may be wrapped as `quant_...`.
        structure: `zeros` or `clusters`.
    """

    def fine_tune(
        model: keras.Model,
        epochs: int,
        learning_rate: float,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **others: Any,
    ) -> None:
        found = kernels(model)
        kept = [(found[name], structure(keras.backend.get_value(found[name]))) for name in names]
        job.fine_tune(model, epochs, learning_rate, callbacks=[*callbacks, Preserved(kept)], **others)

    return replace(job, fine_tune=fine_tune)


def kernels(model: keras.Model) -> dict[str, tf.Variable]:
    """Layer name -> the variable of its kernel, for layers with and without a wrapper. Wrappers put the tensor that
    they quantize in the place of the layer's attribute, so variables go by their names."""
    parts = [(variable.name.split(":")[0].split("/"), variable) for variable in model.variables]
    return {path[-2].removeprefix(WRAPPER_PREFIX): variable for path, variable in parts if path[-1] == "kernel"}
