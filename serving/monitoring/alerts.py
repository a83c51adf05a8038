"""Alert rules for Prometheus."""

from __future__ import annotations

import re
from typing import Any

from serving.deployment import DeploymentSettings
from serving.monitoring import metrics

WINDOW = "5m"


def alerts(settings: DeploymentSettings) -> dict[str, Any]:
    """The content of `alerts.yml`."""
    rules = [*_health(settings), *_latency(settings), *_loading(settings)]
    return {"groups": [{"name": f"tensorflow-serving-{settings.slug}", "rules": rules}]}


def _health(settings: DeploymentSettings) -> list[dict[str, Any]]:
    faults = metrics.share_of_requests(settings.name, metrics.any_of(metrics.SERVER_FAULTS), WINDOW)
    mistakes = metrics.share_of_requests(settings.name, "!~" + "|".join(("OK", *metrics.SERVER_FAULTS)), WINDOW)
    turned_away = metrics.rate(metrics.REQUESTS, WINDOW, model_name=settings.name, status="UNAVAILABLE")
    return [
        _rule(
            "ServingDown",
            f'up{{job="{settings.slug}"}} == 0 or absent(up{{job="{settings.slug}"}})',
            "2m",
            "critical",
            "A server does not answer, or Prometheus does not find any.",
        ),
        _rule(
            "ServingErrors",
            f"{faults} > 0.01",
            "5m",
            "critical",
            "{{ $value | humanizePercentage }} of the requests fail by the server's fault.",
        ),
        _rule(
            "ServingOverloaded",
            f"{turned_away} > 0",
            "5m",
            "warning",
            "The queue is full: {{ $value | humanize }} requests a second are turned away. Add servers or tune.",
        ),
        _rule(
            "ServingBadRequests",
            f"{mistakes} > 0.2",
            "15m",
            "warning",
            "{{ $value | humanizePercentage }} of the requests are refused: look at what clients send.",
        ),
    ]


def _latency(settings: DeploymentSettings) -> list[dict[str, Any]]:
    latency = metrics.quantile_ms(0.99, metrics.REQUEST_LATENCY, WINDOW, model_name=settings.name)
    queuing = metrics.quantile_ms(0.99, metrics.QUEUING_LATENCY, WINDOW)
    return [
        _rule(
            "ServingSlow",
            f"{latency} > {settings.latency_ms:g}",
            "10m",
            "warning",
            f"One request in a hundred takes over {settings.latency_ms:g} ms: {{{{ $value | humanize }}}} ms.",
        ),
        _rule(
            "ServingQueueSlow",
            f"{queuing} > {settings.latency_ms / 2:g}",
            "10m",
            "warning",
            "Requests wait {{ $value | humanize }} ms for a batch. Add servers, or run convoy tune.",
        ),
    ]


def _loading(settings: DeploymentSettings) -> list[dict[str, Any]]:
    versions = "=~" + re.escape(f"{settings.base_path}/").replace("\\", "\\\\") + ".*"
    failed = metrics.selected(metrics.LOAD_ATTEMPTS, model_path=versions, status="fail")
    return [
        _rule(
            "ServingVersionDoesNotLoad",
            f"sum by (instance, model_path) (increase({failed}[15m])) > 0",
            "0m",
            "critical",
            "{{ $labels.model_path }} cannot be loaded; servers that start now do not come up. Run convoy rollback.",
        )
    ]


def _rule(name: str, expression: str, hold: str, severity: str, text: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": hold,
        "labels": {"severity": severity},
        "annotations": {"summary": text},
    }
