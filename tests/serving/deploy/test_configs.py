"""TF Serving's text files, read back by the real protocol buffers."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipeline.errors import ConfigError
from serving import configs
from serving.configs import Served
from serving.protos.server_configs import BatchingParameters, MonitoringConfig, read_text

OTHER = """
model_config_list { config {
  name: "other" base_path: "/other" model_platform: "tensorflow"
  model_version_policy { latest { num_versions: 2 } }
  logging_config { sampling_config { sampling_rate: 0.5 } }
} }
"""


def test_one_model_is_written_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(OTHER)
    configs.write_models(file, "flowers", "/srv/models/flowers", Served((1, 3), {"stable": 1, "canary": 3}))
    configs.write_models(file, "flowers", "/srv/models/flowers", Served((3,), {"stable": 3}))
    parsed = text_format.Parse(file.read_text(), ModelServerConfig())
    other, flowers = parsed.model_config_list.config
    assert other == text_format.Parse(OTHER, ModelServerConfig()).model_config_list.config[0]
    assert (flowers.name, flowers.base_path, flowers.model_platform) == ("flowers", "/srv/models/flowers", "tensorflow")
    assert list(flowers.model_version_policy.specific.versions) == [3]
    assert flowers.model_version_policy.WhichOneof("policy_choice") == "specific"
    assert dict(flowers.version_labels) == {"stable": 3}
    assert configs.served(configs.read_models(file), "flowers") == Served((3,), {"stable": 3})


def test_a_damaged_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("model_config_list { config { nam")
    with pytest.raises(ConfigError, match=r"models\.config"):
        configs.write_models(file, "flowers", "/models", Served((1,), {}))
    assert file.read_text() == "model_config_list { config { nam"


@pytest.mark.parametrize(
    ("latency_ms", "picture_ms", "largest", "wait"),
    [
        (200, None, 16, 1000),  # nothing measured
        (200, 2.5, 32, 1250),  # half of 200 ms is 40 pictures; half a picture is 1250 us
        (200, 0.1, 64, 500),  # never above 64, never below 500 us
        (200, 500, 1, 20_000),  # slower than the aim: one by one, waiting a tenth of it at most
        (3, 1.0, 1, 300),  # 1.5 pictures fit
    ],
)
def test_defaults_of_batching(latency_ms: float, picture_ms: float | None, largest: int, wait: int) -> None:
    found, notes = configs.default_batching(3, latency_ms, picture_ms)
    assert (found.max_batch_size.value, found.batch_timeout_micros.value) == (largest, wait)
    assert (found.num_batch_threads.value, found.max_enqueued_batches.value) == (3, 12)
    assert list(found.allowed_batch_sizes) == [1, 2, 4, 8, 16, 32, 64][: largest.bit_length()]
    assert ("Not measured" in notes[0]) == (picture_ms is None)


def test_batching_and_monitoring_are_read_as_they_were_meant(made: Path) -> None:
    batching = read_text(made / "batching.config", BatchingParameters)
    assert batching == configs.default_batching(2, 200.0, 2.5)[0]  # 2.5 ms stand in verification.json
    assert batching.allowed_batch_sizes[-1] == batching.max_batch_size.value  # else TF Serving does not start
    monitoring = read_text(made / "monitoring.config", MonitoringConfig)
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"
