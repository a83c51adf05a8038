"""JSON values as TensorProtos, by the type that a signature asks for.

A value is first read as a whole: flattened level by level, checked and converted by C code. What is irregular in any
way is then read value by value, in TF Serving's order, so that the error is the one that TF Serving finds first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pybase64
from grpc import StatusCode
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.errors import ServingError
from serving.local.conversion import DTYPES, dtype_name, tensor_of
from serving.local.rest.json_value import as_bytes, is_base64, shown, type_name

MAX_AXES = 254
"""TensorFlow's own limit."""

NARROW = (types_pb2.DT_INT32, types_pb2.DT_INT16, types_pb2.DT_INT8, types_pb2.DT_UINT8)
"""Types for which TF Serving asks for an integer of 32 bits, whatever they hold."""
RANGES = {
    **dict.fromkeys(NARROW, (-(2**31), 2**31 - 1)),
    types_pb2.DT_INT64: (-(2**63), 2**63 - 1),
    types_pb2.DT_UINT32: (0, 2**32 - 1),
    types_pb2.DT_UINT64: (0, 2**64 - 1),
}
_FLOATS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)
_CONVERTIBLE = (*_FLOATS, *RANGES, types_pb2.DT_BOOL, types_pb2.DT_STRING)
_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)([=.]*)")
_NUM_PADDING = {0: 0, 2: 2, 3: 1}
"""Equals signs after the characters of the last group; one character alone is no byte."""


def whole_tensor(value: Any, dtype: int) -> TensorProto | None:
    """The tensor of a value, its shape being the nesting; None where the value is irregular or of another type.

    An int16, int8 or uint8 outside its range wraps around, as in TF Serving; the server warns when it reads the tensor.
    """
    flat, shape = _flattened(value)
    values = None if flat is None else _values(flat, dtype)
    return None if values is None else _as_proto(values.reshape(shape), dtype)


def tensor(value: Any, dtype: int) -> TensorProto:
    """As `whole_tensor`, but raises ServingError with what TF Serving says of an irregular value."""
    found = whole_tensor(value, dtype)
    if found is not None:
        return found
    shape = shape_of(value)
    return tensor_of_scalars(scalars_of(value, dtype, shape), dtype, shape)


def tensor_of_scalars(scalars: list[Any], dtype: int, shape: Sequence[int]) -> TensorProto:
    """The tensor of what `scalars_of` has found; of more values than the shape holds, the first."""
    values = _values(scalars[: math.prod(shape)], dtype)
    if values is None:
        raise _not_convertible(scalars, dtype)
    return _as_proto(values.reshape(shape), dtype)


def shape_of(value: Any) -> list[int]:
    """The sizes of the first element at each level.

    Raises:
        ServingError: INVALID_ARGUMENT where TensorFlow has no tensor of so many axes.
    """
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > MAX_AXES:
            raise _invalid(f"JSON value is nested deeper than {MAX_AXES} levels, the most axes that a tensor can have")
        value = value[0] if value else None
    return shape


def scalars_of(value: Any, dtype: int, shape: Sequence[int], level: int = 0) -> list[Any]:
    """All scalars of a value in order, each fit for `dtype`; ServingError at the first thing that does not fit."""
    if not isinstance(value, list):
        if level != len(shape):
            place = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            raise _invalid(f"JSON Value: {shown(value)} {place}")
        return [_checked(value, dtype)]
    if level >= len(shape):
        raise _invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        place = f"at level: {level} expected size: {shape[level]}"
        raise _invalid(f"Encountered list at unexpected size: {len(value)} {place}")
    return [scalar for item in value for scalar in scalars_of(item, dtype, shape, level + 1)]


def from_base64(text: str | bytes) -> bytes | None:
    """What Abseil makes of base64: it skips white space and asks for no padding. None where it refuses."""
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        found = _BASE64.fullmatch(b"".join(as_bytes(text).split()))
    if found is None or len(found[1]) % 4 not in _NUM_PADDING:
        return None
    padding = _NUM_PADDING[len(found[1]) % 4]
    return pybase64.b64decode(found[1] + b"=" * padding) if len(found[2]) in (0, padding) else None


def decoded(value: Any) -> bytes:
    """The bytes of `{"b64": "..."}`; ServingError where it is not that."""
    if not is_base64(value):
        raise _invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    found = from_base64(value["b64"])
    if found is None:
        raise _invalid("Unable to base64 decode")
    return found


def _flattened(value: Any) -> tuple[list[Any] | None, tuple[int, ...]]:
    """All scalars and the shape; no scalars where lists of one level differ in length or stand beside scalars."""
    if type(value) is not list:
        return [value], ()
    shape = [len(value)]
    while value and type(value[0]) is list:
        if set(map(type, value)) != {list} or len(set(map(len, value))) != 1 or len(shape) == MAX_AXES:
            return None, ()
        shape.append(len(value[0]))
        value = list(chain.from_iterable(value))
    return value, tuple(shape)


def _values(flat: list[Any], dtype: int) -> np.ndarray[Any, Any] | None:
    """A flat array; integers of the narrow types still have 32 bits. None where a value does not fit."""
    kinds = set(map(type, flat))
    if dtype not in DTYPES or (flat and dtype not in _CONVERTIBLE):
        return None
    if not flat:
        return np.empty(0, DTYPES[dtype])
    if dtype == types_pb2.DT_STRING:
        return _strings(flat, kinds)
    if dtype in _FLOATS:
        return _floats(flat, dtype) if kinds <= {int, float} else None
    if dtype == types_pb2.DT_BOOL:
        return np.array(flat, np.bool_) if kinds <= {bool} else None
    return _integers(flat, dtype) if kinds <= {int} else None


def _floats(flat: list[Any], dtype: int) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore", under="ignore"):  # too large is infinite, too small is zero
        return np.array(flat, np.float64).astype(DTYPES[dtype])


def _integers(flat: list[int], dtype: int) -> np.ndarray[Any, Any] | None:
    wide = np.uint64 if RANGES[dtype][0] == 0 else np.int64
    try:
        values = np.array(flat, wide)
    except OverflowError:
        return None
    if not RANGES[dtype][0] <= int(values.min()) <= int(values.max()) <= RANGES[dtype][1]:
        return None
    return values.astype(np.int32 if dtype in NARROW else DTYPES[dtype])


def _strings(flat: list[Any], kinds: set[type]) -> np.ndarray[Any, Any] | None:
    if not kinds <= {str, bytes, dict}:
        return None
    found = [_string(item) for item in flat]
    if None in found:
        return None
    strings = np.empty(len(found), object)
    strings[:] = found
    return strings


def _string(item: Any) -> bytes | None:
    if isinstance(item, dict):
        return from_base64(item["b64"]) if is_base64(item) else None
    return as_bytes(item)


def _as_proto(values: np.ndarray[Any, Any], dtype: int) -> TensorProto:
    narrow = values.astype(DTYPES[dtype], copy=False)
    if dtype not in NARROW or np.array_equal(values, narrow):
        return tensor_of(narrow, content=True)
    wrapped = tensor_of(values)
    wrapped.dtype = dtype
    return wrapped


def _checked(value: Any, dtype: int) -> Any:
    """A scalar that fits `dtype`, `bytes` for a string."""
    if isinstance(value, dict):
        if dtype == types_pb2.DT_STRING:
            return decoded(value)
        raise _wrong_type(value, dtype)
    if dtype not in _CONVERTIBLE:
        raise _not_convertible(value, dtype)
    if not _fits(value, dtype):
        raise _wrong_type(value, dtype)
    return as_bytes(value) if isinstance(value, str) else value


def _fits(value: Any, dtype: int) -> bool:
    if dtype in _FLOATS:
        return type(value) in (int, float)
    if dtype in RANGES:
        return type(value) is int and RANGES[dtype][0] <= value <= RANGES[dtype][1]
    return type(value) is bool if dtype == types_pb2.DT_BOOL else isinstance(value, str | bytes)


def _wrong_type(value: Any, dtype: int) -> ServingError:
    kind = type_name(value)
    return _invalid(f"JSON Value: {shown(value)} Type: {kind} is not of expected type: {dtype_name(dtype)}")


def _not_convertible(value: Any, dtype: int) -> ServingError:
    message = f"Conversion of JSON Value: {shown(value)} to type: {dtype_name(dtype)}"
    return ServingError(StatusCode.UNIMPLEMENTED, message)


def _invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
