"""PromQL over TF Serving's metrics. All times in them are microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REQUESTS = ":tensorflow:serving:request_count"
REQUEST_LATENCY = ":tensorflow:serving:request_latency"
RUNTIME_LATENCY = ":tensorflow:serving:runtime_latency"
QUEUING_LATENCY = ":tensorflow:serving:batching_session:queuing_latency"
WARM_UP_LATENCY = ":tensorflow:serving:model_warmup_latency"
LOAD_ATTEMPTS = ":tensorflow:cc:saved_model:load_attempt_count"
SERVER_FAULTS = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")
"""Statuses that are the server's or its load's fault; the others are the client's."""


def selected(metric: str, **matching: str) -> str:
    """A metric with its labels, such as `m{model_name="flowers"}`; a value that begins with ~ or ! is an operator."""
    return metric + "{" + ",".join(f'{label}{_matcher(value)}"' for label, value in matching.items()) + "}"


def rate(metric: str, window: str, by: Sequence[str] = (), **matching: str) -> str:
    """Events a second, summed over everything but `by`."""
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (rate({selected(metric, **matching)}[{window}]))"


def quantile_ms(share: float, metric: str, window: str, **matching: Any) -> str:
    """A quantile of a histogram of microseconds, in milliseconds."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', window, ['le'], **matching)}) / 1000"


def mean_ms(metric: str, window: str, **matching: str) -> str:
    """The mean of a histogram of microseconds, in milliseconds."""
    total, count = (rate(f"{metric}_{part}", window, **matching) for part in ("sum", "count"))
    return f"{total} / {count} / 1000"


def share_of_requests(model: str, statuses: str, window: str) -> str:
    """The share of a model's requests that ended with one of `statuses` (a matcher), 0..1; none where none came."""
    total = rate(REQUESTS, window, model_name=model)
    return f"({rate(REQUESTS, window, model_name=model, status=statuses)} or vector(0)) / ({total} > 0)"


def any_of(names: Sequence[str]) -> str:
    """A matcher for one of several values."""
    return "=~" + "|".join(names)


def _matcher(value: str) -> str:
    operator = next((one for one in ("=~", "!~", "!=") if value.startswith(one)), "")
    return f'{operator or "="}"{value.removeprefix(operator)}'
