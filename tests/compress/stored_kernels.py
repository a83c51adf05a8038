"""The kernels in a `.tflite` file, read from its flatbuffer."""

from __future__ import annotations

import numpy as np

from pipeline.compress import flatbuffer

DTYPES = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8}
LAYERS = {"CONV_2D", "FULLY_CONNECTED"}


def stored_kernels(content: bytes) -> list[np.ndarray]:
    """Kernels [out, h, w, in] and [out, in], as they are stored, from the picture on."""
    model = flatbuffer.unpack(content)
    graph = model.subgraphs[0]
    unpacked = {operator.outputs[0]: operator.inputs[0] for operator in graph.operators if len(operator.inputs) == 1}
    types = {value: DTYPES[name] for name, value in vars(flatbuffer.schema().TensorType).items() if name in DTYPES}
    kernels = []
    for operator in graph.operators:
        if flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex]) in LAYERS:
            tensor = graph.tensors[unpacked.get(operator.inputs[1], operator.inputs[1])]
            data = bytes(model.buffers[tensor.buffer].data)
            kernels.append(np.frombuffer(data, types[tensor.type]).reshape(tensor.shape))
    return kernels


def share_of_zeros(kernel: np.ndarray) -> float:
    return float(np.mean(kernel == 0))


def most_values_of_a_channel(kernel: np.ndarray) -> int:
    return max(len(np.unique(channel)) for channel in kernel)


def most_in_a_group_of_four(kernel: np.ndarray) -> int:
    """The largest number of weights that are not zero in four neighbours along the last axis, the input channels."""
    rows = kernel.reshape(-1, kernel.shape[-1])
    padded = np.pad(rows != 0, ((0, 0), (0, -rows.shape[1] % 4)))
    return int(padded.reshape(len(rows), -1, 4).sum(-1).max())
