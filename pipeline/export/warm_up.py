"""Warm-up requests: what TensorFlow Serving replays before a version is served, so that no user waits for first runs.

The file is a gate too: a server refuses a version whose requests fail, so it holds real pictures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.preprocess import decode_and_fit_batch
from models.stack import tf
from pipeline.data.example import IMAGE
from pipeline.errors import ExportError
from pipeline.export import ExportSettings

if TYPE_CHECKING:
    from pipeline.tasks.base import Task

WARM_UP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def write_warm_up(
    task: Task, version: Path, signatures: Sequence[str], pictures: Sequence[bytes], settings: ExportSettings
) -> None:
    """Writes `settings.warmup_requests` requests, over all batch sizes and signatures in turn, into a SavedModel.

    Args:
        version: the SavedModel's folder.
        signatures: names, each one a key of `REQUESTS`.
        pictures: JPEG or PNG bytes, used in turn.

    Raises:
        ExportError: requests are asked for and there are no pictures.
    """
    if settings.warmup_requests == 0:
        return
    if not pictures:
        raise ExportError("Warm-up requests need at least one picture. Give some, or set export.warmup_requests=0.")
    path = version / WARM_UP_FILE
    path.parent.mkdir()
    kinds = islice(cycle(product(settings.warmup_batch_sizes, signatures)), settings.warmup_requests)
    endless = cycle(pictures)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size, signature in kinds:
            log = REQUESTS[signature](list(islice(endless, size)), task)
            writer.write(_addressed(log, settings.model_name, signature).SerializeToString())


def _predict_encoded(pictures: list[bytes], task: Task) -> Any:
    return _predict_log("image_bytes", tf.constant(pictures))


def _predict_pixels(pictures: list[bytes], task: Task) -> Any:
    return _predict_log("image", decode_and_fit_batch(tf.constant(pictures), task.picture))


def _classify(pictures: list[bytes], task: Task) -> Any:
    log = _empty_log()
    _add_examples(log.classify_log.request.input, pictures)
    return log


def _regress(pictures: list[bytes], task: Task) -> Any:
    log = _empty_log()
    _add_examples(log.regress_log.request.input, pictures)
    return log


REQUESTS = {
    "serving_default": _predict_encoded,
    "images": _predict_pixels,
    "classify": _classify,
    "regress": _regress,
}


def _predict_log(name: str, tensor: tf.Tensor) -> Any:
    log = _empty_log()
    log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(tensor))
    return log


def _add_examples(inputs: Any, pictures: list[bytes]) -> None:
    for picture in pictures:
        example = inputs.example_list.examples.add()
        example.features.feature[IMAGE].bytes_list.value.append(picture)


def _addressed(log: Any, model: str, signature: str) -> Any:
    request = getattr(log, log.WhichOneof("log_type")).request
    request.model_spec.name, request.model_spec.signature_name = model, signature
    return log


def _empty_log() -> Any:
    from tensorflow_serving.apis import prediction_log_pb2

    return prediction_log_pb2.PredictionLog()
