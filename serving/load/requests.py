"""What is sent: pictures, or the inputs of a request that was written down, as the model's signature takes them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import console
from pipeline.data.pictures import BadPicture, picture_to_send
from pipeline.errors import DataError
from serving.remote.inputs import encoded, to_send
from serving.remote.json_tensors import from_json
from serving.remote.tensors import STRING
from serving.remote.transport import Arrays
from serving.remote.values import Signature, TensorSpec

COLOURS = {1: "L", 3: "RGB"}
"""Channels -> Pillow's mode."""


def picture_requests(pictures: Sequence[bytes], signature: Signature, batch_size: int) -> list[Arrays]:
    """Inputs by name of one request for every `batch_size` pictures; the last one begins anew to be full.

    Args:
        pictures: encoded, in any format that Pillow reads.
        signature: with one input: strings for encoded pictures, or numbers [B, H, W, C] for pixels, to whose size the
            pictures are then brought.

    Raises:
        DataError: there is no picture, one cannot be used, or the signature takes something else.
    """
    if not pictures:
        raise DataError("There is no picture to send.")
    name, spec = _picture_input(signature)
    rows = encoded(to_send(pictures, 0)) if spec.dtype == STRING else _pixels(pictures, spec)
    return [rows_from({name: rows}, start, batch_size) for start in range(0, len(rows), batch_size)]


def rows_from(inputs: Arrays, start: int, count: int) -> Arrays:
    """So many rows of inputs by name; behind the last row comes the first again.

    Raises:
        DataError: an input has no rows.
    """
    for name, array in inputs.items():
        if not array.ndim or not len(array):
            raise DataError(
                f"The input {name!r} has no rows (shape {list(array.shape)}), but a request of {count} is to be made "
                "of them. Give one with a row at least."
            )
    return {name: array.take(range(start, start + count), axis=0, mode="wrap") for name, array in inputs.items()}


def written_request(file: Path, signature: Signature) -> Arrays:
    """Inputs by name of a request in TF Serving's JSON, in rows (`instances`) or columns (`inputs`).

    Raises:
        DataError: the file cannot be read, or does not fit the signature.
    """
    try:
        document = json.loads(file.read_bytes())
        columns = _columns(document, signature)
        return {name: from_json(columns[name], spec, f"The input {name}") for name, spec in signature.inputs.items()}
    except (OSError, LookupError, TypeError, ValueError, DataError) as error:
        raise DataError(
            f"{file} is no request that fits the model: {_why(error)}. Expected JSON with `instances` or `inputs`, for "
            f"{_described(signature)}."
        ) from error


def warn_of_signature(file: Path, name: str) -> None:
    """Warns where a written request is meant for another signature than the one that is asked."""
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError):  # as `written_request` says
        return
    written = document.get("signature_name", name) if isinstance(document, Mapping) else name
    if written != name:
        console.warn(f"{file} is for the signature {written!r}; its inputs go to {name!r}.")


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")


def _columns(document: Mapping[str, Any], signature: Signature) -> Mapping[str, Any]:
    """Values by the input's name."""
    names = list(signature.inputs)
    if not names:
        raise DataError("the signature takes no inputs")
    if "inputs" in document:
        found = document["inputs"]
        return found if isinstance(found, Mapping) and "b64" not in found else {names[0]: found}
    rows = document["instances"]
    if not rows:
        raise DataError("`instances` holds no row")
    if isinstance(rows[0], Mapping) and "b64" not in rows[0]:
        return {name: [row[name] for row in rows] for name in names}
    return {names[0]: rows}


def _picture_input(signature: Signature) -> tuple[str, TensorSpec]:
    if len(signature.inputs) == 1:
        ((name, spec),) = signature.inputs.items()
        if spec.dtype == STRING or (spec.shape and len(spec.shape) == 4 and spec.shape[3] in COLOURS):
            return name, spec
    raise DataError(
        f"The signature takes {_described(signature)}, expected one input: strings for encoded pictures, or numbers "
        "[B, H, W, 1 or 3] for pixels. Choose another --signature, or give the inputs with --request FILE."
    )


def _described(signature: Signature) -> str:
    return ", ".join(f"{name} {spec.dtype} {_axes(spec)}" for name, spec in signature.inputs.items())


def _axes(spec: TensorSpec) -> str:
    return "of any shape" if spec.shape is None else str(["?" if size is None else size for size in spec.shape])


def _pixels(pictures: Sequence[bytes], spec: TensorSpec) -> np.ndarray:
    """[B, H, W, C] of the signature's type, not normalised; of the first one's size where the signature has none."""
    return np.stack(list(_resized(pictures, spec)))


def _resized(pictures: Sequence[bytes], spec: TensorSpec) -> Iterator[np.ndarray]:
    from PIL import Image

    _, height, width, channels = spec.shape or (None, None, None, 3)
    for number, data in enumerate(pictures):
        try:
            picture = Image.open(io.BytesIO(picture_to_send(data).data)).convert(COLOURS[channels or 3])
        except (BadPicture, OSError) as error:
            raise DataError(f"The picture number {number} cannot be sent: {error}.") from error
        height, width = height or picture.height, width or picture.width
        pixels = np.asarray(picture.resize((width, height)), spec.dtype)
        yield pixels.reshape(height, width, channels or 3)
