"""The parts of a network that production calls one after the other, each a signature of one file. Of a Siamese tracker:
what an object looks like is computed once, where it is in every frame.

| signature  | inputs                                             | outputs                         |
|------------|----------------------------------------------------|---------------------------------|
| `template` | `image` [B,S,S,C] 0..255, the object in its middle | `template` float32 [B,k,k,F]    |
| `search`   | `image` [B,S,S,C] 0..255, and `template`           | `scores` [B,P], `boxes` [B,P,4] |

Pictures are uint8 in the SavedModel, where B is any number, and float32 in `.tflite` files, where it is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from models.graphs import with_float_input
from models.heads import IMAGE
from models.stack import keras, tf
from pipeline.compress import convert, flatbuffer
from pipeline.compress.base import Compression, PartCompression, PartJob
from pipeline.compress.calibration import Ranges
from pipeline.compress.compaction import compacted
from pipeline.export.contract import SAVED_MODEL
from pipeline.files import new_folder, write_file
from pipeline.predictors import named
from pipeline.tasks.base import Task, named_outputs

Inputs = Mapping[str, np.ndarray]

PARTS = "parts"
"""The folder beside the other exported files."""


def publish_parts(
    task: Task,
    model: keras.Model,
    folder: Path,
    variants: Sequence[Compression],
    pictures: Callable[[], np.ndarray],
    ranges: Ranges,
) -> Path | None:
    """Writes the parts of a network as a SavedModel and as a `.tflite` for each variant, all or nothing, and says
    where; None where the task has none.

    Args:
        task: resolved.
        model: trained; `image` uint8 [B,H,W,C] in.
        folder: of all that is exported.
        variants: `NAME.tflite` is what each is called; a configuration with others than PartCompressions is refused.
        pictures: gives those that ranges of activations come from, uint8 [n,H,W,C]; asked once, where any are needed.
        ranges: how, where a variant does not say it.

    Raises:
        ExportError: a variant, or TFLite's builtin operators, cannot express a part.
        StorageError: it cannot be written.
    """
    if not task.part_names:
        return None
    divided = Divided(task, model, pictures, ranges)
    with new_folder(folder / PARTS) as unfinished:
        save_parts(task, model, unfinished / SAVED_MODEL)
        for variant in (one for one in variants if isinstance(one, PartCompression)):
            write_file(unfinished / f"{variant.variant_name}.tflite", divided.file(variant))
    return folder / PARTS


class Divided:
    """A trained network in parts that wait to be compressed. Arguments as of `publish_parts`."""

    def __init__(self, task: Task, model: keras.Model, pictures: Callable[[], np.ndarray], ranges: Ranges):
        self._task, self._pictures, self._ranges = task, pictures, ranges
        self._parts = task.parts(convert.in_float32(with_float_input(model)))

    def file(self, variant: PartCompression) -> bytes:
        """A `.tflite` with a signature for each part, the task's decoding behind the last; float32 in and out."""
        files = {name: variant.convert_part(self._job(name, part)) for name, part in self._others.items()}
        name, last = self._last
        made = convert.with_decoding(last, self._task, lambda model: variant.convert_part(self._job(name, model)))
        return convert.runnable(compacted(merged({**files, name: made})))

    @property
    def _last(self) -> tuple[str, keras.Model]:
        return list(self._parts.items())[-1]

    @property
    def _others(self) -> dict[str, keras.Model]:
        return {name: part for name, part in self._parts.items() if name != self._last[0]}

    def _job(self, name: str, model: keras.Model) -> PartJob:
        return PartJob(model, lambda: self._inputs[name], self._ranges)

    @cached_property
    def _inputs(self) -> dict[str, Inputs]:
        """What each part takes of the calibration pictures."""
        pictures = self._pictures().astype(np.float32)
        return inputs_of(self._parts, self._task.part_pictures(pictures))


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


def inputs_of(parts: Mapping[str, keras.Model], pictures: Mapping[str, np.ndarray]) -> dict[str, Inputs]:
    """What each part takes, [n, ...] by name: its pictures, and what parts before it give of theirs."""
    known: dict[str, np.ndarray] = {}
    given: dict[str, Inputs] = {}
    for name, part in parts.items():
        known[IMAGE] = pictures[name]
        given[name] = {taken: known[taken] for taken in part.input_names}
        known |= part.predict(given[name], batch_size=1, verbose=0)
    return given


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
