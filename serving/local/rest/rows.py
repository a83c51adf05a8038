"""The row form of a predict request, `instances`: a value for each example, batched into one tensor for each input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grpc import StatusCode
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.errors import ServingError
from serving.local.rest.json_value import is_base64, members, shown
from serving.local.rest.tensors import scalars_of, shape_of, tensor_of_scalars, whole_tensor

PLAIN_FOR_SEVERAL = (
    "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map"
)


@dataclass
class _Input:
    """What was read of one input: the first row's shape and size, and the scalars of all rows."""

    shape: list[int]
    size: int
    scalars: list[Any] = field(default_factory=list)


def tensors_of_rows(rows: Sequence[Any], inputs: Mapping[str, int]) -> dict[str, TensorProto]:
    """The inputs of a batch.

    Args:
        rows: one value each, or one object of named values each; at least one.
        inputs: name -> DataType, sorted by name.

    Raises:
        ServingError: INVALID_ARGUMENT, about the first row that does not fit.
    """
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise _invalid(PLAIN_FOR_SEVERAL)
    if _is_object(rows[0]):
        return _whole_columns(rows, inputs) or _tensors(_of_objects(rows, inputs), len(rows), inputs)
    name = next(iter(inputs))
    whole = whole_tensor(rows, inputs[name])
    return {name: whole} if whole is not None else _tensors(_of_values(rows, name, inputs), len(rows), inputs)


def _is_object(row: Any) -> bool:
    return isinstance(row, dict) and not is_base64(row)


def _whole_columns(rows: Sequence[Any], inputs: Mapping[str, int]) -> dict[str, TensorProto] | None:
    """All inputs at once; None where any row is irregular."""
    if any(type(row) is not dict or is_base64(row) or row.keys() != inputs.keys() for row in rows):
        return None
    found = {name: whole_tensor([row[name] for row in rows], dtype) for name, dtype in inputs.items()}
    regular = {name: tensor for name, tensor in found.items() if tensor is not None}
    return regular if len(regular) == len(found) else None


def _of_objects(rows: Sequence[Any], inputs: Mapping[str, int]) -> dict[str, _Input]:
    found: dict[str, _Input] = {}
    for index, row in enumerate(rows):
        if not _is_object(row):
            raise _invalid(f"Expecting object but got list at item {index} of input list")
        for name, value in members(row):
            _add(value, name, inputs, found, f"Failed to process element: {index} key: {name} of 'instances' list.")
        if row.keys() != inputs.keys():
            raise _invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(row)} "
                f"keys must be equal to: {','.join(inputs)}"
            )
    return found


def _of_values(rows: Sequence[Any], name: str, inputs: Mapping[str, int]) -> dict[str, _Input]:
    found: dict[str, _Input] = {}
    for index, row in enumerate(rows):
        if _is_object(row):
            raise _invalid(f"Expecting value/list but got object at item {index} of input list")
        _add(row, name, inputs, found, f"Failed to process element: {index} of 'instances' list.")
    return found


def _add(value: Any, name: str, inputs: Mapping[str, int], found: dict[str, _Input], place: str) -> None:
    """Takes one value of one row; every error in it becomes INVALID_ARGUMENT."""
    try:
        _append(value, name, inputs, found)
    except ServingError as error:
        raise _invalid(f"{place} Error: {error.code.name}: {error.message}") from error


def _append(value: Any, name: str, inputs: Mapping[str, int], found: dict[str, _Input]) -> None:
    if name not in inputs:
        raise _invalid(f"JSON object: does not have named input: {name}")
    shape = shape_of(value)
    scalars = scalars_of(value, inputs[name], shape)
    known = found.setdefault(name, _Input(shape, len(scalars)))
    if known.size != len(scalars):
        raise _invalid(f"Expecting tensor size: {known.size} but got: {len(scalars)}")
    if known.shape != shape:
        raise _invalid(f"Expecting shape {_text(known.shape)} but got: {_text(shape)}")
    known.scalars.extend(scalars)


def _tensors(found: Mapping[str, _Input], num_rows: int, inputs: Mapping[str, int]) -> dict[str, TensorProto]:
    return {name: tensor_of_scalars(one.scalars, inputs[name], [num_rows, *one.shape]) for name, one in found.items()}


def _text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
