"""The client's own messages beside those of TensorFlow and `tensorflow-serving-api`."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
    status_pb2,
)

from serving.remote.messages import MESSAGES, message
from serving.remote.tensors import TYPES

MODULES = (
    *(classification_pb2, get_model_metadata_pb2, get_model_status_pb2, input_pb2, model_pb2, predict_pb2),
    *(regression_pb2, tensor_pb2, tensor_shape_pb2, example_pb2, feature_pb2, meta_graph_pb2),
    *(any_pb2, wrappers_pb2, status_pb2),
)
OWN_NAMES = {
    "Dim": tensor_shape_pb2.TensorShapeProto.Dim,
    "ExamplesRequest": classification_pb2.ClassificationRequest,
}


def real(name: str) -> Any:
    """TensorFlow's class for one of MESSAGES."""
    return OWN_NAMES.get(name) or next(getattr(module, name) for module in MODULES if hasattr(module, name))


def described(descriptor: Descriptor, names: set[str]) -> dict[str, tuple[Any, ...]]:
    """Of each field in `names`: number, kind on the wire, whether repeated, and the same of what is inside a map."""
    return {name: _kind(descriptor.fields_by_name[name]) for name in names}


def _kind(field: FieldDescriptor) -> tuple[Any, ...]:
    kind = FieldDescriptor.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type
    inside: tuple[Any, ...] = ()
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inside = tuple(_kind(one) for one in field.message_type.fields)
    return field.number, kind, field.is_repeated, inside


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_is_tensorflows(name: str) -> None:
    names = set(MESSAGES[name])
    assert described(message(name).DESCRIPTOR, names) == described(real(name).DESCRIPTOR, names)


def test_regression_requests_are_classification_requests() -> None:
    names = set(MESSAGES["ExamplesRequest"])
    expected = described(regression_pb2.RegressionRequest.DESCRIPTOR, names)
    assert described(message("ExamplesRequest").DESCRIPTOR, names) == expected


def test_types_are_tensorflows() -> None:
    for name, kind in TYPES.items():
        assert types_pb2.DataType.Value(kind.name) == kind.number, name


def test_both_kinds_live_in_one_process_and_read_each_other() -> None:
    ours = message("PredictRequest")(model_spec={"name": "m"}, output_filter=["scores"])
    ours.model_spec.version.value = 2**40
    ours.inputs["x"].float_val.extend([1.5, 2.5])
    theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert theirs.model_spec.version.value == 2**40
    assert list(theirs.inputs["x"].float_val) == [1.5, 2.5]
    assert theirs.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True)
    back = message("PredictRequest").FromString(theirs.SerializeToString())
    assert back == ours
    assert type(back).DESCRIPTOR.file.pool is not predict_pb2.DESCRIPTOR.pool
