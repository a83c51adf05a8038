"""TF Serving's own configuration files, read and written through the real protocol buffers.

`models.config` is the state of a roll-out: which versions are loaded, and which of them the labels name. Writing it is
the one step that changes what is served.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from pipeline.errors import ConfigError
from pipeline.files import write_file
from pipeline.wording import quantity
from serving.protos.server_configs import BatchingParameters, MonitoringConfig, read_text

METRICS_PATH = "/monitoring/prometheus/metrics"
MEASURED = "# Measured by"
"""Begins a `batching.config` that holds what `convoy tune` measured, which `deploy` then leaves alone."""
EVIDENCE = "tune.json"
"""Beside it, under which conditions that was."""
LARGEST_BATCH = 64
SHARE_OF_LATENCY = 0.5
"""Of the wanted latency that one batch may compute: the one before it may have to be waited for."""


@dataclass(frozen=True)
class Served:
    """What servers are told of one model.

    Args:
        versions: to be loaded, ascending.
        labels: name -> version; all of them in `versions`.
    """

    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"versions": list(self.versions), "labels": dict(sorted(self.labels.items()))}


def served_in(document: Mapping[str, Any]) -> Served:
    """The Served of `as_document`."""
    return Served(tuple(document["versions"]), dict(document["labels"]))


def read_models(file: Path) -> Any:
    """The ModelServerConfig of a `models.config`, empty where there is no file; ConfigError where it is damaged."""
    from tensorflow_serving.config import model_server_config_pb2

    if not file.exists():
        return model_server_config_pb2.ModelServerConfig()
    return read_text(file, model_server_config_pb2.ModelServerConfig)


def served(config: Any, name: str) -> Served:
    """What a ModelServerConfig says of one model; nothing where it does not list the model."""
    for model in config.model_config_list.config:
        if model.name == name:
            versions = sorted(set(model.model_version_policy.specific.versions))
            return Served(tuple(versions), dict(model.version_labels))
    return Served()


def says(file: Path, name: str, base_path: str, state: Served) -> bool:
    """Whether a `models.config` says just this of one model."""
    config = read_models(file)
    return served(config, name) == state and any(
        model.name == name and model.base_path == base_path for model in config.model_config_list.config
    )


def write_models(file: Path, name: str, base_path: str, state: Served) -> None:
    """Puts one model into a `models.config`, at once; other models in it stay as they are.

    Raises:
        ConfigError: the file is damaged.
        StorageError: it cannot be written.
    """
    config = read_models(file)
    model = next((one for one in config.model_config_list.config if one.name == name), None)
    if model is None:
        model = config.model_config_list.config.add(name=name, model_platform="tensorflow")
    model.base_path = base_path
    model.model_version_policy.Clear()
    model.model_version_policy.specific.versions.extend(state.versions)
    model.version_labels.clear()
    model.version_labels.update(state.labels)
    write_text(file, config, ["Written by convoy deploy, publish, canary, promote and rollback."])


def write_text(file: Path, message: Any, notes: Sequence[str] = ()) -> None:
    """Writes a text protocol buffer with comments above it, after reading it back."""
    text = "".join(f"# {note}\n" for note in notes) + text_format.MessageToString(message)
    if text_format.Parse(text, type(message)(), descriptor_pool=message.DESCRIPTOR.file.pool) != message:
        raise ConfigError(f"{file} would not be read as it is meant; it was left as it was.")
    write_file(file, text)


def default_batching(cpus: int, latency_ms: float, picture_ms: float | None) -> tuple[Any, list[str]]:
    """BatchingParameters that suit most models, and where each of them comes from.

    Args:
        cpus: of one server.
        latency_ms: what most requests should stay below.
        picture_ms: measured median for one picture on one thread; None where nothing was measured.
    """
    largest = _largest_batch(latency_ms, picture_ms)
    wait = _wait_micros(latency_ms, picture_ms)
    source = (
        "Not measured: nothing says how long one picture takes."
        if picture_ms is None
        else f"From the median of {picture_ms:.2f} ms for one picture that `convoy verify` measured."
    )
    return batching(largest, wait, threads=cpus, queue=4 * cpus), [
        f"Defaults. {source} `convoy tune` measures and rewrites this file.",
        f"A batch of {largest} should compute in half of {latency_ms:g} ms; a request waits {wait} us for others.",
        f"{quantity(cpus, 'thread')}, one a processor; a queue of {4 * cpus} batches, beyond which requests get "
        "UNAVAILABLE.",
    ]


def batching(largest: int, wait_micros: int, threads: int, queue: int) -> Any:
    """BatchingParameters; batches are filled up to a power of two.

    Args:
        largest: batch, a power of two.
        wait_micros: that the first request of a batch waits for others.
        threads: that run batches at once.
        queue: batches that may wait; beyond, requests get UNAVAILABLE.
    """
    parameters = BatchingParameters()
    parameters.max_batch_size.value = largest
    parameters.batch_timeout_micros.value = wait_micros
    parameters.num_batch_threads.value = threads
    parameters.max_enqueued_batches.value = queue
    parameters.allowed_batch_sizes.extend(2**power for power in range(largest.bit_length()))
    return parameters


def write_monitoring(file: Path) -> None:
    """Writes a `monitoring.config` that shows Prometheus the metrics."""
    message = MonitoringConfig()
    message.prometheus_config.enable = True
    message.prometheus_config.path = METRICS_PATH
    write_text(file, message, ["Metrics for Prometheus, on the REST port."])


def is_measured(file: Path) -> bool:
    """Whether a `batching.config` holds what `convoy tune` measured."""
    return file.is_file() and file.read_text(encoding="utf-8").startswith(MEASURED)


def conditions_of(file: Path) -> Mapping[str, Any]:
    """Under which a `batching.config` was measured, such as `latency_ms` and `cpus`; empty where nothing says so."""
    try:
        found = json.loads(file.with_name(EVIDENCE).read_bytes())["conditions"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found if isinstance(found, Mapping) else {}


def measured_of(run: Path) -> Path:
    """Where `convoy tune` leaves the `batching.config` of a Run."""
    return run / "tune" / "batching.config"


def _largest_batch(latency_ms: float, picture_ms: float | None) -> int:
    """A power of two, so that padding stays below a half."""
    if picture_ms is None:
        return 16
    fitting = SHARE_OF_LATENCY * latency_ms / max(picture_ms, 1e-3)
    return 1 << (int(min(max(fitting, 1.0), LARGEST_BATCH)).bit_length() - 1)


def _wait_micros(latency_ms: float, picture_ms: float | None) -> int:
    """Half a picture's time, since longer waiting rarely fills a batch; never more than a tenth of the latency."""
    half = 1000 if picture_ms is None else round(500 * picture_ms)
    return min(max(half, 500), round(100 * latency_ms))
