"""The stored weights of a `.tflite` file: how many bytes they really take, how many are zero, how many differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.compress import flatbuffer

FILTERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"}
"""Operators whose second input is a kernel."""
LAST_AXIS = {"DEPTHWISE_CONV_2D", "BATCH_MATMUL"}
"""Those whose output channels are the kernel's last axis, not its first."""
UNPACKING = {"DEQUANTIZE", "RESHAPE"}
"""Operators that a stored kernel may pass before it is used, which leave its zeros and its distinct values as they
are."""
NUMPY = {"float32", "float16", "int8", "uint8", "int16", "int32"}
"""Number types that are stored as numpy stores them."""


@dataclass(frozen=True)
class StoredWeights:
    """What the weights of a file come to.

    Args:
        bytes: number type -> bytes of all stored tensors of it, as packed: two int4 values take one.
        sparsity: share of the kernels' values that are zero, 0..1; None where there is no kernel.
        distinct_values: most different values in one output channel of the largest kernel; None where there is none.
            Not over channels: a folded BatchNormalization multiplies each by a factor of its own.
    """

    bytes: dict[str, int]
    sparsity: float | None
    distinct_values: int | None


def stored_weights(model: Any) -> StoredWeights:
    """Reads the weights of a `ModelT`."""
    kernels = [rows for rows in (_rows(model, *found) for found in _kernels(model)) if rows.size]
    if not kernels:
        return StoredWeights(_bytes(model), None, None)
    zeros = sum(int(np.count_nonzero(rows == 0)) for rows in kernels)
    distinct = max(len(np.unique(row)) for row in max(kernels, key=lambda rows: rows.size))
    return StoredWeights(_bytes(model), zeros / sum(rows.size for rows in kernels), distinct)


def dtype_of(tensor: Any) -> str:
    """A tensor's number type, such as `int8`."""
    types = vars(flatbuffer.schema().TensorType)
    return next(name.lower() for name, value in types.items() if value == tensor.type)


def is_stored(model: Any, index: int) -> bool:
    """Whether a tensor's content lies in the file."""
    data = model.buffers[model.subgraphs[0].tensors[index].buffer].data
    return data is not None and len(data) > 0


def _bytes(model: Any) -> dict[str, int]:
    tensors = model.subgraphs[0].tensors
    # Tensors may share a buffer, which is there once.
    stored = {tensor.buffer: dtype_of(tensor) for index, tensor in enumerate(tensors) if is_stored(model, index)}
    sizes: Counter[str] = Counter()
    for buffer, dtype in stored.items():
        sizes[dtype] += len(model.buffers[buffer].data)
    return dict(sorted(sizes.items()))


def _kernels(model: Any) -> Iterator[tuple[Any, int]]:
    """The stored tensor behind each kernel and its axis of output channels, once; not of those that are computed from
    packed bits."""
    graph = model.subgraphs[0]
    makers = {int(output): operator for operator in graph.operators for output in operator.outputs}
    found = {}
    for operator in graph.operators:
        name = _name(model, operator)
        if name in FILTERS:
            index = int(operator.inputs[1])
            while index in makers and _name(model, makers[index]) in UNPACKING:
                index = int(makers[index].inputs[0])
            if is_stored(model, index) and dtype_of(graph.tensors[index]) in {*NUMPY, "int4"}:
                found[index] = -1 if name in LAST_AXIS else 0
    return ((graph.tensors[index], axis) for index, axis in found.items())


def _rows(model: Any, tensor: Any, axis: int) -> np.ndarray:
    """The stored values without zero point, [output channels, values]."""
    data, dtype = bytes(model.buffers[tensor.buffer].data), dtype_of(tensor)
    shape = [int(size) for size in tensor.shape]
    values = unpacked_int4(data)[: int(np.prod(shape))] if dtype == "int4" else np.frombuffer(data, dtype)
    quantization = tensor.quantization
    has_offset = quantization is not None and quantization.zeroPoint is not None and len(quantization.zeroPoint) == 1
    offset = int(quantization.zeroPoint[0]) if has_offset else 0  # with a scale a channel it is 0
    rows = np.moveaxis(values.reshape(shape), axis, 0).reshape(shape[axis], -1)
    return rows.astype(np.int32) - offset if offset else rows


def unpacked_int4(data: bytes) -> np.ndarray:
    """Two values of each byte, the lower half first, int8 -8..7."""
    packed = np.frombuffer(data, np.uint8)
    halves = np.stack([packed & 15, packed >> 4], axis=1).ravel().astype(np.int8)
    return np.where(halves > 7, halves - 16, halves).astype(np.int8)


def _name(model: Any, operator: Any) -> str:
    return flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex])
