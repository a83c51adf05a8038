"""A variant's `.tflite` for devices: builtin operators only, described from the inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.compress import flatbuffer
from pipeline.compress.inspect import TfliteTensor, inspect_content
from pipeline.errors import ExportError
from pipeline.export.metadata import Table, model_metadata, output_metadata, write_metadata
from pipeline.files import write_file
from pipeline.tasks.base import Meaning, Task

SUBGRAPHS = 3
"""The slot of ModelMetadata."""


def publish_variants(task: Task, variants: Mapping[str, Path], folder: Path) -> list[Path]:
    """Publishes the file of each variant in a folder, by its name; arguments and errors as of `publish_tflite`."""
    return [publish_tflite(task, file.read_bytes(), folder / f"{name}.tflite", name) for name, file in variants.items()]


def publish_tflite(task: Task, model: bytes, path: Path, name: str) -> Path:
    """Writes `model` with metadata and labels to `path`, whole or not at all.

    Args:
        task: resolved; says the picture's format, the labels, and what the predictions mean.
        model: a converted variant.
        name: of the variant, for messages and the metadata, such as `int8`.

    Raises:
        ExportError: the model needs operators that the TFLite runtime does not have.
        StorageError: the disk is full or cannot be written.
    """
    return publish(task, model, path, name, task.meanings())


def publish(
    task: Task,
    model: bytes,
    path: Path,
    name: str,
    meanings: Mapping[str, Meaning],
    more: Mapping[int, Any] = MappingProxyType({}),
) -> Path:
    """The same for a file whose outputs mean something else.

    Args:
        meanings: of the file's outputs, by name.
        more: what else the metadata says of the graph, by the schema's slots of SubGraphMetadata.
    """
    refuse_other_operators(model, name)
    outputs = [_describe(task, tensor, meanings) for tensor in _outputs_in_file_order(model)]
    described = model_metadata(name, f"{type(task).__name__}, variant {name}.", task.picture, outputs)
    described[SUBGRAPHS][0].update(more)
    write_file(path, write_metadata(model, described, task.output_names))
    return path


def refuse_other_operators(model: bytes, name: str) -> None:
    """Raises ExportError listing the operators of `model` that are not TFLite's own (custom ones and TensorFlow's)."""
    codes = flatbuffer.unpack(model).operatorCodes
    others = sorted({code.customCode.decode() for code in codes if code.customCode})
    if others:
        raise ExportError(
            f"Variant {name!r} needs operators that the TFLite runtime does not have: {', '.join(others)}. "
            "Use operators with a TFLite builtin in the model's graph and in the task's decode."
        )


def labelled(task: Task, meaning: Meaning, shape: Sequence[int]) -> bool:
    """Whether the last axis of a prediction [B, ...] has one entry for each of the task's names."""
    names = len(task.output_names)
    return meaning.content == "feature" and names > 0 and len(shape) > 1 and shape[-1] == names


def _outputs_in_file_order(model: bytes) -> list[TfliteTensor]:
    """Metadata lists the outputs in the order of the graph; a signature's order is its own."""
    tree: Any = flatbuffer.unpack(model)
    names = {entry.tensorIndex: entry.name.decode() for entry in tree.signatureDefs[0].outputs}
    tensors = {tensor.name: tensor for tensor in inspect_content(model).outputs}
    return [tensors[names[index]] for index in tree.subgraphs[0].outputs]


def _describe(task: Task, tensor: TfliteTensor, meanings: Mapping[str, Meaning]) -> Table:
    meaning = meanings.get(tensor.name, Meaning(""))
    indexes_names = meaning.content == "categories" and len(task.output_names) > 0
    return output_metadata(tensor.name, meaning, indexes_names or labelled(task, meaning, tensor.shape))
