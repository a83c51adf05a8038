"""Reading packed weights out of a `.tflite` file, written apart from what writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from pipeline.compress import flatbuffer

KERNEL_SETS = {
    "XNNPACK": OpResolverType.AUTO,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}
FILE_ORDER = {"Conv2D": (3, 0, 1, 2), "Conv2DTranspose": (2, 0, 1, 3), "Dense": (1, 0)}


def nibbles(data: bytes, count: int) -> np.ndarray:
    """Two whole numbers a byte, -8..7, the lower half first."""
    values = [half - 16 if half > 7 else half for byte in data for half in (byte & 15, byte >> 4)]
    return np.array(values[:count], np.float32)


def signs(data: bytes, count: int) -> np.ndarray:
    """Eight signs a byte, the lowest bit first."""
    return np.array([1.0 if byte >> bit & 1 else -1.0 for byte in data for bit in range(8)][:count], np.float32)


def stored_weights(content: bytes, dtype: str) -> list[np.ndarray]:
    """What the tensors of `dtype` (`INT4`, `INT8`) with stored content and a scale a slice stand for."""
    model = flatbuffer.unpack(content)
    wanted = getattr(flatbuffer.schema().TensorType, dtype)
    found = []
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.type == wanted and data is not None and tensor.quantization is not None:
            raw, count = bytes(data), int(np.prod(tensor.shape))
            assert len(raw) == {"INT4": (count + 1) // 2, "INT8": count}[dtype]
            codes = nibbles(raw, count) if dtype == "INT4" else np.frombuffer(raw, np.int8).astype(np.float32)
            shape = [1] * len(tensor.shape)
            shape[tensor.quantization.quantizedDimension] = -1
            scales = np.asarray(tensor.quantization.scale, np.float32).reshape(shape)
            found.append(codes.reshape(tensor.shape) * scales)
    return found


def binary_weights(content: bytes) -> list[np.ndarray]:
    """What the bits stand for that MUL operators give their scales."""
    model = flatbuffer.unpack(content)
    graph = model.subgraphs[0]
    made_by = {int(operator.outputs[0]): operator for operator in graph.operators}
    found = []
    for operator in graph.operators:
        source = made_by.get(int(operator.inputs[0]))
        if name(model, operator) == "MUL" and source is not None and name(model, source) == "RESHAPE":
            while name(model, source) != "CAST":
                place = 1 if name(model, source) == "GATHER" else 0
                source = made_by[int(source.inputs[place])]
            bits = bytes(model.buffers[graph.tensors[source.inputs[0]].buffer].data)
            scales = graph.tensors[operator.inputs[1]]
            factors = np.frombuffer(bytes(model.buffers[scales.buffer].data), np.float32).reshape(scales.shape)
            shape = graph.tensors[operator.outputs[0]].shape
            found.append(signs(bits, int(np.prod(shape))).reshape(shape) * factors)
    return found


def name(model: Any, operator: Any) -> str:
    return flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex])


def in_file_order(layer: Any) -> np.ndarray:
    """A plain layer's kernel, as a `.tflite` file orders it."""
    kernel, kind = layer.get_weights()[0], type(layer).__name__
    if kind == "DepthwiseConv2D":
        return kernel.reshape(1, *kernel.shape[:2], -1)
    return kernel.transpose(FILE_ORDER[kind])


def answers(content: bytes, inputs: np.ndarray, kernels: str = "XNNPACK") -> np.ndarray:
    """The first output for each input."""
    interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=KERNEL_SETS[kernels])
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("serving_default")
    given = [runner(image=one[np.newaxis]) for one in inputs]
    return np.stack([next(iter(one.values()))[0] for one in given])
