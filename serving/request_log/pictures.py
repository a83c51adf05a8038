"""From a request and its answer to the pictures in it, each with its row of the answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow.core.example.example_pb2 import Example
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from models.stack import tf
from pipeline.data.pictures import BadPicture, picture_to_send
from pipeline.data.requests.picture import UNKNOWN_VERSION, CameAs, LoggedPicture
from serving.local.conversion import STRING, array_of
from serving.local.examples import CLASSES, OUTPUTS, SCORES, serialized_examples
from serving.local.inference import signature_name

KEPT = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""How a JPEG and a PNG begin; they are logged as they came."""
OTHERS = (b"BM", b"GIF8", b"RIFF")
"""What else a model may decode; it is logged as a PNG of the same pixels."""
CHANNELS = (1, 2, 3, 4)

Arrays = Mapping[str, np.ndarray[Any, Any]]


class NoPictureError(ValueError):
    """A request without a picture; the message says what it holds instead."""


def pictures_of(request: Any, response: Any, seconds: float) -> list[LoggedPicture]:
    """The pictures of a request, in its order, each with its row of every output that has one for each.

    Args:
        request: a PredictRequest, ClassificationRequest or RegressionRequest.
        response: its answer; an empty one for a request of which only the pictures are known.
        seconds: when it was answered.

    Raises:
        NoPictureError: no input holds pictures, or several do.
    """
    pictures, came_as = _PICTURES[type(request)](request)
    outputs = {name: value for name, value in _OUTPUTS[type(request)](response).items() if _has_rows(value, pictures)}
    spec = response.model_spec
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(seconds))}-{secrets.token_hex(8)}"
    return [
        LoggedPicture(
            id=name if len(pictures) == 1 else f"{name}-{row}",
            image=picture,
            came_as=came_as,
            model=spec.name or request.model_spec.name,
            signature=spec.signature_name or signature_name(request.model_spec),
            version=spec.version.value if spec.HasField("version") else UNKNOWN_VERSION,
            seconds=seconds,
            outputs={output: value[row] for output, value in outputs.items()},
        )
        for row, picture in enumerate(pictures)
        if picture
    ]


def _has_rows(value: np.ndarray[Any, Any], pictures: Sequence[bytes]) -> bool:
    return value.ndim > 0 and len(value) == len(pictures)


def _of_tensors(request: PredictRequest) -> tuple[list[bytes], CameAs]:
    arrays = {name: array_of(tensor) for name, tensor in request.inputs.items()}
    encoded = [array for array in arrays.values() if array.dtype == STRING and array.ndim == 1 and _any_file(array)]
    pixels = [array for array in arrays.values() if _are_pixels(array)]
    if len(encoded) + len(pixels) != 1:
        held = ", ".join(f"{name} {array.dtype.name}{list(array.shape)}" for name, array in sorted(arrays.items()))
        raise NoPictureError(f"expected one input with encoded pictures, or uint8 pixels [B,H,W,C]; it has {held}")
    if encoded:
        return [_kept(data) for data in encoded[0].tolist()], "file"
    return [tf.io.encode_png(picture).numpy() for picture in pixels[0]], "pixels"


def _of_examples(request: Any) -> tuple[list[bytes], CameAs]:
    files = [_file_in(Example.FromString(one)) for one in serialized_examples(request.input)]
    if not any(files):
        raise NoPictureError("expected tf.Examples with one feature that holds an encoded picture")
    return [_kept(data) for data in files], "file"


def _file_in(example: Example) -> bytes:
    """The one encoded picture in an example; empty where there is none, or several."""
    values = (feature.bytes_list.value for feature in example.features.feature.values())
    files = [value[0] for value in values if len(value) == 1 and _is_file(value[0])]
    return files[0] if len(files) == 1 else b""


def _is_file(data: Any) -> bool:
    return isinstance(data, bytes) and data.startswith(KEPT + OTHERS)


def _any_file(array: np.ndarray[Any, Any]) -> bool:
    return any(map(_is_file, array.tolist()))


def _kept(data: bytes) -> bytes:
    """A file as it is logged; empty where it is no picture."""
    if not _is_file(data):
        return b""
    if data.startswith(KEPT):
        return data
    try:
        return picture_to_send(data).data
    except BadPicture:
        return b""


def _are_pixels(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] in CHANNELS and array.size > 0


def _predicted(response: Any) -> Arrays:
    arrays = {name.replace("/", "_"): array_of(tensor) for name, tensor in response.outputs.items()}
    # bfloat16 is of no kind that numpy knows; complex numbers have no place in a tf.train.Example.
    known = {name: array.astype(np.float32) if array.dtype.kind == "V" else array for name, array in arrays.items()}
    return {name: array for name, array in known.items() if array.dtype.kind != "c"}


def _classified(response: Any) -> Arrays:
    rows = [one.classes for one in response.result.classifications]
    if len({len(row) for row in rows}) != 1:
        return {}
    labels = np.array([[one.label.encode() for one in row] for row in rows], object)
    return {CLASSES: labels, SCORES: np.array([[one.score for one in row] for row in rows], np.float32)}


def _regressed(response: Any) -> Arrays:
    return {OUTPUTS: np.array([[one.value] for one in response.result.regressions], np.float32)}


_PICTURES = {PredictRequest: _of_tensors, ClassificationRequest: _of_examples, RegressionRequest: _of_examples}
_OUTPUTS = {PredictRequest: _predicted, ClassificationRequest: _classified, RegressionRequest: _regressed}
