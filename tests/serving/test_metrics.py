"""The exposition: TF Serving's names, types and buckets, read by prometheus-client's own parser."""

from __future__ import annotations

import grpc
from prometheus_client.parser import text_string_to_metric_families

from serving.local.metrics import MAX_NAMES, OTHER_NAMES, Metrics

PREFIX = ":tensorflow:serving:"


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Name and labels -> value; counters as the parser renames them, with `_total` behind."""
    text = metrics.text().decode()
    assert "request_count_total" not in text and "_created" not in text
    families = text_string_to_metric_families(text)
    return {
        (one.name.removeprefix(PREFIX), tuple(sorted(one.labels.items()))): one.value
        for family in families
        for one in family.samples
    }


def test_requests_are_counted_by_model_and_status() -> None:
    metrics = Metrics()
    metrics.observe("m", "Predict", "GRPC", grpc.StatusCode.OK, 20e-6)
    metrics.observe("m", "Predict", "REST", grpc.StatusCode.NOT_FOUND, 5.0)
    found = samples(metrics)
    assert found["request_count_total", (("model_name", "m"), ("status", "OK"))] == 1
    assert found["request_count_total", (("model_name", "m"), ("status", "NOT_FOUND"))] == 1
    labels = (("API", "Predict"), ("entrypoint", "GRPC"), ("model_name", "m"))
    assert found["request_latency_count", labels] == 1
    assert abs(found["request_latency_sum", labels] - 20) < 1e-9
    assert not any(name == "request_latency_count" and ("entrypoint", "REST") in keys for name, keys in found)


def test_buckets_are_those_of_tf_serving() -> None:
    metrics = Metrics()
    metrics.observe_run("m", "Classify", 20e-6, examples=3)
    found = samples(metrics)
    limits = [dict(labels)["le"] for name, labels in found if name == "runtime_latency_bucket"]
    assert [float(limit) for limit in limits[:3]] == [10, 18, 32.4]
    assert len(limits) == 34 and limits[-1] == "+Inf"
    assert found["request_example_count_total", (("model", "m"),)] == 3
    assert found["request_example_counts_bucket", (("le", "2.0"), ("model", "m"))] == 0
    assert found["request_example_counts_bucket", (("le", "4.0"), ("model", "m"))] == 1


def test_increases_are_known_by_tensorflows_names() -> None:
    metrics = Metrics()
    metrics.observe("a", "Predict", "GRPC", grpc.StatusCode.OK, 1.0)
    metrics.observe("b", "Predict", "GRPC", grpc.StatusCode.OK, 1.0)
    assert metrics.counts()["/tensorflow/serving/request_count"] == 2


def test_names_that_nobody_serves_do_not_fill_the_memory() -> None:
    metrics = Metrics()
    for number in range(MAX_NAMES + 50):
        metrics.observe(str(number), "Predict", "GRPC", grpc.StatusCode.NOT_FOUND, 1.0)
    found = samples(metrics)
    assert found["request_count_total", (("model_name", OTHER_NAMES), ("status", "NOT_FOUND"))] == 50
    assert sum(name == "request_count_total" for name, _ in found) == MAX_NAMES + 1
