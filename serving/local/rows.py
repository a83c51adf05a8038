"""Rows of many requests as one batch, and the rules for what can be one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np

from serving.errors import ServingError

Array = np.ndarray[Any, Any]


def num_rows(arrays: Sequence[Array]) -> int:
    """Length of the 0th axis, which all inputs of a request have to share.

    Raises:
        ServingError: INVALID_ARGUMENT, they do not.
    """
    if not arrays:
        raise _invalid("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in arrays):
        raise _invalid("Batching Run() input tensors must have at least one dimension")
    if any(len(array) != len(arrays[0]) for array in arrays):
        raise _invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return len(arrays[0])


def merged(requests: Sequence[Sequence[Array]], padding: int, *, pad: bool) -> list[Array]:
    """The inputs of all requests, one after the other.

    Args:
        requests: inputs of each, in the same order; all have rows.
        padding: rows to add at the end, copies of a request's first.
        pad: lengthens shorter inputs to the longest, along every axis but the 0th, with their own first value.

    Raises:
        ServingError: shapes differ, and `pad` is off or cannot help.
    """
    return [_merged([request[place] for request in requests], padding, pad) for place in range(len(requests[0]))]


def check_outputs(outputs: Sequence[Array], rows: int) -> None:
    """Raises ServingError where outputs cannot be shared out: they have no row for each row that went in."""
    for output in outputs:
        if output.ndim == 0:
            raise _precondition("Batched output tensor has 0 dimensions")
        if len(output) != rows:
            raise _precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )


def _merged(arrays: Sequence[Array], padding: int, pad: bool) -> Array:
    if len(arrays) == 1 and not padding:
        return arrays[0]
    if pad:
        arrays = _lengthened(arrays)
    elif any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        raise _precondition(
            "Tensors from different tasks have different shapes and padding is turned off. Set "
            "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions "
            "starting with the first dim."
        )
    rows = next((array[:1] for array in reversed(arrays) if len(array)), arrays[0][:0])
    return np.concatenate([*arrays, *([rows] * padding)])


def _lengthened(arrays: Sequence[Array]) -> list[Array]:
    if len({array.ndim for array in arrays}) > 1:
        raise _invalid("Tensors with different numbers of dimensions cannot be padded to one shape.")
    longest = np.max([array.shape[1:] for array in arrays], axis=0).astype(int) if arrays[0].ndim > 1 else ()
    return [_padded(array, tuple(longest)) for array in arrays]


def _padded(array: Array, shape: tuple[int, ...]) -> Array:
    if array.shape[1:] == shape:
        return array
    if array.size == 0:
        raise _invalid("Got empty tensor in batch of non-empty tensors.")
    padded = np.full((len(array), *shape), array.flat[0], array.dtype)
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _precondition(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)
