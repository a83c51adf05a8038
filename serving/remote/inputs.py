"""What the client sends: arrays and pictures brought to what a signature takes, and cut into batches.

B = rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.pictures import BadPicture, StoredPicture, picture_to_send
from pipeline.errors import DataError, nearest
from serving.remote.tensors import STRING, TYPES
from serving.remote.transport import Arrays
from serving.remote.values import Signature, TensorSpec

Picture = bytes | Path | np.ndarray
WHOLE = "iu"
"""Numpy's kinds of whole numbers."""


def fitted(inputs: Mapping[str, Any], signature: Signature) -> dict[str, np.ndarray]:
    """The signature's inputs in its types; DataError where one is missing or its values do not fit."""
    for name in signature.inputs:
        if name not in inputs:
            raise DataError(f"The signature needs the input {name!r}. {nearest(name, inputs)}")
    return {name: _fitted(name, inputs[name], spec) for name, spec in signature.inputs.items()}


def _fitted(name: str, value: Any, spec: TensorSpec) -> np.ndarray:
    if spec.dtype == STRING:
        return value if isinstance(value, np.ndarray) else np.array(value, object)
    array = np.asarray(value)
    if spec.dtype not in TYPES or array.dtype == spec.dtype:
        return array
    if array.dtype.kind in WHOLE and np.dtype(spec.dtype).kind in WHOLE:
        _require_in_range(name, array, spec.dtype)
    elif not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise DataError(f"The input {name!r} is {array.dtype}, expected {spec.dtype}: convert it first.")
    with np.errstate(over="ignore"):  # too large for float32 is infinite, as in TF Serving
        return array.astype(spec.dtype)


def _require_in_range(name: str, array: np.ndarray, dtype: str) -> None:
    limits = np.iinfo(dtype)
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        raise DataError(
            f"The input {name!r} holds {array.min()} to {array.max()}, which does not fit {dtype}: "
            "a server would wrap around without a word."
        )


def pieces(arrays: Arrays, signature: Signature, size: int) -> list[Arrays]:
    """The batch in parts of at most `size` rows; in one where the signature does not take any number of rows."""
    lengths = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    free = all(spec.shape and spec.shape[0] is None for spec in signature.inputs.values())
    if not free or len(lengths) != 1 or max(lengths) <= size:
        return [arrays]
    starts = range(0, lengths.pop(), size)
    return [{name: array[start : start + size] for name, array in arrays.items()} for start in starts]


def joined(answers: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Outputs of several batches as one; DataError where their rows have different shapes."""
    if len(answers) == 1:
        return answers[0]
    try:
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
    except ValueError as error:
        raise DataError(
            f"The model's answers differ in shape from batch to batch ({error}). "
            "Send fewer rows at once, or raise `batch_size`."
        ) from error


def picture_input(signature: Signature, name: str) -> str:
    """The one input that takes encoded pictures; DataError where the signature has others."""
    found = [key for key, spec in signature.inputs.items() if spec.dtype == STRING]
    if len(found) != 1 or len(signature.inputs) != 1:
        takes = ", ".join(f"{key} {spec.dtype}" for key, spec in signature.inputs.items())
        raise DataError(
            f"The signature {name!r} takes {takes}, expected one input of strings for encoded pictures. "
            "Choose another `signature`, or call the client with arrays by name."
        )
    return found[0]


def starts_of(pictures: Sequence[Any], size: int) -> range:
    """Where batches begin; DataError where there is no picture."""
    if not len(pictures):
        raise DataError("There is no picture to send.")
    return range(0, len(pictures), size)


def to_send(pictures: Sequence[Picture], first: int) -> list[StoredPicture]:
    """What to send; DataError that names the one that cannot be used, counted from `first`."""
    return [_to_send(picture, first + place) for place, picture in enumerate(pictures)]


def _to_send(picture: Picture, number: int) -> StoredPicture:
    try:
        return picture_to_send(picture.read_bytes() if isinstance(picture, Path) else picture)
    except (BadPicture, OSError) as error:
        name = picture if isinstance(picture, Path) else f"number {number}"
        raise DataError(f"The picture {name} cannot be sent: {error}.") from error


def encoded(pictures: Sequence[StoredPicture]) -> np.ndarray:
    """Objects [B]: their bytes."""
    found = np.empty(len(pictures), object)
    found[:] = [picture.data for picture in pictures]
    return found
