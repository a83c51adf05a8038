"""Networks that a technique has retrained, on their way into a file: in the strategy's scope, out of it, converted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipeline.compress.base import CompressionJob
from pipeline.compress.post_training import DynamicInt8, Float16, Float32, Int8, Int16x8

if TYPE_CHECKING:
    import tf_keras as keras

Stored = Annotated[Float32 | Float16 | DynamicInt8 | Int8 | Int16x8, Field(discriminator="kind")]
"""How a network that was made smaller is stored: any of the variants that need no training."""


def job_for(job: CompressionJob, network: keras.Model) -> CompressionJob:
    """The same job for another network, so that another technique can go on from it.

    Args:
        network: `image` float32 [B, H, W, C] 0..255 in, raw outputs of the same names out.
    """
    from models.graphs import with_byte_input

    return replace(job, model=with_byte_input(network, job.task.picture))


def fine_tuned(
    job: CompressionJob,
    network: keras.Model,
    epochs: int,
    learning_rate: float,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """A copy of a network after `epochs` passes over the training data, for conversion: with variables of its own
    outside of the strategy's scope. No epochs: a copy as it is."""
    from models.rewire import copy, rewired_model

    if not epochs:
        return rewired_model(network, copy)
    with job.scope():
        student = rewired_model(network, copy)
    job.fine_tune(student, epochs, learning_rate, callbacks=callbacks)
    return rewired_model(student, copy)
