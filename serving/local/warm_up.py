"""Warm-up requests of a version: replayed before it is served, and a gate that they have to pass."""

from __future__ import annotations

import time

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from models.stack import tf
from pipeline import console
from pipeline.wording import quantity
from serving.errors import ServingError
from serving.local import examples, inference
from serving.local.inference import Setting
from serving.local.metrics import MICROSECONDS
from serving.local.servable import as_serving_errors

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000
FRAME_BYTES = 16
"""Around a record in a TFRecord file: its length and two checksums."""


def warm_up(setting: Setting, folder: str) -> None:
    """Replays `folder/assets.extra/tf_serving_warmup_requests`, if it is there.

    Raises:
        ServingError: a request fails, there are more than 1000, or the file is no TFRecord. The version is not served.
    """
    path = f"{folder}/{FILE}"
    if not tf.io.gfile.exists(path):
        return
    begun = time.perf_counter()
    try:
        count = _replay(setting, path)
    except ServingError as error:
        _observe(setting, folder, f"{error.code.name}: {error.message}", begun)
        raise
    _observe(setting, folder, "OK", begun)
    console.detail(f"{folder}: {quantity(count, 'warm-up request')} in {time.perf_counter() - begun:.2f} s")


def _observe(setting: Setting, folder: str, status: str, begun: float) -> None:
    latency = (time.perf_counter() - begun) * MICROSECONDS
    setting.metrics.warm_up_latency.labels(folder, status).observe(latency)


def _replay(setting: Setting, path: str) -> int:
    count = size = 0
    records = tf.compat.v1.io.tf_record_iterator(path)
    while (record := _next(records)) is not None:
        _run(setting, _parsed(record, path))
        count += 1
        size += len(record) + FRAME_BYTES
        if count > MAX_RECORDS:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}",
            )
    _warn_of_rest(path, size)
    return count


def _warn_of_rest(path: str, read: int) -> None:
    """To TensorFlow's reader fewer bytes than the head of a record are the end of the file: they pass the gate."""
    if rest := tf.io.gfile.stat(path).length - read:
        console.warn(
            f"{path}: its last {rest} bytes are no TFRecord and passed over, here as in TF Serving. Was it cut off?"
        )


def _next(records: object) -> bytes | None:
    try:
        with as_serving_errors():
            return next(records, None)  # type: ignore[call-overload]
    except ServingError as error:
        if error.code is not grpc.StatusCode.DATA_LOSS:
            raise
        message = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise ServingError(error.code, message) from error


def _parsed(record: bytes, path: str) -> PredictionLog:
    try:
        return PredictionLog.FromString(record)
    except DecodeError as error:
        shown = record.decode(errors="replace")
        message = f"Failed to parse warmup record: {shown} from {path}"
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, message) from error


def _run(setting: Setting, log: PredictionLog) -> None:
    """One record; the model that it names is not looked at."""
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        inference.predict(setting, log.predict_log.request)
    elif kind == "classify_log":
        examples.classify(setting, log.classify_log.request, None)
    elif kind == "regress_log":
        examples.regress(setting, log.regress_log.request, None)
    elif kind == "multi_inference_log":
        examples.multi_inference(setting, log.multi_inference_log.request, None)
    elif kind is not None:
        number = PredictionLog.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
