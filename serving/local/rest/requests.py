"""Bodies of predict, classify and regress as TF Serving's protos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from grpc import StatusCode
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.errors import ServingError
from serving.local.rest.examples import fill_example
from serving.local.rest.json_reader import read_object
from serving.local.rest.json_value import is_base64, shown
from serving.local.rest.rows import tensors_of_rows
from serving.local.rest.tensors import tensor

ONE_VALUE_FOR_SEVERAL = (
    "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
)


class Form(Enum):
    """How a predict request lays out its examples; the answer has the same form."""

    ROWS = "predictions"
    COLUMNS = "outputs"


def predict_request(
    body: bytes, model: ModelSpec, signature: Callable[[ModelSpec], SignatureDef]
) -> tuple[PredictRequest, Form]:
    """Reads `{"instances": [...]}` or `{"inputs": ...}`, with an optional `signature_name`.

    Args:
        body: JSON.
        model: name and version of the request; the signature's name is written into it.
        signature: gives the SignatureDef that the spec means.

    Raises:
        ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for a type that TF Serving does not read from JSON.
    """
    document = read_object(body)
    _take_signature_name(document, model)
    inputs = {name: info.dtype for name, info in sorted(signature(model).inputs.items())}
    if not inputs:
        name = model.signature_name or "DEFAULT"
        raise _invalid(f"Failed to get input map for signature: {name}")
    request = PredictRequest(model_spec=model)
    form = _form(document)
    tensors = (
        tensors_of_rows(document["instances"], inputs)
        if form is Form.ROWS
        else _tensors_of_columns(document["inputs"], inputs)
    )
    for name, one in tensors.items():
        request.inputs[name].CopyFrom(one)
    return request, form


def examples_of(body: bytes, model: ModelSpec) -> Input:
    """Reads `{"examples": [...], "context": {...}}` of classify and regress; the signature's name goes into `model`.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    document = read_object(body)
    _take_signature_name(document, model)
    found = Input()
    if "context" in document:
        found.example_list_with_context.SetInParent()
        fill_example(document["context"], found.example_list_with_context.context)
    holder = found.example_list_with_context if "context" in document else found.example_list
    for value in _examples(document):
        fill_example(value, holder.examples.add())
    return found


def _examples(document: dict[str, Any]) -> list[Any]:
    if "examples" not in document:
        raise _malformed(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _malformed(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _malformed(document, "'examples' value is an empty array")
    return examples


def _take_signature_name(document: dict[str, Any], model: ModelSpec) -> None:
    name = document.get("signature_name", "")
    if not isinstance(name, str | bytes):
        raise _malformed(document, "not formatted correctly. 'signature_name' key must be a string value.")
    model.signature_name = name if isinstance(name, str) else name.decode(errors="replace")


def _form(document: dict[str, Any]) -> Form:
    if "instances" not in document:
        if "inputs" not in document:
            raise _invalid("Missing 'inputs' or 'instances' key")
        return Form.COLUMNS
    if "inputs" in document:
        only_one = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise _malformed(document, only_one)
    if not isinstance(document["instances"], list):
        raise _malformed(document, "Expecting 'instances' to be an list/array")
    if not document["instances"]:
        raise _malformed(document, "No values in 'instances' array")
    return Form.ROWS


def _tensors_of_columns(value: Any, inputs: Mapping[str, int]) -> dict[str, TensorProto]:
    """One value for each input; names that the signature does not have are passed over."""
    if not isinstance(value, dict) or is_base64(value):
        if len(inputs) > 1:
            raise _invalid(ONE_VALUE_FOR_SEVERAL)
        value = dict.fromkeys(inputs, value)
    found = {}
    for name, dtype in inputs.items():
        if name not in value:
            raise _invalid(f"Missing named input: {name} in 'inputs' object.")
        found[name] = tensor(value[name], dtype)
    return found


def _malformed(document: dict[str, Any], message: str) -> ServingError:
    return _invalid(f"JSON Value: {shown(document)} {message}")


def _invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
