"""JSON objects as tf.Examples, for classify and regress."""

from __future__ import annotations

from typing import Any

import numpy as np
from grpc import StatusCode
from tensorflow.core.example.example_pb2 import Example

from serving.errors import ServingError
from serving.local.rest.json_value import as_bytes, is_base64, members, type_name
from serving.local.rest.tensors import decoded

LARGEST = 2**63 - 1
_KINDS = {bool: "int64", int: "int64", float: "float", str: "bytes", bytes: "bytes", dict: "bytes"}
"""Of a feature, by its first value: 2 makes it one of integers, 2.0 one of floats."""


def fill_example(value: Any, example: Example) -> None:
    """Writes one object of features, each a value or a flat list of one kind of values, into an Example.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not isinstance(value, dict):
        raise _invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in members(value):
        values = content if isinstance(content, list) else [content]
        name = name.encode(errors="surrogateescape").decode(errors="replace")
        example.features.feature[name].Clear()  # a name that comes twice keeps its last values
        kind = _kind(values, name)
        if kind:
            converted = [_converted(item) for item in values]
            getattr(example.features.feature[name], f"{kind}_list").value.extend(converted)


def _kind(values: list[Any], name: str) -> str:
    """`int64`, `float` or `bytes`, empty for no values; ServingError where a value is of none or another kind."""
    kind = ""
    for item in values:
        found = _KINDS.get(type(item))
        if found is None or (found == "bytes" and isinstance(item, dict) and not is_base64(item)):
            raise _invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(item)}")
        kind = kind or found
        if found != kind:
            raise _invalid(f"Unexpected element type in feature: {name} expecting type: {kind}")
        if found == "int64" and item > LARGEST:
            raise _invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return kind


def _converted(item: Any) -> Any:
    if isinstance(item, dict):
        return decoded(item)
    if isinstance(item, float):
        with np.errstate(over="ignore"):  # too large is infinite
            return float(np.float32(item))
    return as_bytes(item) if isinstance(item, str | bytes) else int(item)


def _invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
