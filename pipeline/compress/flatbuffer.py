"""Reading, joining and writing `.tflite` files as Python objects (the TFLite schema's object interface)."""

from __future__ import annotations

import struct
from typing import Any

from pipeline.errors import RunError

FILE_IDENTIFIER = b"TFL3"
DECODE_PREFIX = "decode/"
"""Names of tensors that belong to a decoding appended in float start with this; `inspect` tells them apart by it."""


def schema() -> Any:
    """The generated module of the TFLite schema; imported on use, it takes a moment."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def unpack(content: bytes) -> Any:
    """The `ModelT` of a file's content; bytes appended behind the flatbuffer (MediaPipe's label files) are ignored.

    Raises:
        RunError: the content is cut short.
    """
    try:
        return schema().ModelT.InitFromPackedBuf(content, 0)
    except struct.error as error:
        raise RunError(f"A .tflite file of {len(content):,} bytes is damaged ({error}). Compress again.") from error


def pack(model: Any) -> bytes:
    """The file's content for a `ModelT`."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def operator_name(code: Any) -> str:
    """`CONV_2D` for an `OperatorCodeT`; the custom operator's own name, as TFLite's files call it, where it is one."""
    if code.customCode:
        return str(code.customCode.decode())
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    names = {value: name for name, value in vars(schema().BuiltinOperator).items() if isinstance(value, int)}
    return names[number]


def with_input_range(content: bytes, low: float, high: float) -> bytes:
    """A calibrated file whose pictures are known to span low..high, whatever the calibration pictures spanned."""
    model = unpack(content)
    graph = model.subgraphs[0]
    for index in graph.inputs:
        graph.tensors[index].quantization.min = [low]
        graph.tensors[index].quantization.max = [high]
    return pack(model)


def join(first: bytes, second: bytes) -> bytes:
    """One file that runs `first` and feeds its outputs, by signature name, into `second`; gives `second`'s outputs.

    Both have one subgraph and one signature, and `first` gives exactly what `second` takes, in the same types.
    """
    model, tail = unpack(first), unpack(second)
    graph, tail_graph = model.subgraphs[0], tail.subgraphs[0]
    moved = _move_tensors(model, tail)
    codes = _move_operator_codes(model, tail)
    for operator in tail_graph.operators:
        operator.opcodeIndex += codes
        operator.inputs = [moved[index] if index >= 0 else index for index in operator.inputs]
        operator.outputs = [moved[index] for index in operator.outputs]
        graph.operators.append(operator)
    graph.outputs = [moved[index] for index in tail_graph.outputs]
    for output in tail.signatureDefs[0].outputs:
        output.tensorIndex = moved[output.tensorIndex]
    model.signatureDefs[0].outputs = tail.signatureDefs[0].outputs
    return pack(model)


def _move_tensors(model: Any, tail: Any) -> dict[int, int]:
    """Appends the tail's tensors and buffers, but for its inputs, which are `model`'s outputs.

    Returns:
        Tensor index in the tail -> in `model`.
    """
    graph, tail_graph = model.subgraphs[0], tail.subgraphs[0]
    outputs = {output.name: output.tensorIndex for output in model.signatureDefs[0].outputs}
    moved = {entry.tensorIndex: outputs[entry.name] for entry in tail.signatureDefs[0].inputs}
    first_buffer = len(model.buffers)
    model.buffers.extend(tail.buffers)
    for index, tensor in enumerate(tail_graph.tensors):
        if index not in moved:
            tensor.buffer += first_buffer
            tensor.name = DECODE_PREFIX.encode() + tensor.name
            moved[index] = len(graph.tensors)
            graph.tensors.append(tensor)
    return moved


def _move_operator_codes(model: Any, tail: Any) -> int:
    """Appends the tail's operator codes; how far its indices into them have moved."""
    offset = len(model.operatorCodes)
    model.operatorCodes.extend(tail.operatorCodes)
    return offset
