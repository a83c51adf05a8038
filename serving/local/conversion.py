"""TensorProto to numpy and back, with TensorFlow's rules for short, long and missing values."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

from pipeline import console

MAX_BYTES = 2**31
"""Of one tensor: a few bytes can ask for any shape, since the last value is repeated."""

STRING = np.dtype(object)
"""Strings are `bytes` objects: they may hold zeros, which numpy's own strings lose."""

DTYPES: Mapping[int, np.dtype[Any]] = {
    types_pb2.DT_FLOAT: np.dtype(np.float32),
    types_pb2.DT_DOUBLE: np.dtype(np.float64),
    types_pb2.DT_INT32: np.dtype(np.int32),
    types_pb2.DT_UINT8: np.dtype(np.uint8),
    types_pb2.DT_INT16: np.dtype(np.int16),
    types_pb2.DT_INT8: np.dtype(np.int8),
    types_pb2.DT_STRING: STRING,
    types_pb2.DT_COMPLEX64: np.dtype(np.complex64),
    types_pb2.DT_INT64: np.dtype(np.int64),
    types_pb2.DT_BOOL: np.dtype(np.bool_),
    types_pb2.DT_BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    types_pb2.DT_UINT16: np.dtype(np.uint16),
    types_pb2.DT_COMPLEX128: np.dtype(np.complex128),
    types_pb2.DT_HALF: np.dtype(np.float16),
    types_pb2.DT_UINT32: np.dtype(np.uint32),
    types_pb2.DT_UINT64: np.dtype(np.uint64),
}
NUMBERS: Mapping[np.dtype[Any], int] = {dtype: number for number, dtype in DTYPES.items()}

FIELDS: Mapping[int, str] = {
    **dict.fromkeys((types_pb2.DT_INT32, types_pb2.DT_UINT8, types_pb2.DT_INT16, types_pb2.DT_INT8), "int_val"),
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
}
_HALVES = (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16)
_COMPLEX = {types_pb2.DT_COMPLEX64: np.float32, types_pb2.DT_COMPLEX128: np.float64}
_COPIED = ("float_val", "double_val", "scomplex_val", "dcomplex_val")
"""Fields whose wire form is the array's own little-endian bytes: no value is touched by Python."""


def dtype_name(number: int) -> str:
    """`float`, `int32`, `string`: TensorFlow's own words for a DataType."""
    return str(types_pb2.DataType.Name(number)).removeprefix("DT_").lower()


def array_of(tensor: TensorProto) -> np.ndarray[Any, Any]:
    """A tensor as numpy array; strings as objects of `bytes`.

    Missing values repeat the last one given (all zero where there is none), and more than the shape holds are left out.

    Raises:
        ValueError: it has no valid shape, a type that cannot be sent, or content of another length than its shape.
    """
    dtype = DTYPES.get(tensor.dtype)
    shape = tuple(axis.size for axis in tensor.tensor_shape.dim)
    if dtype is None or tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"no tensor of type {tensor.dtype} and shape {list(shape)}")
    count = math.prod(shape)
    if count * dtype.itemsize > MAX_BYTES:
        raise ValueError(f"shape {list(shape)} is larger than {MAX_BYTES} bytes")
    if tensor.tensor_content and dtype != STRING:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    return _filled(_values(tensor, dtype), count, dtype).reshape(shape)


def tensor_of(array: np.ndarray[Any, Any], *, content: bool = False) -> TensorProto:
    """An array as TensorProto.

    Args:
        array: of a type in `DTYPES`; strings as objects of `bytes`, or numpy's own.
        content: writes `tensor_content` in place of the typed field; strings have only the typed one.
    """
    if array.dtype.kind == "S":
        array = array.astype(STRING)
    tensor = TensorProto(dtype=NUMBERS[array.dtype])
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    if content and array.dtype != STRING:
        tensor.tensor_content = array.tobytes()
    else:
        _write_values(tensor, array)
    return tensor


def _values(tensor: TensorProto, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    values = getattr(tensor, FIELDS[tensor.dtype])
    if dtype == STRING:
        strings = np.empty(len(values), STRING)
        strings[:] = values
        return strings
    if tensor.dtype in _COMPLEX:
        parts = np.fromiter(values, _COMPLEX[tensor.dtype], len(values))
        return parts[: len(parts) // 2 * 2].view(dtype)
    if tensor.dtype in _HALVES:
        return np.fromiter(values, np.int32, len(values)).astype(np.uint16).view(dtype)
    if FIELDS[tensor.dtype] != "int_val":
        return np.fromiter(values, dtype, len(values))
    return _narrowed(np.fromiter(values, np.int32, len(values)), dtype)


def _narrowed(wide: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """As TensorFlow does it: without a look at the range. 300 becomes 44 as uint8."""
    narrow = wide.astype(dtype)
    if dtype != np.int32 and not np.array_equal(wide, narrow):
        _warn_of_wrapping(dtype.name)
    return narrow


@functools.cache
def _warn_of_wrapping(dtype: str) -> None:
    """Once for each type: a client that does it once does it all the time."""
    console.warn(f"a request held values outside {dtype}: they wrap around silently, here as in TF Serving")


def _filled(values: np.ndarray[Any, Any], count: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if len(values) == count:
        return values
    if len(values) > count:
        return values[:count]
    last = values[-1] if len(values) else (b"" if dtype == STRING else np.zeros((), dtype)[()])
    filled = np.full(count, last, dtype)
    filled[: len(values)] = values
    return filled


def _write_values(tensor: TensorProto, array: np.ndarray[Any, Any]) -> None:
    field = FIELDS[tensor.dtype]
    if field in _COPIED:
        tensor.MergeFromString(_packed(TensorProto.DESCRIPTOR.fields_by_name[field].number, array.tobytes()))
        return
    values = array.ravel()
    if tensor.dtype in _HALVES:
        values = values.view(np.uint16)
    getattr(tensor, field).extend(values.tolist())


def _packed(number: int, data: bytes) -> bytes:
    """A packed repeated field on the wire: key, length, data."""
    length, size = bytearray(), len(data)
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2,)) + bytes(length) + data
