"""TF Serving's protos as the JSON that it answers with, laid out as it does.

RapidJSON's PrettyWriter indents by four spaces and has arrays on one line where TF Serving asks it to; protobuf's own
JSON indents by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pybase64
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from grpc import StatusCode
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from serving.errors import ServingError
from serving.local.conversion import array_of, dtype_name
from serving.local.rest.decimals import decimals
from serving.local.rest.json_value import quoted
from serving.local.rest.requests import Form

BYTES_SUFFIX = "_bytes"
"""Of the name of an output whose strings are written as base64."""
INDENT = b"    "
_WRITTEN = (
    *(types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_STRING, types_pb2.DT_BOOL),
    *(types_pb2.DT_INT8, types_pb2.DT_INT16, types_pb2.DT_INT32, types_pb2.DT_INT64),
    *(types_pb2.DT_UINT8, types_pb2.DT_UINT32, types_pb2.DT_UINT64),
)


def predictions(outputs: Mapping[str, TensorProto], form: Form) -> bytes:
    """The answer to a predict request, in the request's form.

    Raises:
        ServingError: INVALID_ARGUMENT where JSON, or the row form, cannot hold an output.
    """
    if not outputs:
        raise _invalid("Cannot convert empty tensor map to JSON")
    ordered = dict(sorted(outputs.items()))
    value = _rows(ordered) if form is Form.ROWS else _columns(ordered)
    return _object({form.value: value}, 0)


def classes(result: ClassificationResult) -> bytes:
    """The answer to a classify request: for each example, pairs of label and score."""
    if not result.classifications:
        raise _invalid("Cannot convert empty ClassificationResults to JSON")
    return _object({"results": _list_of_lines([_classes(one.classes) for one in result.classifications])}, 0)


def regressions(result: RegressionResult) -> bytes:
    """The answer to a regress request: a number for each example."""
    if not result.regressions:
        raise _invalid("Cannot convert empty RegressionResults to JSON")
    values = np.array([one.value for one in result.regressions], np.float32)
    return _object({"results": _line(_encoded(decimals(values)))}, 0)


def error(message: str) -> bytes:
    """The answer to a request that failed."""
    return _object({"error": quoted(message.encode(errors="surrogateescape"))}, 0)


def status(response: GetModelStatusResponse) -> bytes:
    """The states of a model's versions."""
    return _proto(response)


def metadata(response: GetModelMetadataResponse) -> bytes:
    """A model's signatures."""
    signatures = SignatureDefMap()
    if not response.metadata["signature_def"].Unpack(signatures):
        raise ServingError(StatusCode.INTERNAL, "Failed to unpack 'Any' object to 'SignatureDefMap'.")
    model = _proto(response.model_spec)
    return b'{\n"model_spec":%s,\n"metadata": {"signature_def": %s}\n}\n' % (model, _proto(signatures))


def _proto(message: Message) -> bytes:
    text = MessageToJson(message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True, indent=1)
    return text.encode()


def _rows(outputs: Mapping[str, TensorProto]) -> bytes:
    num_rows = _num_rows(outputs)
    several = len(outputs) > 1
    columns = {name: _row_texts(name, tensor, 3 if several else 2) for name, tensor in outputs.items()}
    if not several:
        return _list_of_lines(next(iter(columns.values())))
    rows = [_object({name: texts[row] for name, texts in columns.items()}, 2) for row in range(num_rows)]
    return _array(rows, 2)


def _num_rows(outputs: Mapping[str, TensorProto]) -> int:
    found = 0
    for name, tensor in outputs.items():
        if not tensor.tensor_shape.dim:
            raise _invalid(f"Tensor name: {name} has no shape information ")
        size = tensor.tensor_shape.dim[0].size
        if size < 1:
            raise _invalid(f"Tensor name: {name} has invalid batch size: {size}")
        if found and size != found:
            raise _invalid(f"Tensor name: {name} has inconsistent batch size: {size} expecting: {found}")
        found = size
    return found


def _row_texts(name: str, tensor: TensorProto, level: int) -> list[bytes]:
    """Each row of an output, on one line; `level` counts the open brackets around it."""
    texts, shape = _scalars(name, tensor, level + len(tensor.tensor_shape.dim) - 1)
    for axis in reversed(range(1, len(shape))):
        texts = [_line(group) for group in _groups(texts, shape, axis)]
    return texts


def _columns(outputs: Mapping[str, TensorProto]) -> bytes:
    several = len(outputs) > 1
    values = {name: _column(name, tensor, 2 if several else 1) for name, tensor in outputs.items()}
    return _object(values, 1) if several else next(iter(values.values()))


def _column(name: str, tensor: TensorProto, level: int) -> bytes:
    """A whole output, one value a line; `level` counts the open brackets around it."""
    texts, shape = _scalars(name, tensor, level + len(tensor.tensor_shape.dim))
    for axis in reversed(range(len(shape))):
        texts = [_array(group, level + axis + 1) for group in _groups(texts, shape, axis)]
    return texts[0]


def _groups(texts: Sequence[bytes], shape: Sequence[int], axis: int) -> Iterator[Sequence[bytes]]:
    """What belongs into each array along an axis."""
    size = shape[axis]
    return (texts[index * size : (index + 1) * size] for index in range(math.prod(shape[:axis])))


def _scalars(name: str, tensor: TensorProto, level: int) -> tuple[list[bytes], list[int]]:
    """The text of every value in order, and the shape."""
    if tensor.dtype not in _WRITTEN:
        raise _invalid(f"Failed to write JSON value for tensor type: {dtype_name(tensor.dtype)}")
    array = array_of(tensor)
    flat = array.reshape(-1)
    if tensor.dtype == types_pb2.DT_STRING:
        return [_string(value, name, level) for value in flat], list(array.shape)
    if array.dtype.kind == "f":
        return _encoded(decimals(flat)), list(array.shape)
    words = {True: "true", False: "false"}
    texts = [words[value] for value in flat.tolist()] if array.dtype == np.bool_ else list(map(str, flat.tolist()))
    return _encoded(texts), list(array.shape)


def _string(value: bytes, name: str, level: int) -> bytes:
    if name.endswith(BYTES_SUFFIX):
        return _object({"b64": quoted(pybase64.b64encode(value))}, level)
    return quoted(value)


def _classes(found: Sequence[Any]) -> bytes:
    scores = _encoded(decimals(np.array([one.score for one in found], np.float32)))
    return _line([_line([quoted(one.label.encode()), score]) for one, score in zip(found, scores, strict=True)])


def _object(values: Mapping[str, bytes], level: int) -> bytes:
    """`level` counts the open brackets around it."""
    names = [quoted(name.encode()) + b": " + value for name, value in values.items()]
    return b"{" + _indented(names, level + 1) + b"\n" + INDENT * level + b"}"


def _array(values: Sequence[bytes], level: int) -> bytes:
    """One value a line; `level` counts the open brackets, with its own."""
    if not values:
        return b"[]"
    return b"[" + _indented(values, level) + b"\n" + INDENT * (level - 1) + b"]"


def _indented(values: Sequence[bytes], level: int) -> bytes:
    begin = b"\n" + INDENT * level
    return begin + (b"," + begin).join(values)


def _line(values: Sequence[bytes]) -> bytes:
    return b"[" + b", ".join(values) + b"]"


def _list_of_lines(values: Sequence[bytes]) -> bytes:
    """As TF Serving ends an array whose values are on one line each."""
    return b"[" + b", ".join(values) + b"\n    ]"


def _encoded(texts: Sequence[str]) -> list[bytes]:
    return [text.encode() for text in texts]


def _invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
