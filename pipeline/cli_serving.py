"""The verb that answers requests: serve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import cli_serve_options as given
from pipeline.command import verb
from pipeline.console import terminal
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from serving.local.server import Ports
    from serving.request_log.recorder import Recorder

NO_SERVER_OPTIONS = (
    *("model", "model_name", "variant", "header_seconds", "body_seconds", "idle_seconds"),
    *("request_log", "log_share", "log_limit_gib", "log_shard_mib", "log_shard_minutes"),
)
"""Parameters of `serve` that are no fields of ServerOptions."""


@verb
def serve(
    model: given.Model,
    model_name: given.ServedName = "default",
    variant: given.Variant = None,
    host: given.Host = "127.0.0.1",
    grpc_port: given.GrpcPort = 8500,
    rest_port: given.RestPort = 8501,
    batching: given.Batching = None,
    per_model_batching: given.PerModelBatching = False,
    monitoring: given.Monitoring = None,
    file_poll_seconds: given.FilePoll = 1.0,
    config_poll_seconds: given.ConfigPoll = 0.0,
    max_load_retries: given.LoadRetries = 5,
    load_retry_seconds: given.RetryInterval = 60.0,
    allow_labels_for_unavailable: given.AllowLabels = False,
    warm_up: given.WarmUp = True,
    tensor_content: given.TensorContent = False,
    check_method_names: given.CheckMethodNames = False,
    threads: given.Threads = None,
    max_message_bytes: given.MaxMessage = 2**31 - 1,
    max_body_bytes: given.MaxBody = 256 * 2**20,
    rest_timeout_ms: given.RestTimeout = 30_000,
    rest_threads: given.RestThreads = 8,
    grpc_threads: given.GrpcThreads = 64,
    header_seconds: given.HeaderSeconds = 20.0,
    body_seconds: given.BodySeconds = 30.0,
    idle_seconds: given.IdleSeconds = 60,
    cors: given.RestCors = False,
    tls: given.SslConfig = None,
    tls_key: given.TlsKey = None,
    tls_certificate: given.TlsCertificate = None,
    tls_client_ca: given.TlsClientCa = None,
    drain_seconds: given.DrainSeconds = 30.0,
    request_log: given.RequestLog = None,
    log_share: given.LogShare = 0.01,
    log_limit_gib: given.LogLimit = 10.0,
    log_shard_mib: given.LogShardMib = 64.0,
    log_shard_minutes: given.LogShardMinutes = 60.0,
) -> None:
    """Answer over REST and gRPC like TF Serving does, on this machine, until Ctrl-C or SIGTERM."""
    # Before anything else is named: the parameters that are not taken out here are the fields of ServerOptions.
    chosen = {name: value for name, value in locals().items() if name not in NO_SERVER_OPTIONS}
    from models.stack import leave_kernels_to_tensorflow

    leave_kernels_to_tensorflow()
    from serving.deployment import production_folder
    from serving.local import server
    from serving.local.settings import Patience, ServerOptions

    if (production := production_folder(model)) is not None:
        model = production.models_config
        chosen |= {name: value for name, value in production.server_options().items() if not chosen[name]}
    chosen["prometheus_path"] = _prometheus_path(chosen.pop("monitoring"))
    chosen["patience"] = Patience(header_seconds=header_seconds, body_seconds=body_seconds, idle_seconds=idle_seconds)
    options = ServerOptions(**{**chosen, "rest_port": None if rest_port < 0 else rest_port})
    config, file = _models(model, model_name, variant)
    log = _recorder(request_log, log_share, log_limit_gib, log_shard_mib, log_shard_minutes)
    server.serve(config, options, file, lambda ports: _tell_ports(host, ports), log)


def _recorder(
    folder: Path | None, share: float, limit_gib: float, shard_mib: float, shard_minutes: float
) -> Recorder | None:
    """What logs requests to the folder; None where there is none."""
    if folder is None:
        return None
    from pipeline.data.requests.writer import LogLimits, RequestWriter
    from serving.request_log.recorder import Recorder, Sampling

    limits = LogLimits(limit_gib=limit_gib, shard_mib=shard_mib, shard_minutes=shard_minutes)
    return Recorder(RequestWriter(folder, limits), Sampling(share=share))


def _models(model: Path, name: str, variant: str | None) -> tuple[Any, Path | None]:
    """The configuration that `model` stands for, and the file that it was read from."""
    from pipeline.locations import is_remote
    from serving.local.model_config import base_path_of, one_model, read_config

    if is_remote(model):
        return one_model(str(model), name), None
    if (model / "config.yaml").is_file() or variant is not None:
        return one_model(str(_exported(model, variant).resolve()), name), None
    if model.is_file() and model.suffix != ".tflite":
        return read_config(model), model
    return one_model(str(base_path_of(model)), name), None


def _exported(folder: Path, variant: str | None) -> Path:
    from pipeline.errors import nearest
    from pipeline.run import Run

    run = Run(folder)
    if variant is None:
        return run.require(run.saved_model, "export")
    found = {file.stem: file for file in run.require(run.tflite, "export").glob("*.tflite")}
    if variant not in found:
        raise ConfigError(f"{run.tflite} has no variant {variant!r}. {nearest(variant, found)}")
    return found[variant]


def _prometheus_path(file: Path | None) -> str | None:
    from serving.local.settings import PROMETHEUS_PATH
    from serving.protos.server_configs import MonitoringConfig, read_text

    if file is None:
        return PROMETHEUS_PATH
    config: Any = read_text(file, MonitoringConfig)
    return (config.prometheus_config.path or PROMETHEUS_PATH) if config.prometheus_config.enable else None


def _tell_ports(host: str, ports: Ports) -> None:
    rest = "" if ports.rest is None else f", REST at http://{host}:{ports.rest}"
    terminal.answer(
        {"host": host, "grpc_port": ports.grpc, "rest_port": ports.rest}, f"serving: gRPC at {host}:{ports.grpc}{rest}"
    )
    sys.stdout.flush()
