"""Weights of one, four and eight bits in a `.tflite` file, and the operators that unpack them.

LiteRT 2.3 multiplies int8 activations with int4 weights (convolution, depthwise, dense). For float activations the file
unpacks its weights itself, with builtin operators that every kernel set has:

four and eight bits   DEQUANTIZE with a scale a channel; LiteRT does it once, when the file is first run
blocks                DEQUANTIZE as [blocks, weights of a block], then RESHAPE
one bit               CAST of the bytes -> GATHER of eight signs each -> RESHAPE -> MUL by the scales, in every run

LiteRT's own block-wise int4 is not used: only XNNPACK's FULLY_CONNECTED computes it right. CONV_2D, DEQUANTIZE and the
other sets of kernels take such a file and give wrong numbers without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.compress import flatbuffer

FILTER_OPERATORS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
"""Operators whose second input are weights."""
EXACT = 1e-5
"""How far apart, relative to the greatest one, float weights may be that are the same up to rounding."""
SMALLEST_SCALE = np.float32(1e-12)
"""Scale of a channel that is 0 throughout: kernels want it above 0."""
TABLE = b"signs"
BYTES = np.arange(256, dtype=np.uint8)[:, np.newaxis]


@dataclass(frozen=True, eq=False)
class PackedWeights:
    """The weights of one layer: whole numbers and scales.

    Args:
        layer: its name, for messages.
        bits: 1 (codes -1 and 1), 4 (-7..7) or 8 (-127..127).
        codes: int8 [rows, blocks, weights of a block]; a row is an output channel.
        scales: float32 [rows, blocks, 1].
    """

    layer: str
    bits: int
    codes: np.ndarray
    scales: np.ndarray

    def values(self) -> np.ndarray:
        """What they stand for, float32 [rows, weights]."""
        return (self.codes * self.scales).reshape(len(self.codes), -1).astype(np.float32)

    def scaled(self, factors: np.ndarray) -> PackedWeights:
        """Every row times its factor [rows]; a negative one turns the codes round."""
        signs = np.where(factors < 0, -1, 1).astype(np.int8)[:, np.newaxis, np.newaxis]
        scales = self.scales * np.abs(factors).astype(np.float32)[:, np.newaxis, np.newaxis]
        return replace(self, codes=self.codes * signs, scales=np.maximum(scales, SMALLEST_SCALE))

    def packed(self) -> np.ndarray:
        """The bytes that are stored, the first weight in the lowest bits."""
        flat = self.codes.ravel()
        if self.bits == 1:
            return np.packbits(flat > 0, bitorder="little")
        if self.bits == 8:
            return flat.view(np.uint8)
        pairs = np.pad(flat, (0, flat.size % 2)).astype(np.uint8).reshape(-1, 2) & 15
        return (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8)


def store_packed(content: bytes, weights: Sequence[PackedWeights]) -> tuple[bytes, list[str]]:
    """The file with these weights packed. What it computes stays the same.

    Args:
        content: a float32 or full int8 file in which each layer has the values of its packed weights, or these times a
            factor for each channel, which the converter may have folded in.
        weights: of layers of that file; of four and eight bits in one block a row where the file is int8.

    Returns:
        The file, and the names of the layers whose weights it does not hold.
    """
    model = flatbuffer.unpack(content)
    waiting = list(weights)
    for place in list(_filters(model)):
        found = place.match(waiting)
        if found is not None:
            waiting.remove(next(one for one in waiting if one.layer == found.layer))
            place.store(found)
    return flatbuffer.pack(model), [one.layer for one in waiting]


@dataclass(frozen=True, eq=False)
class _Filter:
    """Stored weights of an operator of a file."""

    model: Any
    operator: Any
    name: str

    @property
    def tensor(self) -> Any:
        return self.model.subgraphs[0].tensors[self.operator.inputs[1]]

    @property
    def operands(self) -> tuple[int, int]:
        """Tensors of the activations and of the bias; -1 where there is none."""
        first = 2 if self.name == "TRANSPOSE_CONV" else 0
        inputs = [*self.operator.inputs, -1]
        return int(inputs[first]), int(inputs[3 if first else 2])

    @property
    def axis(self) -> int:
        """Which axis of the tensor is the output channel."""
        return 3 if self.name == "DEPTHWISE_CONV_2D" else 0

    @property
    def is_float(self) -> bool:
        return bool(self.tensor.type == flatbuffer.schema().TensorType.FLOAT32)

    def values(self) -> tuple[np.ndarray, float]:
        """The weights as float32 [rows, weights], and how far they may be from what they were made of."""
        data = bytes(self.model.buffers[self.tensor.buffer].data)
        if self.is_float:
            values = np.frombuffer(data, np.float32)
            return self._rows(values), EXACT * float(np.abs(values).max(initial=0.0))
        scales = np.asarray(self.tensor.quantization.scale, np.float32)
        rows = self._rows(np.frombuffer(data, np.int8)) * scales.reshape(-1, 1)
        return rows, 0.51 * float(scales.max())

    def _rows(self, flat: np.ndarray) -> np.ndarray:
        moved = np.moveaxis(flat.reshape(self.tensor.shape), self.axis, 0)
        return moved.reshape(moved.shape[0], -1)

    def match(self, waiting: Sequence[PackedWeights]) -> PackedWeights | None:
        """The packed weights that stand for these, with the factors that the converter has folded in."""
        rows, tolerance = self.values()
        alike = [one for one in waiting if one.values().shape == rows.shape]
        for one in alike:
            if np.abs(one.values() - rows).max() <= tolerance:
                return one
        for one in alike:
            factors = _factors(rows, one.values())
            if np.abs(one.values() * factors[:, np.newaxis] - rows).max() <= tolerance:
                return one.scaled(factors)
        return None

    def store(self, weights: PackedWeights) -> None:
        if self.is_float:
            self._unpack(weights)
        else:
            self._replace(weights)

    def _unpack(self, weights: PackedWeights) -> None:
        """Lets operators compute the float weights out of packed ones, shortly before they are needed."""
        unpack = _signs if weights.bits == 1 else _steps
        shape = [int(size) for size in self.tensor.shape]
        self.tensor.buffer = 0
        made = unpack(self.model, self.operator.inputs[1], shape, self.axis, weights)
        operators = self.model.subgraphs[0].operators
        before = next(place for place, other in enumerate(operators) if other is self.operator)
        operators[before:before] = made

    def _replace(self, weights: PackedWeights) -> None:
        """int8 weights by packed ones, and the bias, which is counted in steps of input scale x weight scale."""
        graph, tensor = self.model.subgraphs[0], self.tensor
        _quantize(tensor, self.axis, weights.bits, weights.scales)
        tensor.buffer = _add_buffer(self.model, _in_file_order(weights, self.axis))
        activations, given = self.operands
        if given < 0:
            return
        bias = graph.tensors[given]
        counts = np.frombuffer(bytes(self.model.buffers[bias.buffer].data), np.int32)
        steps = graph.tensors[activations].quantization.scale[0] * weights.scales.ravel()
        counted = np.round(counts * np.asarray(bias.quantization.scale) / steps)
        limits = np.iinfo(np.int32)
        bias.buffer = _add_buffer(self.model, np.clip(counted, limits.min, limits.max).astype(np.int32))
        bias.quantization.scale = steps.astype(np.float32)


def _filters(model: Any) -> Iterator[_Filter]:
    """Every stored filter, once."""
    graph = model.subgraphs[0]
    seen: set[int] = set()
    for operator in graph.operators:
        name = flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex])
        if name not in FILTER_OPERATORS or operator.inputs[1] in seen:
            continue
        data = model.buffers[graph.tensors[operator.inputs[1]].buffer].data
        if data is not None and len(data):
            seen.add(operator.inputs[1])
            yield _Filter(model, operator, name)


def _factors(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Per row, by how much `values` must be multiplied to come closest to `rows`."""
    squares = (values.astype(np.float64) ** 2).sum(axis=1)
    return (rows.astype(np.float64) * values).sum(axis=1) / np.where(squares, squares, 1.0)


def _steps(model: Any, index: int, shape: list[int], axis: int, weights: PackedWeights) -> list[Any]:
    builtin = flatbuffer.schema().BuiltinOperator
    if weights.codes.shape[1] == 1:
        stored = _add_tensor(model, shape, "INT4", _in_file_order(weights, axis))
        _quantize(model.subgraphs[0].tensors[stored], axis, weights.bits, weights.scales)
        return [_operator(model, builtin.DEQUANTIZE, [stored], index, version=6)]
    rows = [int(np.prod(weights.codes.shape[:2])), weights.codes.shape[2]]
    stored = _add_tensor(model, rows, "INT4", weights.packed())
    _quantize(model.subgraphs[0].tensors[stored], 0, weights.bits, weights.scales)
    blocks = _add_tensor(model, rows, "FLOAT32")
    unpack = _operator(model, builtin.DEQUANTIZE, [stored], blocks, version=6)
    return [unpack, _reshape(model, blocks, index, shape)]


def _signs(model: Any, index: int, shape: list[int], axis: int, weights: PackedWeights) -> list[Any]:
    schema = flatbuffer.schema()
    count, data = weights.codes.size, _in_file_order(weights, axis)
    bits = _add_tensor(model, [len(data)], "UINT8", data)
    places = _add_tensor(model, [len(data)], "INT32")
    signs = _add_tensor(model, [len(data), 8], "FLOAT32")
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = schema.TensorType.UINT8, schema.TensorType.INT32
    made = [
        _operator(model, schema.BuiltinOperator.CAST, [bits], places, schema.BuiltinOptions.CastOptions, cast),
        _operator(
            model,
            schema.BuiltinOperator.GATHER,
            [_table(model), places],
            signs,
            schema.BuiltinOptions.GatherOptions,
            schema.GatherOptionsT(),
        ),
    ]
    if count % 8:
        flat, cut = _add_tensor(model, [len(data) * 8], "FLOAT32"), _add_tensor(model, [count], "FLOAT32")
        made += [_reshape(model, signs, flat, [len(data) * 8]), _slice(model, flat, cut, count)]
        signs = cut
    filters = _add_tensor(model, shape, "FLOAT32")
    scale_shape = [size if place == axis else 1 for place, size in enumerate(shape)]
    scales = _add_tensor(model, scale_shape, "FLOAT32", weights.scales.astype(np.float32))
    multiply = _operator(
        model,
        schema.BuiltinOperator.MUL,
        [filters, scales],
        index,
        schema.BuiltinOptions.MulOptions,
        schema.MulOptionsT(),
    )
    return [*made, _reshape(model, signs, filters, shape), multiply]


def _table(model: Any) -> int:
    """The tensor [256, 8] that says which eight signs a byte stands for; made once, a file has one."""
    graph = model.subgraphs[0]
    for index, tensor in enumerate(graph.tensors):
        if tensor.name == TABLE:
            return index
    codes = np.where(np.unpackbits(BYTES, axis=1, bitorder="little"), 1, -1).astype(np.int8)
    table = PackedWeights("", 4, codes[np.newaxis], np.ones((1, 1, 1), np.float32))
    stored = _add_tensor(model, codes.shape, "INT4", table.packed())
    _quantize(graph.tensors[stored], 0, table.bits, table.scales)
    signs = _add_tensor(model, codes.shape, "FLOAT32")
    graph.tensors[signs].name = TABLE
    unpack = flatbuffer.schema().BuiltinOperator.DEQUANTIZE
    graph.operators.insert(0, _operator(model, unpack, [stored], signs, version=6))
    return signs


def _in_file_order(weights: PackedWeights, axis: int) -> np.ndarray:
    """The packed bytes of weights whose output channel is the first or the last axis of the file's tensor."""
    if axis == 0:
        return weights.packed()
    return replace(weights, codes=np.ascontiguousarray(weights.codes.reshape(len(weights.codes), -1).T)).packed()


def _quantize(tensor: Any, axis: int, bits: int, scales: np.ndarray) -> None:
    """Makes a tensor one of whole numbers with a scale for each slice along an axis."""
    schema = flatbuffer.schema()
    tensor.type = {4: schema.TensorType.INT4, 8: schema.TensorType.INT8}[bits]
    quantization = schema.QuantizationParametersT()
    quantization.scale = scales.astype(np.float32).ravel()
    quantization.zeroPoint = np.zeros(scales.size, np.int64)  # LiteRT asks for one a scale
    quantization.quantizedDimension = axis
    tensor.quantization = quantization


def _reshape(model: Any, source: int, target: int, shape: Sequence[int]) -> Any:
    schema = flatbuffer.schema()
    options = schema.ReshapeOptionsT()
    options.newShape = np.asarray(shape, np.int32)
    return _operator(
        model, schema.BuiltinOperator.RESHAPE, [source], target, schema.BuiltinOptions.ReshapeOptions, options
    )


def _slice(model: Any, source: int, target: int, count: int) -> Any:
    schema = flatbuffer.schema()
    ends = [_add_tensor(model, [1], "INT32", np.array([value], np.int32)) for value in (0, count)]
    return _operator(
        model,
        schema.BuiltinOperator.SLICE,
        [source, *ends],
        target,
        schema.BuiltinOptions.SliceOptions,
        schema.SliceOptionsT(),
    )


def _add_tensor(model: Any, shape: Sequence[int], dtype: str, data: np.ndarray | None = None) -> int:
    """A new tensor's index; without `data` it is computed by an operator."""
    schema, tensors = flatbuffer.schema(), model.subgraphs[0].tensors
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = b"", np.asarray(shape, np.int32), getattr(schema.TensorType, dtype)
    tensor.buffer = 0 if data is None else _add_buffer(model, data)
    tensors.append(tensor)
    return len(tensors) - 1


def _add_buffer(model: Any, data: np.ndarray) -> int:
    buffer = flatbuffer.schema().BufferT()
    buffer.data = np.frombuffer(data.tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _operator(
    model: Any,
    builtin: int,
    inputs: Sequence[int],
    output: int,
    options_type: int = 0,
    options: Any = None,
    version: int = 1,
) -> Any:
    operator = flatbuffer.schema().OperatorT()
    operator.opcodeIndex = _operator_code(model, builtin, version)
    operator.inputs, operator.outputs = np.asarray(inputs, np.int32), np.asarray([output], np.int32)
    operator.builtinOptionsType, operator.builtinOptions = options_type, options
    return operator


def _operator_code(model: Any, builtin: int, version: int) -> int:
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and not code.customCode:
            code.version = max(code.version, version)
            return index
    code = flatbuffer.schema().OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
