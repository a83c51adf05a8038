"""`contract.json`: everything that a client of the exported files has to know, and checksums to know them by.

The form is documented in `docs/export.md`. Names, shapes and types are read back from the files themselves; what they
mean comes from the task.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.stack import tf
from pipeline.compress.inspect import TfliteTensor, inspect_file
from pipeline.export.tflite import labelled
from pipeline.files import write_file
from pipeline.tasks.base import Meaning, Task

FORMAT = 1
SAVED_MODEL = "saved_model"
"""The SavedModel's folder, of what is called in parts."""

COLOURS = {
    1: "grey",
    2: "grey; then 255 where the pixel is known, 0 where it is missing",
    3: "RGB",
    4: "RGB; then 255 where the pixel is known, 0 where it is missing",
}
INPUTS = {
    "image_bytes": Meaning("An encoded picture, JPEG or PNG, of any size."),
    "image": Meaning("Pixels of a picture, already decoded and brought to size.", 0, 255),
    "inputs": Meaning("A serialized tf.Example whose feature `image` holds an encoded picture."),
}
EXAMPLE_OUTPUTS = {
    "classes": Meaning("The labels, beside their scores."),
    "scores": Meaning("The score of each label.", 0.0, 1.0),
    "outputs": Meaning("The prediction."),
}


def write_contract(
    folder: Path,
    task: Task,
    saved_model: Path,
    tflite: Mapping[str, Path],
    environment: Mapping[str, Any],
    parts: Path | None = None,
) -> Path:
    """Writes `folder/contract.json` about the exported files, all of which lie under `folder`.

    Args:
        task: resolved.
        saved_model: one version's folder.
        tflite: variant -> file; what else lies beside them gets a checksum, and is not described.
        environment: as `pipeline.environment` gives it: versions, git revision, seed, devices, host.
        parts: the folder of what is called in parts, as `pipeline.export.parts` writes it, where there is one.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    files = [*_files_in(saved_model), *_beside(tflite.values()), *(_files_in(parts) if parts else [])]
    content = {
        "format": FORMAT,
        "task": task.model_dump(mode="json"),
        "labels": list(task.output_names),
        "preprocessing": preprocessing(task),
        "saved_model": {"path": _relative(saved_model, folder), "signatures": _signatures(task, saved_model)},
        "tflite": {
            name: {"path": _relative(file, folder), **describe_tflite(task, file)} for name, file in tflite.items()
        },
        **({"parts": _parts(task, parts, folder)} if parts else {}),
        "environment": dict(environment),
        "checksums": {_relative(file, folder): checksum(file) for file in files},
    }
    path = folder / "contract.json"
    write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def _parts(task: Task, parts: Path, folder: Path) -> dict[str, Any]:
    """The same signatures are in each of the files."""
    saved_model = parts / SAVED_MODEL
    files = sorted(parts.glob("*.tflite"))
    return {
        "saved_model": {"path": _relative(saved_model, folder), "signatures": _signatures(task, saved_model)},
        "tflite": {file.stem: {"path": _relative(file, folder)} for file in files},
    }


def preprocessing(task: Task) -> dict[str, Any]:
    """How a picture becomes `image`. The signatures that take bytes do this themselves."""
    picture = task.picture
    return {
        **picture.model_dump(mode="json"),
        "colour": COLOURS[picture.channels],
        "resize": "bilinear, antialiased where the picture shrinks, rounded",
        "dtype": "uint8",
        "range": [0, 255],
        "normalisation": "none: it is part of the network",
    }


def describe_tflite(task: Task, file: Path) -> dict[str, Any]:
    """The signature, inputs and outputs of a `.tflite`, as they stand in the contract."""
    found = inspect_file(file)
    return {
        "signature": "serving_default",
        "inputs": [_stored(task, tensor, INPUTS) for tensor in found.inputs],
        "outputs": [_stored(task, tensor, task.meanings()) for tensor in found.outputs],
    }


def checksum(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_signatures(saved_model: Path) -> Mapping[str, Any]:
    """Name -> SignatureDef of a SavedModel, without loading it."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    defined: Mapping[str, Any] = saved.meta_graphs[0].signature_def
    return {name: defined[name] for name in sorted(defined) if not name.startswith("__")}


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _files_in(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _beside(files: Iterable[Path]) -> Sequence[Path]:
    return sorted({one for file in files for one in _files_in(file.parent)})


def _signatures(task: Task, saved_model: Path) -> dict[str, Any]:
    return {name: _signature(task, definition) for name, definition in read_signatures(saved_model).items()}


def _signature(task: Task, definition: Any) -> dict[str, Any]:
    answers = task.meanings() if definition.method_name.endswith("/predict") else EXAMPLE_OUTPUTS
    return {
        "method": definition.method_name,
        "inputs": [_served(task, name, info, INPUTS) for name, info in sorted(definition.inputs.items())],
        "outputs": [_served(task, name, info, answers) for name, info in sorted(definition.outputs.items())],
    }


def _served(task: Task, name: str, info: Any, meanings: Mapping[str, Meaning]) -> dict[str, Any]:
    shape = [axis.size if axis.size >= 0 else None for axis in info.tensor_shape.dim]
    dtype = tf.as_dtype(info.dtype).name
    return _tensor(task, name, shape, dtype, meanings.get(name, Meaning("")))


def _stored(task: Task, tensor: TfliteTensor, meanings: Mapping[str, Meaning]) -> dict[str, Any]:
    """A quantized tensor stores (real / scale + zero_point); `range` and `meaning` speak of the real values."""
    described = _tensor(task, tensor.name, tensor.shape, tensor.dtype, meanings.get(tensor.name, Meaning("")))
    if tensor.scale is None:
        return described
    return {**described, "quantization": {"scale": tensor.scale, "zero_point": tensor.zero_point}}


def _tensor(task: Task, name: str, shape: Sequence[int | None], dtype: str, meaning: Meaning) -> dict[str, Any]:
    """Entry of one input or output; an axis of any length is null."""
    return {
        "name": name,
        "shape": list(shape),
        "dtype": dtype,
        "range": None if meaning.low is None and meaning.high is None else [meaning.low, meaning.high],
        "meaning": meaning.text,
        "content": meaning.content,
        "threshold": meaning.threshold,
        "labelled": name not in INPUTS and labelled(task, meaning, [size or -1 for size in shape]),
    }
