"""What a `.tflite` file really holds: operators, number types, sizes; without running it and without TensorFlow."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.compress import flatbuffer
from pipeline.compress.weights import dtype_of, is_stored, stored_weights
from pipeline.errors import ExportError

BORDER = {"QUANTIZE", "DEQUANTIZE"}
FLOATS = {"float16", "float32", "float64"}


@dataclass(frozen=True)
class TfliteTensor:
    """An input or output of a file.

    Args:
        name: in the signature.
        shape: as stored; the first axis is the picture.
        dtype: such as `uint8`.
        scale, zero_point: real = scale * (stored - zero_point); None and None where it is not quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class TfliteFile:
    """What a file holds.

    Args:
        bytes: its size.
        operators: name -> count, such as {"CONV_2D": 21, "SOFTMAX": 1}.
        float_operators: operators that compute in float inside the network, islands of Dequantize and Quantize among
            them. Not counted: Quantize of an input and Dequantize of an output, the decoding counted below, and
            Dequantize of stored float16 weights.
        decode_operators: operators of the task's decoding that stand in float behind the network on purpose, such as
            the two that bring standardised targets back to their units.
        dtypes: number type -> count of tensors of the graph, stored weights included.
        zipped_bytes: its size after deflate, as archives and app packages store it: pruning and clustering show here.
        weight_bytes: number type -> bytes of the stored tensors of it, as packed: two int4 values take one.
        sparsity: share of the stored kernels' values that are zero, 0..1; None where there is no kernel.
        distinct_values: most different values in one output channel of the largest stored kernel; None where there is
            none.
    """

    bytes: int
    operators: dict[str, int]
    float_operators: int
    decode_operators: int
    dtypes: dict[str, int]
    inputs: tuple[TfliteTensor, ...]
    outputs: tuple[TfliteTensor, ...]
    zipped_bytes: int
    weight_bytes: dict[str, int]
    sparsity: float | None
    distinct_values: int | None


def inspect_file(path: Path) -> TfliteFile:
    """Reads a `.tflite` file.

    Raises:
        ExportError: it is missing or no `.tflite` file.
    """
    if not path.is_file():
        raise ExportError(f"There is no file {path}; `convoy compress` and `convoy export` write .tflite files.")
    content = path.read_bytes()
    if content[4:8] != flatbuffer.FILE_IDENTIFIER:
        raise ExportError(f"{path} is no .tflite file: bytes 4 to 8 are {content[4:8]!r}, expected b'TFL3'.")
    return inspect_content(content)


def inspect_content(content: bytes) -> TfliteFile:
    """As `inspect_file`, of a file's bytes."""
    model = flatbuffer.unpack(content)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    names = [flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex]) for operator in graph.operators]
    floats = [
        operator
        for operator, name in zip(graph.operators, names, strict=True)
        if _computes_in_float(model, operator) and not (name in BORDER and _is_border(model, operator))
    ]
    decoding = [operator for operator in floats if _is_decoding(graph, operator)]
    weights = stored_weights(model)
    return TfliteFile(
        bytes=len(content),
        operators=dict(sorted(Counter(names).items())),
        float_operators=len(floats) - len(decoding),
        decode_operators=len(decoding),
        dtypes=dict(sorted(Counter(dtype_of(tensor) for tensor in graph.tensors).items())),
        inputs=tuple(_tensor(graph, entry) for entry in signature.inputs),
        outputs=tuple(_tensor(graph, entry) for entry in signature.outputs),
        zipped_bytes=zipped_size(content),
        weight_bytes=weights.bytes,
        sparsity=weights.sparsity,
        distinct_values=weights.distinct_values,
    )


def zipped_size(content: bytes) -> int:
    """Bytes after deflate."""
    return len(zlib.compress(content))


def _tensor(graph: Any, entry: Any) -> TfliteTensor:
    tensor = graph.tensors[entry.tensorIndex]
    quantization = tensor.quantization
    quantized = quantization is not None and quantization.scale is not None and len(quantization.scale) > 0
    return TfliteTensor(
        name=entry.name.decode(),
        shape=tuple(int(size) for size in tensor.shape),
        dtype=dtype_of(tensor),
        scale=float(quantization.scale[0]) if quantized else None,
        zero_point=int(quantization.zeroPoint[0]) if quantized else None,
    )


def _computes_in_float(model: Any, operator: Any) -> bool:
    """Whether an activation, that is a tensor without stored content, goes in or out as float."""
    graph = model.subgraphs[0]
    indices = [index for index in [*operator.inputs, *operator.outputs] if index >= 0]
    activations = (graph.tensors[index] for index in indices if not is_stored(model, index))
    return any(dtype_of(tensor) in FLOATS for tensor in activations)


def _is_border(model: Any, operator: Any) -> bool:
    """Whether it reads an input of the file, writes an output, feeds the decoding or reads it, or unpacks stored
    weights."""
    graph = model.subgraphs[0]
    source, target = operator.inputs[0], operator.outputs[0]
    readers = [other for other in graph.operators if target in other.inputs]
    feeds_decoding = bool(readers) and all(_is_decoding(graph, other) for other in readers)
    reads_decoding = flatbuffer.is_decoding(graph.tensors[source].name.decode())
    of_file = source in graph.inputs or target in graph.outputs
    return of_file or feeds_decoding or reads_decoding or is_stored(model, source)


def _is_decoding(graph: Any, operator: Any) -> bool:
    names = (graph.tensors[index].name for index in operator.outputs)
    return all(flatbuffer.is_decoding(name.decode()) for name in names)
