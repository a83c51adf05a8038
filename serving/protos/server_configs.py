"""The text files that TF Serving is configured with, as real protocol buffers.

`tensorflow-serving-api` ships ModelServerConfig, but not these. They are declared here under TF Serving's names and
numbers (session_bundle_config.proto, monitoring_config.proto, ssl_config.proto), in a pool of their own: one process
may also hold another declaration of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, text_format, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from pipeline.errors import ConfigError

M = TypeVar("M", bound=Message)
PACKAGE = "tensorflow.serving"
FILE = "convoy/server_configs.proto"

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"bool": _Field.TYPE_BOOL, "int64": _Field.TYPE_INT64, "string": _Field.TYPE_STRING}

_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "BatchingParameters": {
        "max_batch_size": (1, ".google.protobuf.Int64Value"),
        "batch_timeout_micros": (2, ".google.protobuf.Int64Value"),
        "max_enqueued_batches": (3, ".google.protobuf.Int64Value"),
        "num_batch_threads": (4, ".google.protobuf.Int64Value"),
        "thread_pool_name": (5, ".google.protobuf.StringValue"),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, ".google.protobuf.BoolValue"),
        "max_execution_batch_size": (9, ".google.protobuf.Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, f".{PACKAGE}.PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
}
"""Message -> field -> (number, type)."""


def _field(name: str, number: int, kind: str) -> Any:
    field = descriptor_pb2.FieldDescriptorProto(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind.startswith("repeated "):
        field.label = _Field.LABEL_REPEATED
        kind = kind.removeprefix("repeated ")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, kind
    return field


def _declared() -> DescriptorPool:
    pool = DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name=FILE, package=PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        declared.field.extend(_field(name, *about) for name, about in fields.items())
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _declared()


def _message_class(name: str) -> type[Any]:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


BatchingParameters = _message_class("BatchingParameters")
MonitoringConfig = _message_class("MonitoringConfig")
PrometheusConfig = _message_class("PrometheusConfig")
SSLConfig = _message_class("SSLConfig")


def read_text(file: Path, kind: type[M], name: str = "") -> M:
    """A text protocol buffer as a message.

    Args:
        file: to read.
        kind: the class of the message.
        name: of the message in errors; the class's own where it is left out.

    Raises:
        ConfigError: the file cannot be read, or is no text form of such a message.
    """
    name = name or kind.DESCRIPTOR.full_name
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {file}: {error}. Expected a text-format {name}.") from error
    try:
        return text_format.Parse(text, kind(), descriptor_pool=_POOL)
    except text_format.ParseError as error:
        raise ConfigError(f"Error parsing text-format {name}: {file}:{error}") from error
