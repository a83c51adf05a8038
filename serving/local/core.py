"""The verbs of the server, on TF Serving's own protos: what gRPC and REST both put their front before."""

from __future__ import annotations

import threading
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest, ClassificationResponse
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.errors import ServingError
from serving.local import examples, inference, model_config
from serving.local.labels import Labels
from serving.local.loading import Loader
from serving.local.manager import Manager
from serving.local.metrics import Metrics
from serving.local.settings import ServerOptions
from serving.local.version_state import Version
from serving.request_log.recorder import Log, NoLog

SIGNATURE_DEF = "signature_def"


class Core:
    """Answers requests; thread-safe and blocking. Every method raises ServingError, in TF Serving's words.

    `deadline` is a value of `time.monotonic()`, or None: a request that is too late before its model is run is refused;
    a run that has begun is finished.

    Args:
        options: how models are loaded.
        log: told of every Predict, Classify and Regress that was answered.

    Raises:
        ConfigError: a file that the options name cannot be read.
    """

    def __init__(self, options: ServerOptions, log: Log | None = None):
        self.prometheus_path = options.prometheus_path
        """Where REST exposes `metrics_text`; None where monitoring is off."""
        self._log = log or NoLog()
        self.metrics = Metrics(self._log.counts)
        self._loader = Loader(options, self.metrics)
        self._manager = Manager(self._loader, options)
        self._labels = Labels(options)
        self._configuring = threading.Lock()
        self._stopping = threading.Event()
        self._is_configured = False
        self._manager.start()

    def predict(self, request: PredictRequest, deadline: float | None = None) -> PredictResponse:
        """Runs a signature on tensors."""
        _require_spec(request)
        with self._manager.use(*self._resolved(request.model_spec)) as setting:
            return self._logged(request, inference.predict(setting, request, deadline))

    def classify(self, request: ClassificationRequest, deadline: float | None = None) -> ClassificationResponse:
        """Runs a signature on tf.Examples; labels and scores."""
        _require_spec(request)
        with self._manager.use(*self._resolved(request.model_spec)) as setting:
            return self._logged(request, examples.classify(setting, request, deadline))

    def regress(self, request: RegressionRequest, deadline: float | None = None) -> RegressionResponse:
        """Runs a signature on tf.Examples; one number each."""
        _require_spec(request)
        with self._manager.use(*self._resolved(request.model_spec)) as setting:
            return self._logged(request, examples.regress(setting, request, deadline))

    def multi_inference(self, request: MultiInferenceRequest, deadline: float | None = None) -> MultiInferenceResponse:
        """Runs several classify and regress signatures of one model on the same tf.Examples, at once."""
        spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
        with self._manager.use(*self._resolved(spec)) as setting:
            return examples.multi_inference(setting, request, deadline)

    def metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        """The signatures of a version."""
        _require_spec(request)
        if not request.metadata_field:
            raise _invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != SIGNATURE_DEF:
                # TF Serving's own words: its placeholder was never filled in.
                raise _invalid(f"Metadata field %s is not supported{name}")
        with self._manager.use(*self._resolved(request.model_spec)) as setting:
            packed = AnyMessage()
            packed.Pack(SignatureDefMap(signature_def=setting.servable.signatures))
            response = GetModelMetadataResponse(metadata={SIGNATURE_DEF: packed})
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = setting.version
            return response

    def status(self, request: GetModelStatusRequest) -> GetModelStatusResponse:
        """The states of all versions of a model, or of one; a label is not looked at, as in TF Serving."""
        _require_spec(request)
        spec = request.model_spec
        versions = self._manager.states(spec.name)
        if spec.HasField("version"):
            number = spec.version.value
            if number not in versions:
                raise _not_found(f"Could not find version {number} of model {spec.name}")
            versions = {number: versions[number]}
        elif not versions:
            raise _not_found(f"Could not find any versions of model {spec.name}")
        response = GetModelStatusResponse()
        for version in versions.values():
            _add_status(response, version)
        return response

    def reload(self, request: ReloadConfigRequest) -> ReloadConfigResponse:
        """Serves the models of another configuration; returns once those that are new serve."""
        if request.config.WhichOneof("config") != model_config.LIST:
            raise _invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        before = self.metrics.counts()
        self.configure(request.config)
        after = self.metrics.counts()
        response = ReloadConfigResponse()
        response.status.SetInParent()
        for name in dict.fromkeys(request.metric_names):
            response.metric.add(name=name, int64_value_increase=after.get(name, 0) - before.get(name, 0))
        return response

    def signature(self, model_spec: ModelSpec) -> SignatureDef:
        """The SignatureDef that a request means: resolves version, label or latest, and the signature's name.

        An unknown name has the words of TF Serving's REST front, the only one that asks.
        """
        name = inference.signature_name(model_spec)
        with self._manager.use(*self._resolved(model_spec)) as setting:
            if name not in setting.servable.signatures:
                raise _invalid(f'Serving signature name: "{name}" not found in signature def')
            return setting.servable.signatures[name]

    def metrics_text(self) -> bytes:
        """Prometheus exposition, text format 0.0.4."""
        return self.metrics.text()

    def observe(self, model: str, verb: str, entrypoint: str, code: grpc.StatusCode, seconds: float) -> None:
        """Counts an answered request: fronts call it after each one; see `Metrics.observe`."""
        self.metrics.observe(model, verb, entrypoint, code, seconds)

    def configure(self, config: ModelServerConfig) -> None:
        """Serves the models of `config` from now on, and waits until those that are new serve.

        Raises:
            ServingError: it is wrong, cannot follow the one before, or a new model cannot be loaded.
        """
        if not config.WhichOneof("config"):
            return
        with self._configuring:
            earlier = self._manager.models()
            model_config.check(config, earlier.values())
            models = config.model_config_list.config
            self._labels.update(models, self._manager)
            new = [model.name for model in models if model.name not in earlier]
            first, self._is_configured = not self._is_configured, True
            self._manager.configure(list(models))
            if not first:
                self._require_base_paths(new)
            self._manager.wait_until_available(new, "servable" if first else "model", self._stopping)

    def stop_waiting(self) -> None:
        """Ends a `configure` that waits for models; they stay configured."""
        self._stopping.set()

    def close(self) -> None:
        """Unloads everything, once it is answered."""
        self._stopping.set()
        self._manager.close()
        self._loader.close()
        self._log.close()

    def _logged(self, request: Any, response: Any) -> Any:
        self._log.offer(request, response)
        return response

    def _resolved(self, spec: ModelSpec) -> tuple[str, int | None]:
        if not spec.name:
            raise _invalid("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return spec.name, spec.version.value
        if choice == "version_label":
            return spec.name, self._labels.version(spec.name, spec.version_label)
        return spec.name, None

    def _require_base_paths(self, names: list[str]) -> None:
        """TF Serving would wait for them, and make every later reload wait as well."""
        self._manager.look()
        if missing := self._manager.missing(names):
            about = "".join(f"{{{{name: {name}}} due to error: NOT_FOUND: {why}}}, " for name, why in missing.items())
            message = f"{len(missing)} model(s) did not become available: {{{about}}}"
            raise ServingError(grpc.StatusCode.UNKNOWN, message)


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise _invalid("Missing ModelSpec")


def _add_status(response: GetModelStatusResponse, version: Version) -> None:
    status = response.model_version_status.add(version=version.number, state=version.state)
    status.status.SetInParent()
    if version.error is not None:
        status.status.error_code = version.error.code.value[0]
        status.status.error_message = version.error.message


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _not_found(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.NOT_FOUND, message)
