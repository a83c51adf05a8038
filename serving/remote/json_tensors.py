"""Numpy arrays as the JSON of TF Serving's REST interface and back.

JSON knows neither types nor the shape of what is empty: both are taken from the model's signature. Strings are sent as
base64. They come back as base64 where the output's name ends in `_bytes`, else as they are; bytes that are no UTF-8
survive both.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.errors import DataError
from serving.remote.tensors import STRING, as_bytes, type_name
from serving.remote.values import TensorSpec

NOT_IN_JSON = ("complex64", "complex128", "float16")


def to_json(array: np.ndarray) -> Any:
    """Nested lists of numbers, or of `{"b64": ...}`; DataError where TF Serving's JSON has no such type."""
    name = type_name(array)
    if name in NOT_IN_JSON:
        raise DataError(f"An array of {name} cannot be sent over REST; use gRPC (grpc://HOST:8500), or another type.")
    if name != STRING:
        return array.tolist()
    encoded = np.empty(array.size, object)
    encoded[:] = [in_base64(value) for value in array.ravel()]
    return encoded.reshape(array.shape).tolist()


def in_base64(value: Any) -> dict[str, str]:
    """A string as TF Serving's JSON has it."""
    return {"b64": base64.b64encode(as_bytes(value)).decode("ascii")}


def read(body: bytes) -> Any:
    """A JSON document; NaN and Infinity are numbers, and bytes that are no UTF-8 are kept as lone surrogates.

    Raises:
        ValueError: it is no JSON.
    """
    return json.loads(body.decode("utf-8", "surrogateescape"))


def from_json(value: Any, spec: TensorSpec, what: str = "The server's answer") -> np.ndarray:
    """The array that an output (or whatever `what` says) is; DataError where it does not fit the signature's type."""
    try:
        array = _strings(value) if spec.dtype == STRING else np.array(value, spec.dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{what} is no array of {spec.dtype}: {error}.") from error
    return _with_empty_axes(array, spec.shape)


def _strings(value: Any) -> np.ndarray:
    array = np.array(value, object)
    decoded = np.empty(array.size, object)
    decoded[:] = [_string(item) for item in array.ravel()]
    return decoded.reshape(array.shape)


def _string(item: Any) -> bytes:
    if isinstance(item, Mapping):
        return base64.b64decode(item["b64"])
    if not isinstance(item, str):
        raise TypeError(f"{item!r} is no string")
    return item.encode("utf-8", "surrogateescape")


def _with_empty_axes(array: np.ndarray, shape: Sequence[int | None] | None) -> np.ndarray:
    """JSON writes an array of shape [0, 4] as `[]`; its further axes come back from the signature, if it knows them."""
    if array.size or shape is None or array.ndim >= len(shape):
        return array
    return array.reshape([*array.shape, *(size or 0 for size in shape[array.ndim :])])
