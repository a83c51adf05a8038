"""Reading, joining and writing `.tflite` files as Python objects (the TFLite schema's object interface)."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from typing import Any

from models.graphs import VIEWS
from pipeline.errors import RunError

FILE_IDENTIFIER = b"TFL3"
DECODE_PREFIX = "decode/"
"""Names of tensors that belong to a decoding in float, behind a network or within, start with this; `inspect` tells
them apart by it."""


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
    """The file's content for a `ModelT`; what is equal in it is stored once."""
    from pipeline.compress.sharing_builder import SharingBuilder

    builder = SharingBuilder(1 << 20)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def operator_name(code: Any) -> str:
    """`CONV_2D` for an `OperatorCodeT`; the custom operator's own name, as TFLite's files call it, where it is one."""
    if code.customCode:
        return str(code.customCode.decode())
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    names = {value: name for name, value in vars(schema().BuiltinOperator).items() if isinstance(value, int)}
    return names[number]


def with_input_range(content: bytes, name: str, low: float, high: float) -> bytes:
    """A calibrated file whose input of this name is known to span low..high, whatever the calibration pictures
    spanned."""
    return with_ranges(content, {signature_inputs(content)[name]: (low, high)})


def output_names(content: bytes) -> list[str]:
    """The name of each operator's first output, in order: what the converter's deny list knows an operator by."""
    graph = unpack(content).subgraphs[0]
    return [graph.tensors[operator.outputs[0]].name.decode() for operator in graph.operators]


def with_decoding_inside(content: bytes, layers: Collection[str]) -> bytes:
    """A calibrated file in which what these Keras layers do is named as a decoding, so that it stays in float and is
    counted as one.

    Args:
        content: as converted from a Keras model, whose operators go by `model/layer/operation`, and what it gives by
            the layers in its signature.
    """
    if not layers:
        return content
    model = unpack(content)
    graph = model.subgraphs[0]
    given = {entry.tensorIndex: {entry.name.decode()} for entry in model.signatureDefs[0].outputs}
    inside, read = set(), set()
    for operator in graph.operators:
        done = given.get(operator.outputs[0]) or layers_of(graph.tensors[operator.outputs[0]].name.decode())
        if done and done <= {*layers}:
            inside.update(operator.outputs)
        else:
            read.update(operator.inputs)
    for tensor in (graph.tensors[index] for index in inside):
        tensor.name = DECODE_PREFIX.encode() + tensor.name
    for tensor in (graph.tensors[index] for index in inside - read):
        if tensor.type == schema().TensorType.FLOAT32:
            tensor.quantization = None  # without a range, no part of it can become int8
    return pack(model)


def is_decoding(name: str) -> bool:
    """Whether a tensor of this name belongs to a decoding in float."""
    return name.startswith(DECODE_PREFIX)


def layers_of(operator: str) -> set[str]:
    """The Keras layers that an operator does, of its name in the file: `serving/relu/Relu;serving/conv/Conv2D`."""
    return {path[1] for path in paths_of(operator) if len(path) > 1}


def paths_of(operator: str) -> list[list[str]]:
    """The model, the layer and what it does, of all that an operator's name in the file says it does."""
    parts = (part.split("/") for part in operator.split(";"))
    return [[model, *(name for name in names if name != VIEWS)] for model, *names in parts]


def border_operators(content: bytes) -> tuple[set[str], set[str]]:
    """Names of the operators that read the file's inputs, and of those that give its outputs."""
    model = unpack(content)
    graph = model.subgraphs[0]
    inputs, outputs = set(graph.inputs), set(graph.outputs)
    names = [(operator_name(model.operatorCodes[one.opcodeIndex]), one) for one in graph.operators]
    reading = {name for name, one in names if inputs & set(one.inputs)}
    return reading, {name for name, one in names if outputs & set(one.outputs)}


def signature_inputs(content: bytes) -> dict[str, int]:
    """What the signature calls each input of the file -> index of its tensor."""
    return {entry.name.decode(): int(entry.tensorIndex) for entry in unpack(content).signatureDefs[0].inputs}


def signature_outputs(content: bytes) -> dict[str, str]:
    """Name of each tensor that the file gives -> what the signature calls it."""
    model = unpack(content)
    graph = model.subgraphs[0]
    entries = model.signatureDefs[0].outputs
    return {graph.tensors[entry.tensorIndex].name.decode(): entry.name.decode() for entry in entries}


def ranges(content: bytes) -> dict[int, tuple[float, float]]:
    """Index of each activation inside a calibrated file, neither input nor output of it -> the extremes it took."""
    graph = unpack(content).subgraphs[0]
    border = {*graph.inputs, *graph.outputs}
    held = {index: tensor.quantization for index, tensor in enumerate(graph.tensors) if index not in border}
    return {
        index: (float(quantization.min[0]), float(quantization.max[0]))
        for index, quantization in held.items()
        if quantization is not None and quantization.min is not None and len(quantization.min)
    }


def with_ranges(content: bytes, ranges: Mapping[int, tuple[float, float]]) -> bytes:
    """A calibrated file with other ranges for the activations of these indices."""
    model = unpack(content)
    for index, (low, high) in ranges.items():
        quantization = model.subgraphs[0].tensors[index].quantization
        quantization.min, quantization.max = [low], [high]
    return pack(model)


def join(first: bytes, second: bytes, kept: Collection[str] = (), prefix: str = DECODE_PREFIX) -> bytes:
    """One file that runs `first` and feeds its outputs, by signature name, into `second`; gives `second`'s outputs.

    Both have one subgraph and one signature, and `first` gives what `second` takes, in the same types.

    Args:
        kept: outputs of `first`, by signature name, that are given too; those that it has.
        prefix: what the names of `second`'s tensors begin with from then on.
    """
    model, tail = unpack(first), unpack(second)
    graph, tail_graph = model.subgraphs[0], tail.subgraphs[0]
    moved = _move_tensors(model, tail, prefix)
    codes = _move_operator_codes(model, tail)
    for operator in tail_graph.operators:
        operator.opcodeIndex += codes
        operator.inputs = [moved[index] if index >= 0 else index for index in operator.inputs]
        operator.outputs = [moved[index] for index in operator.outputs]
        graph.operators.append(operator)
    given = [entry for entry in model.signatureDefs[0].outputs if entry.name.decode() in kept]
    for output in tail.signatureDefs[0].outputs:
        output.tensorIndex = moved[output.tensorIndex]
    model.signatureDefs[0].outputs = [*tail.signatureDefs[0].outputs, *given]
    graph.outputs = [entry.tensorIndex for entry in model.signatureDefs[0].outputs]
    _drop_unread(graph)
    return pack(model)


def without_detours(content: bytes) -> bytes:
    """A file in which no number goes from integers to floats only to become an integer again: it is rescaled."""
    model = unpack(content)
    graph = model.subgraphs[0]
    names = {index: operator_name(code) for index, code in enumerate(model.operatorCodes)}
    sources = {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if names[operator.opcodeIndex] == "DEQUANTIZE"
    }
    for operator in graph.operators:
        if names[operator.opcodeIndex] == "QUANTIZE" and operator.inputs[0] in sources:
            operator.inputs = [sources[operator.inputs[0]]]
    _drop_unread(graph)
    return pack(model)


def without_tail(content: bytes, tail: bytes) -> bytes:
    """What `join` made with `tail`, or that file changed since, without it: gives what `tail` takes, by its names."""
    model, other = unpack(content), unpack(tail)
    graph, places = model.subgraphs[0], _places_of_tail(model, other)
    of_tail = {places[index] for index in _sources(other.subgraphs[0]) if index in places}
    entries = other.signatureDefs[0].inputs
    for entry in entries:
        entry.tensorIndex = places[int(entry.tensorIndex)]
    graph.operators = [operator for operator in graph.operators if of_tail.isdisjoint(operator.outputs)]
    graph.outputs = [entry.tensorIndex for entry in entries]
    model.signatureDefs[0].outputs = entries
    _drop_unused_tensors(model)
    return pack(model)


def _places_of_tail(model: Any, tail: Any) -> dict[int, int]:
    """Tensor index in a tail -> in a file that ends with it.

    Found from the outputs on backwards: the converter orders operators by their names, in which Keras counts what a
    process has built so far, so that the same tail may come in another order.
    """
    ours, theirs = _sources(model.subgraphs[0]), _sources(tail.subgraphs[0])
    given = {entry.name: int(entry.tensorIndex) for entry in model.signatureDefs[0].outputs}
    pairs = [(int(entry.tensorIndex), given[entry.name]) for entry in tail.signatureDefs[0].outputs]
    places: dict[int, int] = {}
    while pairs:
        index, place = pairs.pop()
        if index not in places and index in theirs:
            operators = theirs[index], ours[place]
            for numbers in ("inputs", "outputs"):
                both = zip(*(getattr(one, numbers) for one in operators), strict=True)
                pairs += [(int(other), int(own)) for other, own in both]
        places[index] = place
    return places


def _sources(graph: Any) -> dict[int, Any]:
    """Tensor index -> the operator that gives it."""
    return {int(index): operator for operator in graph.operators for index in operator.outputs}


def _drop_unused_tensors(model: Any) -> None:
    """Those that no operator reads or gives, and that are not the file's own."""
    graph = model.subgraphs[0]
    held = {index for operator in graph.operators for index in (*operator.inputs, *operator.outputs)}
    kept = sorted(int(index) for index in held | {*graph.inputs, *graph.outputs} if index >= 0)
    moved = {-1: -1, **{old: new for new, old in enumerate(kept)}}
    graph.tensors = [graph.tensors[index] for index in kept]
    for holder in (graph, *graph.operators):
        holder.inputs = [moved[int(index)] for index in holder.inputs]
        holder.outputs = [moved[int(index)] for index in holder.outputs]
    for entry in (*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs):
        entry.tensorIndex = moved[int(entry.tensorIndex)]


def _drop_unread(graph: Any) -> None:
    """Takes out operators whose outputs nobody reads: what brought an output of the first file to floats, where the
    second does without it."""
    read = {*graph.outputs, *(index for operator in graph.operators for index in operator.inputs)}
    graph.operators = [operator for operator in graph.operators if not read.isdisjoint(operator.outputs)]


def _move_tensors(model: Any, tail: Any, prefix: str) -> dict[int, int]:
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
            tensor.name = prefix.encode() + tensor.name
            moved[index] = len(graph.tensors)
            graph.tensors.append(tensor)
    return moved


def _move_operator_codes(model: Any, tail: Any) -> int:
    """Appends the tail's operator codes; how far its indices into them have moved."""
    offset = len(model.operatorCodes)
    model.operatorCodes.extend(tail.operatorCodes)
    return offset
