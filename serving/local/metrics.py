"""What the server counts, under TF Serving's names: `:tensorflow:serving:request_count` and so on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

PREFIX = ":tensorflow:serving:"
TOTAL = b"_total"
MAX_NAMES = 1000
OTHER_NAMES = "(other)"
MICROSECONDS = 1e6


def exponential(scale: float, growth: float, count: int) -> Sequence[float]:
    """Upper limits of TensorFlow's exponential buckets, in the six digits that it writes; the last one is open."""
    return [*(float(f"{scale * growth**power:.6g}") for power in range(count)), math.inf]


LATENCY = exponential(10, 1.8, 33)
"""Microseconds, to about 20 minutes."""
QUEUING = exponential(100, 1.2, 52)
"""Microseconds, to about a second."""
EXAMPLES = exponential(1, 2, 15)
BATCHES = exponential(1, 2, 12)


class Metrics:
    """The counters and histograms of one server; thread-safe.

    Args:
        logged: what became of the requests that were drawn for the request log; empty where there is none.
    """

    def __init__(self, logged: Callable[[], Mapping[str, int]] = dict) -> None:
        # TF Serving has no series for when a metric was made.
        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._registry.register(_RequestLog(logged))
        self._names: set[str] = set()
        self.requests = self._counter("request_count", "The total number of requests.", "model_name", "status")
        self.request_latency = self._histogram(
            "request_latency",
            "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
            LATENCY,
            *("model_name", "API", "entrypoint"),
        )
        self.runtime_latency = self._histogram(
            "runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            LATENCY,
            *("model_name", "API", "runtime"),
        )
        self.examples = self._counter(
            "request_example_count_total", "The total number of tensorflow.Examples.", "model"
        )
        self.example_counts = self._histogram(
            "request_example_counts", "The number of tensorflow.Examples per request.", EXAMPLES, "model"
        )
        self.warm_up_latency = self._histogram(
            "model_warmup_latency",
            "Distribution of wall time (in microseconds) for warming up the model.",
            LATENCY,
            *("model_path", "status"),
        )
        self.queuing_latency = self._histogram(
            "batching_session:queuing_latency",
            "Distribution of wall time spent (in microseconds) in queuing",
            QUEUING,
            "thread_pool_name",
        )
        self.batch_sizes = self._histogram(
            "batching_session:processed_batch_size", "Rows of a batch, padding included.", BATCHES, "thread_pool_name"
        )
        self.batch_runs = self._counter(
            "batching_session:wrapped_run_count", "Total count of run calls on the wrapped session"
        )

    def observe(self, model: str, verb: str, entrypoint: str, code: grpc.StatusCode, seconds: float) -> None:
        """Counts a request that a front has answered.

        Args:
            model: as the request named it.
            verb: `Predict`, `Classify`, `Regress`, `MultiInference`.
            entrypoint: `GRPC` or `REST`.
            code: `OK`, or of the error.
            seconds: from its arrival to its answer; only answers without error have a latency.
        """
        model = self._counted_name(model)
        self.requests.labels(model, code.name).inc()
        if code is grpc.StatusCode.OK:
            self.request_latency.labels(model, verb, entrypoint).observe(seconds * MICROSECONDS)

    def observe_run(self, model: str, verb: str, seconds: float, examples: int | None = None) -> None:
        """Counts one call of a model, and the tf.Examples that it was given."""
        self.runtime_latency.labels(model, verb, "TF1").observe(seconds * MICROSECONDS)
        if examples is not None:
            self.examples.labels(model).inc(examples)
            self.example_counts.labels(model).observe(examples)

    def _counted_name(self, model: str) -> str:
        """Names that no model has are counted too, as TF Serving does; without a limit they could fill the memory."""
        if model in self._names or len(self._names) < MAX_NAMES:
            self._names.add(model)
            return model
        return OTHER_NAMES

    def text(self) -> bytes:
        """The exposition in text format 0.0.4, names as TF Serving writes them."""
        text = generate_latest(self._registry)
        for name in (b"request_count", b"batching_session:wrapped_run_count"):
            full = PREFIX.encode() + name
            text = text.replace(full + TOTAL, full)
        return text

    def counts(self) -> Mapping[str, int]:
        """`/tensorflow/serving/NAME` -> value summed over its labels, of the counters."""
        totals: dict[str, float] = {}
        for metric in self._registry.collect():
            if metric.type == "counter":
                name = metric.name.replace(":", "/")
                totals[name] = totals.get(name, 0) + sum(sample.value for sample in metric.samples)
        return {name: int(value) for name, value in totals.items()}

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(PREFIX + name, text, labels, registry=self._registry, buckets=buckets)


class _RequestLog(Collector):
    """The counter of the request log, which keeps its own counts."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]):
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """No series where nothing is logged: TF Serving has none either."""
        if counts := self._counts():
            family = CounterMetricFamily(PREFIX + "request_log:requests", "Drawn requests.", labels=["outcome"])
            for outcome, count in counts.items():
                family.add_metric([outcome], count)
            yield family
