"""Values of a tf.Example: bytes or text, whole numbers (and truth values), or decimals; one kind a feature."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.errors import DataError
from serving.remote.tensors import as_bytes

FIELDS = {"O": "bytes_list", "S": "bytes_list", "U": "bytes_list"}
FIELDS |= {"b": "int64_list", "i": "int64_list", "u": "int64_list", "f": "float_list"}
"""Numpy's kind of type -> field of a Feature."""


def values_of(name: str, value: Any) -> tuple[str, list[Any]]:
    """(Field of a Feature, its values) for a value, or a list or array of values.

    Raises:
        DataError: they are not of one kind, nested, or of none of these kinds.
    """
    single = isinstance(value, bytes | str) or np.ndim(value) == 0
    listed = [value] if single else list(value)
    array = _plain(listed)
    if array is None or array.ndim != 1 or array.dtype.kind not in FIELDS:
        raise DataError(
            f"The feature {name!r} is {listed!r:.80}, expected bytes or text, whole numbers, or decimals; "
            "one value, or a list of one kind."
        )
    field = FIELDS[array.dtype.kind]
    return field, [as_bytes(one) for one in listed] if field == "bytes_list" else array.tolist()


def fill_feature(name: str, value: Any, feature: Any) -> None:
    """Writes a value into an empty Feature message; DataError as `values_of`."""
    field, values = values_of(name, value)
    getattr(feature, field).value.extend(values)


def _plain(values: list[Any]) -> np.ndarray | None:
    """The values as an array, strings as objects; None where kinds are mixed or lengths differ."""
    strings = [isinstance(value, bytes | str) for value in values]
    if any(strings):
        return np.array(values, object) if all(strings) else None
    try:
        return np.array(values)
    except ValueError:
        return None
