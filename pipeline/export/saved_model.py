"""The SavedModel for TensorFlow Serving: one network behind several signatures, published whole or not at all.

| signature         | input                                           | outputs                                        |
|-------------------|-------------------------------------------------|------------------------------------------------|
| `serving_default` | `image_bytes` string [B]: JPEG or PNG           | the task's predictions by name                 |
| `images`          | `image` uint8 [B,H,W,C]: pixels 0..255          | the same                                       |
| `classify`        | `inputs` string [B]: tf.Example, feature `image`| `classes` string [B,K], `scores` float32 [B,K] |
| `regress`         | `inputs` string [B]: tf.Example, feature `image`| `outputs` float32 [B,1]                        |

The last two exist for the tasks that they fit. From the bytes on, everything happens inside the graph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.preprocess import decode_and_fit_batch
from models.stack import keras, tf
from pipeline.data.example import IMAGE
from pipeline.errors import ExportError
from pipeline.export import ExportSettings
from pipeline.export.labels import LABEL_FILE, labels_text
from pipeline.export.warm_up import write_warm_up
from pipeline.files import new_folder
from pipeline.tasks.base import Task

Answer = Callable[..., dict[str, Any]]

BYTES_SIGNATURE = "serving_default"
PICTURES_SIGNATURE = "images"
BYTES_INPUT = "image_bytes"
EXAMPLES_INPUT = "inputs"


def export_saved_model(
    task: Task, model: keras.Model, folder: Path, sample_pictures: Sequence[bytes], settings: ExportSettings
) -> Path:
    """Writes a new version of the model into `folder`.

    Args:
        task: resolved.
        model: trained; `image` uint8 [B,H,W,C] in, the task's raw outputs out.
        folder: of all versions, TensorFlow Serving's `base_path`.
        sample_pictures: JPEG or PNG bytes for the warm-up requests.

    Returns:
        The version's folder, `folder/VERSION`.

    Raises:
        ExportError: the version exists already, or there is no picture to warm up with.
        StorageError: the disk is full or cannot be written.
    """
    target = folder / str(next_version(folder) if settings.version is None else settings.version)
    if target.exists():
        raise ExportError(
            f"Version {target.name} exists already in {folder}. Leave export.version out to get the next."
        )
    with new_folder(target) as unfinished:
        signatures = _save(task, model, unfinished)
        write_warm_up(task, unfinished, signatures, sample_pictures, settings)
    return target


def next_version(folder: Path) -> int:
    """One more than the highest version in `folder`, by number; 1 where there is none."""
    return max(versions(folder), default=0) + 1


def versions(folder: Path) -> dict[int, Path]:
    """The version folders as TensorFlow Serving finds them: every name that is a number (`00000123` is 123)."""
    return {int(path.name): path for path in folder.glob("*") if path.name.isascii() and path.name.isdigit()}


def _save(task: Task, model: keras.Model, folder: Path) -> list[str]:
    """Writes the SavedModel and gives the names of its signatures."""
    served = tf.Module()
    # Only the weights are tracked: the signatures hold the graph, so no Keras class is needed to load it.
    served.weights = list(model.variables)
    signatures = _signatures(task, task.serving_model(model))
    with tempfile.TemporaryDirectory() as scratch:
        if task.output_names:
            served.labels = tf.saved_model.Asset(str(_label_file(task, Path(scratch))))
        tf.saved_model.save(served, str(folder), signatures=signatures)
    _set_method_names(folder, [name for name in signatures if name not in (BYTES_SIGNATURE, PICTURES_SIGNATURE)])
    return list(signatures)


def _label_file(task: Task, folder: Path) -> Path:
    path = folder / LABEL_FILE
    path.write_text(labels_text(task.output_names), encoding="utf-8")
    return path


def _signatures(task: Task, serving: keras.Model) -> dict[str, Answer]:
    def from_pictures(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(serving({"image": image}, training=False))

    def from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return from_pictures(decode_and_fit_batch(image_bytes, task.picture))

    encoded = tf.TensorSpec([None], tf.string, name=BYTES_INPUT)
    pictures = tf.TensorSpec([None, *task.picture.shape], tf.uint8, name="image")
    blank = from_pictures(tf.zeros([1, *task.picture.shape], tf.uint8))
    return {
        BYTES_SIGNATURE: tf.function(from_bytes, input_signature=[encoded]),
        PICTURES_SIGNATURE: tf.function(from_pictures, input_signature=[pictures]),
        **{name: _example_signature(task, from_bytes, name) for name in task.example_signatures(blank)},
    }


def _example_signature(task: Task, from_bytes: Answer, name: str) -> Answer:
    """Classify and Regress send serialized tf.Examples; the picture's bytes are their feature `image`."""

    def from_examples(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(inputs, {IMAGE: tf.io.FixedLenFeature([], tf.string)})
        return task.example_signatures(from_bytes(features[IMAGE]))[name]

    return tf.function(from_examples, input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES_INPUT)])


def _set_method_names(folder: Path, names: Sequence[str]) -> None:
    """`tensorflow/serving/classify` and the like, which a server started with a method name check asks for."""
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    for name in names:
        updater.replace_method_name(name, f"tensorflow/serving/{name}", tags="serve")
    updater.save()
