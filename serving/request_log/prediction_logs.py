"""TF Serving's own request logs: TFRecords of PredictionLog, as its LogCollectors and warm-up files hold them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from models.stack import tf
from pipeline.data.requests.picture import LoggedPicture
from pipeline.errors import DataError
from serving.request_log.pictures import pictures_of

KINDS = ("predict_log", "classify_log", "regress_log")


def logged_pictures(file: Path) -> Iterator[list[LoggedPicture]]:
    """The pictures of each record; none of a record without pictures, of another verb, or with damaged tensors.

    Args:
        file: TFRecords, plain or with `.gz` behind their name.

    Raises:
        DataError: it is missing, or holds something else.
    """
    if not file.is_file():
        raise DataError(f"There is no file {file}.")
    kind = "GZIP" if file.suffix == ".gz" else ""
    try:
        for record in tf.data.TFRecordDataset(str(file), kind).as_numpy_iterator():
            yield _pictures(PredictionLog.FromString(record), file.stat().st_mtime)
    except (tf.errors.DataLossError, DecodeError) as error:
        raise DataError(f"{file} holds no TFRecords of PredictionLog, or is cut short: {error}") from error


def _pictures(log: PredictionLog, written: float) -> list[LoggedPicture]:
    kind = log.WhichOneof("log_type")
    if kind not in KINDS:
        return []
    held = getattr(log, kind)
    seconds = float(log.log_metadata.timestamp_secs or written)
    if not held.response.HasField("model_spec"):
        held.response.model_spec.CopyFrom(log.log_metadata.model_spec)
    try:
        return pictures_of(held.request, held.response, seconds)
    except (ValueError, DecodeError, tf.errors.OpError):
        return []
