"""The parts of a network that production calls one after the other, each a signature of one file. Of a Siamese tracker:
what an object looks like is computed once, where it is in every frame.

| signature  | inputs                                             | outputs                         |
|------------|----------------------------------------------------|---------------------------------|
| `template` | `image` [B,S,S,C] 0..255, the object in its middle | `template` float32 [B,k,k,F]    |
| `search`   | `image` [B,S,S,C] 0..255, and `template`           | `scores` [B,P], `boxes` [B,P,4] |

Pictures are uint8 in the SavedModel, where B is any number, and float32 in `.tflite` files, where it is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.graphs import with_float_input
from models.heads import IMAGE
from models.stack import keras, tf
from pipeline.compress import convert, flatbuffer
from pipeline.compress.compaction import compacted
from pipeline.export.contract import SAVED_MODEL
from pipeline.files import new_folder, write_file
from pipeline.predictors import named
from pipeline.tasks.base import Task, named_outputs

Inputs = Mapping[str, np.ndarray]

PARTS = "parts"
"""The folder beside the other exported files."""
FLOAT32, INT8 = "float32.tflite", "int8.tflite"
"""What it holds, beside the SavedModel."""


def publish_parts(task: Task, model: keras.Model, folder: Path, pictures: Callable[[], np.ndarray]) -> Path | None:
    """Writes the parts of a network as a SavedModel and as `.tflite` files, all or nothing, and says where; None where
    the task has none.

    Args:
        task: resolved.
        model: trained; `image` uint8 [B,H,W,C] in.
        folder: of all that is exported.
        pictures: gives those that the ranges of int8 come from, uint8 [n,H,W,C].

    Raises:
        ExportError: an operator is not one of TFLite's builtin ones.
        StorageError: it cannot be written.
    """
    if not task.parts(model):
        return None
    with new_folder(folder / PARTS) as unfinished:
        save_parts(task, model, unfinished / SAVED_MODEL)
        write_file(unfinished / FLOAT32, float32_file(task, model))
        write_file(unfinished / INT8, int8_file(task, model, pictures()))
    return folder / PARTS


def decoded_parts(task: Task, model: keras.Model) -> dict[str, keras.Model]:
    """Signature -> model, decoding included."""
    made = task.parts(model)
    last, raw = made.popitem()
    return {**made, last: keras.Model(raw.inputs, task.decode(named_outputs(raw)), name=last)}


def save_parts(task: Task, model: keras.Model, folder: Path) -> None:
    """Writes a SavedModel with a signature for each part."""
    made = decoded_parts(task, model)
    served = tf.Module()
    served.weights = list(model.variables)
    tf.saved_model.save(served, str(folder), {name: _signature(part) for name, part in made.items()})


def _signature(part: keras.Model) -> Callable[..., Mapping[str, Any]]:
    specs = {
        name: tf.TensorSpec(one.shape, one.dtype, name=name)
        for name, one in zip(part.input_names, part.inputs, strict=True)
    }

    def answer(**inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return named(part, part(inputs, training=False))

    return tf.function(answer).get_concrete_function(**specs)


def float32_file(task: Task, model: keras.Model) -> bytes:
    """A `.tflite` with a signature for each part.

    Raises:
        ExportError: an operator is not one of TFLite's builtin ones.
    """
    made = decoded_parts(task, with_float_input(model))
    return _runnable({name: convert.tflite_file(part) for name, part in made.items()})


def int8_file(task: Task, model: keras.Model, pictures: np.ndarray) -> bytes:
    """The same in int8; inputs and outputs stay float32, and so does the decoding.

    Args:
        pictures: uint8 [n,H,W,C], from which the ranges come.
    """
    made = task.parts(with_float_input(model))
    given = inputs_of(made, task.part_pictures(pictures.astype(np.float32)))
    files = {name: _quantized(part, given[name]) for name, part in made.items()}
    last, raw = list(made.items())[-1]
    decoding = convert.tflite_file(convert.decoding(task, raw))
    return _runnable({**files, last: flatbuffer.join(files[last], decoding)})


def inputs_of(parts: Mapping[str, keras.Model], pictures: Mapping[str, np.ndarray]) -> dict[str, Inputs]:
    """What each part takes, [n, ...] by name: its pictures, and what parts before it give of theirs."""
    known: dict[str, np.ndarray] = {}
    given: dict[str, Inputs] = {}
    for name, part in parts.items():
        known[IMAGE] = pictures[name]
        given[name] = {taken: known[taken] for taken in part.input_names}
        known |= part.predict(given[name], batch_size=1, verbose=0)
    return given


def _quantized(part: keras.Model, given: Inputs) -> bytes:
    def samples() -> Iterator[list[np.ndarray]]:
        for row in range(len(given[IMAGE])):
            yield [given[name][row : row + 1] for name in part.input_names]

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]

    return convert.tflite_file(part, prepare)


def _runnable(files: Mapping[str, bytes]) -> bytes:
    return convert.runnable(compacted(merged(files)))


def merged(files: Mapping[str, bytes]) -> bytes:
    """One `.tflite` of several with one signature each, which are then called by these names; what is equal in them is
    stored once by `compacted`."""
    models = {name: flatbuffer.unpack(content) for name, content in files.items()}
    whole: Any = None
    for name, model in models.items():
        (signature,) = model.signatureDefs
        signature.signatureKey = name.encode()
        whole = model if whole is None else _with_graph(whole, model)
    return flatbuffer.pack(whole)


def _with_graph(whole: Any, model: Any) -> Any:
    """`whole` with the one graph of another file behind its own."""
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    for tensor in graph.tensors:
        tensor.buffer += len(whole.buffers)
    for operator in graph.operators:
        operator.opcodeIndex += len(whole.operatorCodes)
    signature.subgraphIndex = len(whole.subgraphs)
    whole.buffers.extend(model.buffers)
    whole.operatorCodes.extend(model.operatorCodes)
    whole.subgraphs.append(graph)
    whole.signatureDefs.append(signature)
    return whole
