"""From a version's folder to something that answers: the right kind of model, batched, warmed up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from models.stack import tf
from pipeline import console
from pipeline.errors import ConfigError
from serving.errors import ServingError
from serving.local.batching import BatchedServable, BatchOptions, BatchThreads
from serving.local.inference import Setting
from serving.local.metrics import Metrics
from serving.local.servable import SavedModelServable, Servable
from serving.local.settings import ServerOptions
from serving.local.tflite_servable import TfliteServable
from serving.local.versions import TFLITE
from serving.local.warm_up import warm_up
from serving.protos.server_configs import BatchingParameters, read_text

PER_MODEL_FILE = "batching_params.pbtxt"
TFLITE_FILE = "model.tflite"


class Loader:
    """Loads versions as the options say; used by several threads at once.

    Raises:
        ConfigError: the batching file cannot be read.
    """

    def __init__(self, options: ServerOptions, metrics: Metrics):
        self._options, self._metrics = options, metrics
        self._parameters: Any = read_text(options.batching, BatchingParameters) if options.batching else None
        batched = options.batching or options.per_model_batching
        self._threads = BatchThreads(self._parameters or BatchingParameters(), metrics) if batched else None

    def load(self, folder: str, version: int) -> Setting:
        """A version ready to answer.

        Raises:
            ServingError: it cannot be loaded, its batching parameters are wrong, or a warm-up request fails.
        """
        options = self._batch_options(folder)
        servable = self._wrapped(self._servable(folder), options)
        try:
            if self._options.warm_up:
                warm_up(self._setting(servable, None), folder)
        except BaseException:
            servable.close()
            raise
        return self._setting(servable, version)

    def close(self) -> None:
        """Ends the threads of batching."""
        if self._threads is not None:
            self._threads.close()

    def _servable(self, folder: str) -> Servable:
        if folder.endswith(TFLITE):
            return TfliteServable(folder)
        file = f"{folder}/{TFLITE_FILE}"
        if tf.io.gfile.exists(file) and not tf.io.gfile.exists(f"{folder}/saved_model.pb"):
            return TfliteServable(file)
        return SavedModelServable(folder, self._options.threads)

    def _wrapped(self, servable: Servable, options: BatchOptions | None) -> Servable:
        if options is None or self._threads is None:
            return servable
        return BatchedServable(servable, options, self._threads)

    def _batch_options(self, folder: str) -> BatchOptions | None:
        if not self._options.per_model_batching:
            return None if self._parameters is None else BatchOptions.of(self._parameters)
        file = Path(folder) / PER_MODEL_FILE
        return BatchOptions.of(_read(file)) if file.is_file() else None

    def _setting(self, servable: Servable, version: int | None) -> Setting:
        return Setting(servable, version, self._metrics, self._options.tensor_content, self._options.check_method_names)


def _read(file: Path) -> Message:
    import grpc

    try:
        return read_text(file, BatchingParameters)
    except ConfigError as error:
        console.warn(str(error))
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
