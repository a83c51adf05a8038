"""Numpy arrays as TensorProtos and back.

Numbers are sent as `tensor_content`, the array's own bytes. They are read from there or from the typed fields, in which
fewer values than the shape asks for mean that the last one is repeated. Strings are arrays of Python `bytes`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import DataError
from pipeline.wording import quantity
from serving.remote.messages import message

STRING = "bytes"


class WireType(NamedTuple):
    """A type of tensors: its number and name in TensorFlow's DataType, and the typed field of its values."""

    number: int
    name: str
    field: str


TYPES = {
    "float32": WireType(1, "DT_FLOAT", "float_val"),
    "float64": WireType(2, "DT_DOUBLE", "double_val"),
    "int32": WireType(3, "DT_INT32", "int_val"),
    "uint8": WireType(4, "DT_UINT8", "int_val"),
    "int16": WireType(5, "DT_INT16", "int_val"),
    "int8": WireType(6, "DT_INT8", "int_val"),
    STRING: WireType(7, "DT_STRING", "string_val"),
    "complex64": WireType(8, "DT_COMPLEX64", "scomplex_val"),
    "int64": WireType(9, "DT_INT64", "int64_val"),
    "bool": WireType(10, "DT_BOOL", "bool_val"),
    "uint16": WireType(17, "DT_UINT16", "int_val"),
    "complex128": WireType(18, "DT_COMPLEX128", "dcomplex_val"),
    "float16": WireType(19, "DT_HALF", "half_val"),
    "uint32": WireType(22, "DT_UINT32", "uint32_val"),
    "uint64": WireType(23, "DT_UINT64", "uint64_val"),
}
"""By numpy's name, besides `bytes` for strings."""
BY_NUMBER = {kind.number: name for name, kind in TYPES.items()}
BY_NAME = {kind.name: name for name, kind in TYPES.items()}
STORED = {"complex64": "float32", "complex128": "float64", "float16": "uint16"}
"""What a typed field holds where numpy has another name for it: pairs of numbers, and the bits of half floats."""

TensorProto = message("TensorProto")


def to_proto(array: np.ndarray) -> Any:
    """A TensorProto of any shape; DataError where TF Serving has no such type."""
    proto = TensorProto()
    write(array, proto)
    return proto


def write(array: np.ndarray, proto: Any) -> None:
    """Fills an empty TensorProto; DataError where TF Serving has no such type."""
    name = type_name(array)
    proto.dtype = TYPES[name].number
    proto.tensor_shape.SetInParent()  # a scalar has a shape too, without axes
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if name == STRING:
        proto.string_val.extend(as_bytes(value) for value in array.ravel())
    else:
        proto.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def type_name(array: np.ndarray) -> str:
    """An array's entry in TYPES; DataError where TF Serving has no such type."""
    if array.dtype.kind in "OSU":
        return STRING
    if array.dtype.name not in TYPES:
        raise DataError(
            f"An array of {array.dtype.name} cannot be sent. TF Serving takes {', '.join(TYPES)}: convert it first."
        )
    return array.dtype.name


def as_bytes(value: Any) -> bytes:
    """A string of an array; text becomes UTF-8."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise DataError(f"An array of strings holds a {type(value).__name__}, expected bytes or text.")


def from_proto(proto: Any) -> np.ndarray:
    """The array in a TensorProto, writable; DataError where numpy has no such type or the values do not fill it."""
    if proto.dtype not in BY_NUMBER:
        raise DataError(
            f"The server answers with TensorFlow's type {proto.dtype}, which the client does not read. "
            f"It reads {', '.join(TYPES)}: cast the output in the model."
        )
    name = BY_NUMBER[proto.dtype]
    shape = [dim.size for dim in proto.tensor_shape.dim]
    values = _strings(proto) if name == STRING else _numbers(proto, name)
    return _filled(values, shape)


def _strings(proto: Any) -> np.ndarray:
    values = np.empty(len(proto.string_val), object)
    values[:] = proto.string_val
    return values


def _numbers(proto: Any, name: str) -> np.ndarray:
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, np.dtype(name).newbyteorder("<")).astype(name)
    stored = getattr(proto, TYPES[name].field)
    if name in STORED:
        return np.array(stored, STORED[name]).view(name)
    return np.array(stored, name)


def _filled(values: np.ndarray, shape: list[int]) -> np.ndarray:
    size = int(np.prod(shape, dtype=np.int64))
    if 0 < len(values) < size:
        values = np.concatenate([values, np.repeat(values[-1:], size - len(values))])
    if not len(values) and size:
        values = np.zeros(size, values.dtype) if values.dtype != object else np.full(size, b"", object)
    if len(values) != size:
        raise DataError(f"The server's answer holds {quantity(len(values), 'value')} for the shape {shape}.")
    return values.reshape(shape)
